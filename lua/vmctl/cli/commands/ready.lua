--- vmctl ready: waiting until a target is ready.
local output = require "vmctl.cli.output"
local ready = require "vmctl.ready"
local targets = require "vmctl.cli.targets"

local M = {}

function M.describe(command)
  command:summary "Wait until targets are ready."
  command:description("Waits until the agents of all targets answer, or those other things are so that were asked for.\n" ..
    "  vmctl ready web --port 80 --file /run/app.pid --timeout 30")
  command:argument("target", "Guests' names, or addresses."):argname("TARGET"):args "+"
  command:flag("--stereos", "The StereOS control plane says that it is ready.")
  command:option("--port", "A port inside accepts connections."):argname("PORT"):convert(math.tointeger):count "*"
  command:option("--file", "A file is there."):argname("PATH"):count "*"
  command:option("--command", "A shell command ends with exit code 0."):argname("COMMAND"):count "*"
  command:option("--timeout", "Seconds for all of it (60)."):argname("SECONDS"):convert(tonumber)
end

local function add_probes(probes, name, opts)
  local target, err, code = targets.exec(name)
  if not target then return nil, err, code end
  if opts.stereos then
    local client
    client, err, code = targets.stereos(name)
    if not client then return nil, err, code end
    probes[name .. ": control plane"] = ready.stereos(client)
  else
    probes[name .. ": agent"] = ready.exec(target)
  end
  for _, port in ipairs(opts.port) do probes[("%s: port %d"):format(name, port)] = ready.port(target, port) end
  for _, path in ipairs(opts.file) do probes[("%s: %s"):format(name, path)] = ready.file(target, path) end
  for _, line in ipairs(opts.command) do probes[("%s: %s"):format(name, line)] = ready.command(target, line) end
  return true
end

function M.run(opts)
  local probes = { timeout = opts.timeout }
  for _, name in ipairs(opts.target) do
    local ok, err, code = add_probes(probes, name, opts)
    if not ok then return nil, err, code end
  end
  local results, err, code = ready.all(probes)
  if not results then return nil, err, code end
  local rows = {}
  for name, result in pairs(results) do rows[#rows + 1] = ("%s: ready after %.2f s"):format(name, result.seconds) end
  table.sort(rows)
  output.result(opts, results, table.concat(rows, "\n"))
  return 0
end

return M
