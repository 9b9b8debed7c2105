--- vmctl ready: waits until a target is ready.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local output = require "vmctl.cli.output"
local ready = require "vmctl.ready"
local share = require "vmctl.machine.share"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local M = {}

local LOOK = 0.1 -- seconds between two look-ups of a name

function M.describe(command)
  command:summary "Wait until targets are ready."
  command:description("Waits until the agents of all targets answer, or those other things are so that were asked for.\n" ..
    "  vmctl ready web --port 80 --file /run/app.pid --timeout 30")
  command:argument("target", "Guests' names, or addresses."):argname("TARGET"):args "+"
  command:flag("--stereos", "The StereOS control plane says that it is ready.")
  command:flag("--healthy", "The StereOS control plane says so, and all its agents run.")
  command:option("--port", "A port inside accepts connections."):argname("PORT"):convert(units.integer("--port", 1, 65535)):count "*"
  command:option("--file", "A file is there."):argname("PATH"):count "*"
  command:option("--command", "A shell command ends with exit code 0."):argname("COMMAND"):count "*"
  command:option("--timeout", "Seconds for all of it (60)."):argname("SECONDS"):convert(units.seconds "--timeout"):default "60"
end

-- Waits for the name as well: another `vmctl run` may be about to start the guest.
local function await_name(name, deadline)
  if name:find "^%l+:" or name == "host" then return true end
  while true do
    local path, err, code = share.socket(name, "agent")
    if path then return true end
    if code ~= "ENOENT" then return nil, err, code end
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "%s", err) end
    local ok
    ok, err, code = core.sleep(LOOK)
    if not ok then return nil, err, code end
  end
end

local function healthy(client)
  return function(timeout)
    local health, err, code = client:get_health { timeout = timeout }
    if not health then return nil, err, code end
    for _, agent in ipairs(health.agents or {}) do
      if not agent.running then return errors.fail("EAGAIN", "its agent %s does not run", agent.name) end
    end
    if health.state == "ready" or health.state == "healthy" then return health end
    return errors.fail("EAGAIN", "its state is %s", health.state)
  end
end

local function add_probes(probes, name, opts)
  local target, err, code = targets.exec(name)
  if not target then return nil, err, code end
  if opts.stereos or opts.healthy then
    local client
    client, err, code = targets.stereos(name)
    if not client then return nil, err, code end
    if opts.stereos then probes[name .. ": control plane"] = ready.stereos(client) end
    if opts.healthy then probes[name .. ": healthy"] = healthy(client) end
  else
    probes[name .. ": agent"] = ready.exec(target)
  end
  for _, port in ipairs(opts.port) do probes[("%s: port %d"):format(name, port)] = ready.port(target, port) end
  for _, path in ipairs(opts.file) do probes[("%s: %s"):format(name, path)] = ready.file(target, path) end
  for _, line in ipairs(opts.command) do probes[("%s: %s"):format(name, line)] = ready.command(target, line) end
  return true
end

function M.run(opts)
  local deadline = core.now() + opts.timeout
  local probes = {}
  for _, name in ipairs(opts.target) do
    local ok, err, code = await_name(name, deadline)
    if ok then ok, err, code = add_probes(probes, name, opts) end
    if not ok then return nil, err, code end
  end
  probes.timeout = math.max(0, deadline - core.now())
  local results, err, code = ready.all(probes)
  if not results then return nil, err, code end
  local rows = {}
  for name, result in pairs(results) do rows[#rows + 1] = ("%s: ready after %.2f s"):format(name, result.seconds) end
  table.sort(rows)
  output.result(opts, results, table.concat(rows, "\n"))
  return 0
end

return M
