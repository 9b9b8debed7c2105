--- vmctl qmp: runs a command of QEMU's monitor.
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local output = require "vmctl.cli.output"
local qmp = require "vmctl.qmp"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local M = {}

function M.describe(command)
  command:summary "Execute a command of QEMU's monitor."
  command:description("Executes a QMP command and prints what it returns, as JSON.\n" ..
    "  vmctl qmp web query-status\n  vmctl qmp unix:/run/qmp.sock device_del '{\"id\":\"nic1\"}'")
  command:argument("target", "A guest's name, or the address of a monitor."):argname "TARGET"
  command:argument("name", "The command."):argname "COMMAND"
  command:argument("arguments", "Its arguments, a JSON object."):argname("JSON"):args "?"
  command:option("--timeout", "Seconds (60)."):argname("SECONDS"):convert(units.seconds "--timeout"):default "60"
end

--- Connects to the monitor of a guest. Waits.
---@return vmctl.QmpClient|nil, string?, string?
function M.connect(target)
  local at, err, code = target, nil, nil
  if not target:find "^%l+:" then at, err, code = targets.socket(target, "qmp") end
  if not at then return nil, err, code end
  return qmp.connect(at)
end

function M.run(opts)
  local arguments
  if opts.arguments then
    arguments = json.decode(opts.arguments)
    if type(arguments) ~= "table" then return errors.fail("EINVAL", "%s: a JSON object expected", opts.arguments) end
  end
  local client <close>, err, code = M.connect(opts.target) -- luacheck: ignore
  if not client then return nil, err, code end
  local value
  value, err, code = client:execute(opts.name, arguments, opts.timeout)
  if value == nil then return nil, err, code end
  output.json(value)
  return 0
end

return M
