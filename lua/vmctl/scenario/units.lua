--- A scenario's verbs for the systemd units of a guest. They run systemctl there.
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"
local system = require "vmctl.system"
local texts = require "vmctl.text"

local M = {}

local NONE = 99 -- exit code of our scripts where the guest has no systemctl
local HAVE = "command -v systemctl >/dev/null 2>&1 || exit 99\n"
local SHOW = HAVE .. 'systemctl show --no-pager -p ActiveState -p SubState -p Result -p Job -- "$1"'
local CALL = HAVE .. 'exec systemctl --no-pager "$@"'
local CALL_USER = HAVE .. [[
XDG_RUNTIME_DIR=/run/user/$(id -u); DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/bus
export XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS
exec systemctl --user --no-pager "$@"]]

local wait_options = { timeout = "number", interval = "number>0" }
local call_options = { timeout = "number", user = "string" }

local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

-- Calls systemctl for a verb. Raises when the guest has none.
local function call(self, verb, arguments, opts)
  local list = type(arguments) == "string" and words(arguments) or arguments
  local command = { "sh", "-c", opts.user and CALL_USER or CALL, "sh", user = opts.user, timeout = opts.timeout }
  local code, out, err = self:execute(table.move(list, 1, #list, #command + 1, command))
  if code == NONE then self:_fail(verb, "this guest has no systemctl") end
  return code, out, err
end

--- Calls systemctl and returns its exit code. Waits. Raises when the guest has no systemctl.
---@param arguments string[]|string words; a string is split at its spaces
---@param opts? { timeout: number?, user: string? } user: calls the service manager of that user, who must be logged in
---@return integer exit_code, string stdout, string stderr
function M:systemctl(arguments, opts)
  if type(arguments) ~= "string" and type(arguments) ~= "table" then
    error("systemctl: a list of words or a string expected, got " .. type(arguments), 2)
  end
  return call(self, "systemctl", arguments, options.check(opts, call_options, "systemctl"))
end

-- The state of a unit and the tail of its journal.
local function report(self, unit, opts)
  return self.vm and system.report(self.vm, { unit }, { user = opts.user }) or ""
end

-- Runs a job of systemd, which must succeed.
local function job(self, verb, word, unit, opts)
  opts = options.check(opts, call_options, verb, 4)
  local code, out, err = call(self, verb, { word, "--", unit }, opts)
  if code ~= 0 then
    local said = texts.trim_end(err ~= "" and err or out)
    self:_fail(verb, ("%s: exit code %d%s%s"):format(unit, code, said ~= "" and ": " .. said or "", report(self, unit, opts)))
  end
end

--- Starts a unit, and waits until systemd's job has ended.
---@param unit string
---@param opts? { timeout: number?, user: string? }|number seconds
function M:start_job(unit, opts) job(self, "start_job", "start", unit, opts) end

--- Stops a unit, and waits until systemd's job has ended.
---@param unit string
---@param opts? { timeout: number?, user: string? }|number seconds
function M:stop_job(unit, opts) job(self, "stop_job", "stop", unit, opts) end

local function property(self, verb, unit, name, opts)
  local code, out, err = call(self, verb, { "show", "-p", name, "--", unit }, opts)
  local value = out:match("^" .. name:gsub("%p", "%%%0") .. "=([^\n]*)")
  if code ~= 0 or not value then
    self:_fail(verb, ("%s has no property %s%s"):format(unit, name, err ~= "" and ": " .. texts.trim_end(err) or ""))
  end
  return value
end

--- Reads a property of a unit. Waits. Raises when the unit has no such property.
---@param unit string
---@param name string "ActiveState", "MainPID" …
---@param opts? { timeout: number?, user: string? }|number seconds
---@return string value # empty when the property is not set
function M:get_unit_property(unit, name, opts)
  return property(self, "get_unit_property", unit, name, options.check(opts, call_options, "get_unit_property"))
end

--- Raises unless a unit is in a state now (`wait_for_unit` waits for the state). Waits for systemd's answer.
---@param unit string
---@param state? string of ActiveState, "active" by default
---@param opts? { timeout: number?, user: string? }|number seconds
function M:require_unit_state(unit, state, opts)
  opts, state = options.check(opts, call_options, "require_unit_state"), state or "active"
  local seen = property(self, "require_unit_state", unit, "ActiveState", opts)
  if seen ~= state then self:_fail("require_unit_state", ("%s is %s, and not %s"):format(unit, seen, state)) end
end

local function look_at_unit(vm, unit, left)
  local record, err, code = vm:run { "sh", "-c", SHOW, "sh", unit, timeout = left }
  if not record then return nil, err, code end
  if record.exit_code == NONE then return nil, "this guest has no systemctl", "ENOTSUP" end
  local state = record.stdout:match "ActiveState=(%S+)"
  if state == "active" then return true end
  local seen = record.stdout:gsub("%s+", " "):gsub(" $", "")
  if state == "failed" then return nil, seen, "EINVAL" end
  if state == "inactive" and (record.stdout:match "Job=(%d+)" or "0") == "0" then
    return nil, seen .. " (inactive, and nothing is about to start it)", "EINVAL"
  end
  return nil, seen ~= "" and seen or record.stderr
end

--- Reads the guest's journal. Waits. Raises where it has none.
---@param opts? vmctl.JournalOptions as for vmctl.Machine.journal
---@return vmctl.JournalEntry[]|vmctl.Journal
function M:journal(opts)
  local found, err = self:_running("journal"):journal(opts)
  if not found then self:_fail("journal", err) end
  if opts and opts.follow then self:_own(found) end
  return found
end

--- Waits until a unit is active. Raises at once for a unit that has failed, or that is inactive without a job.
---@param unit string
---@param opts? { timeout: number?, interval: number? }|number seconds
function M:wait_for_unit(unit, opts)
  opts = options.check(opts, wait_options, "wait_for_unit")
  local vm = self:_running "wait_for_unit"
  poll.ask({
    verb = "wait_for_unit", what = unit, timeout = opts.timeout or self._run.timeout, interval = opts.interval,
    fail = function(text) self:_fail("wait_for_unit", text .. report(self, unit, {})) end,
  }, function(left) return look_at_unit(vm, unit, left) end)
end

return M
