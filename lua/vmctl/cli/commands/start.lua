--- vmctl start: boots instances in the background.
local instance = require "vmctl.instance"
local json = require "vmctl.json"
local output = require "vmctl.cli.output"
local units = require "vmctl.cli.units"

local M = {}

function M.describe(command)
  command:summary "Start instances."
  command:description("Boots instances that vmctl create has made, and waits until they are ready. They run in the background until\n" ..
    "vmctl stop, or until they power themselves off.\n  vmctl start web && vmctl exec web -- uname -a")
  command:argument("name", "Instances' names."):argname("NAME"):args "+"
  command:option("--ready-timeout", "Seconds in which each has to be ready (120)."):argname("SECONDS")
    :convert(units.seconds "--ready-timeout")
  command:option("--wait", "What each has to be: agent: it answers (default), system: all is started.")
    :argname("WHAT"):choices { "agent", "system" }
end

function M.run(opts)
  local started, lines = json.array {}, {}
  for _, name in ipairs(opts.name) do
    local told, err, code = instance.start(name, { timeout = opts.ready_timeout, target = opts.wait })
    if not told then
      if not opts.json and #lines > 0 then output.write(table.concat(lines, "\n"), "\n") end
      return nil, err, code, { started = started }
    end
    started[#started + 1] = told
    lines[#lines + 1] = ("%s is ready after %.1f s; vmctl shell %s, vmctl exec %s -- COMMAND"):format(name, told.ready, name, name)
  end
  output.result(opts, { started = started }, table.concat(lines, "\n"))
  return 0
end

return M
