--- The system of a guest that has an init of its own: its services, its journal, and whether it is up.
local journal = require "vmctl.system.journal"
local options = require "vmctl.base.options"
local state = require "vmctl.system.state"
local systemctl = require "vmctl.system.systemctl"
local texts = require "vmctl.text"
local units = require "vmctl.system.unit"

local M = {
  await = state.await, kind = state.kind, journal = journal.read, tail = systemctl.tail, report = systemctl.report, unit = units.new,
}

local call_options = { timeout = "number", user = "string" }

--- Calls systemctl. Waits.
---@param exec table that runs commands
---@param words string[]|string a string is split at its spaces
---@param opts? { timeout: number?, user: string? } seconds (120); user: the service manager of that user, who must be logged in
---@return table|nil record as of `run`: an exit code other than 0 is a result
---@return string?, string? code ENOTSUP: the guest has no systemctl
function M.systemctl(exec, words, opts)
  opts = options.check(opts, call_options, "systemctl")
  local argv = { "systemctl", "--no-pager" }
  if type(words) == "string" then
    for word in words:gmatch "%S+" do argv[#argv + 1] = word end
  elseif type(words) == "table" then
    table.move(words, 1, #words, 3, argv)
  else
    error("systemctl: a list of words or a string expected, got " .. type(words), 3)
  end
  return systemctl.call(exec, argv, opts)
end

--- The state of the whole system, as systemd tells it now: "running", "starting", "degraded" … Waits for its answer.
---@param exec table
---@return string|nil, string?, string? code ENOTSUP
function M.state(exec)
  local record, err, code = M.systemctl(exec, "is-system-running")
  if not record then return nil, err, code end
  return texts.trim_end(record.stdout)
end

return M
