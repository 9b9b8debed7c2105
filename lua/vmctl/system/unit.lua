--- One unit of a guest's systemd: its verbs, its properties, and waiting for it.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local journal = require "vmctl.system.journal"
local options = require "vmctl.base.options"
local systemctl = require "vmctl.system.systemctl"

local M = {}

local WAIT, FIRST_PAUSE, GROWTH, PAUSE = 60, 0.05, 1.5, 0.5 -- seconds; the pauses between two looks, which grow
local STATE = { "LoadState", "ActiveState", "SubState", "Result", "Job" }

local known = { timeout = "number", user = "string", now = "boolean" }
local wait_options = { timeout = "number", user = "string", state = "string" }

---@class vmctl.Unit
---@field name string
local methods = {}
local mt = { __name = "vmctl.Unit", __index = methods, __tostring = function(self) return ("vmctl.Unit(%s)"):format(self.name) end }

--- Makes the unit's object. Does not wait, and does not ask if there is such a unit. Raises for a text that is no unit's name.
---@param target fun(): table|nil, string?, string? gives the object that runs commands
---@param name string
---@param where string for messages
---@param user? string whose service manager it is
---@return vmctl.Unit
function M.new(target, name, where, user)
  return setmetatable({ name = systemctl.check_name(name, where), _target = target, _user = user }, mt)
end

local function failure(self, exec, what, record)
  local report = systemctl.report(exec, { self.name }, { user = self._user })
  return nil, ("%s %s: %s%s"):format(what, self.name, systemctl.words_of(record), report), "EEXIT", record
end

local function do_verb(self, words, opts)
  local exec, err, code = self._target()
  if not exec then return nil, err, code end
  local argv = table.move(words, 1, #words, 3, { "systemctl", "--no-pager" })
  argv[#argv + 1], argv[#argv + 2] = "--", self.name
  local record
  record, err, code = systemctl.call(exec, argv, { timeout = opts.timeout, user = self._user })
  if not record then return nil, ("%s %s: %s"):format(words[1], self.name, err), code end
  if record.exit_code ~= 0 then return failure(self, exec, words[1], record) end
  return true
end

for _, verb in ipairs { "start", "stop", "restart", "reload", "enable", "disable", "mask", "unmask", "reset-failed" } do
  --- Has systemd execute this verb, and waits until its job has ended.
  ---@param opts? { timeout: number?, now: boolean? }|number seconds (120); now: with enable and disable also start or stop it
  ---@return true|nil, string? message with the state of the unit and the tail of its journal
  ---@return string? code EEXIT: systemd said no; ENOTSUP: the guest has no systemctl; ETIMEDOUT
  ---@return table? record of systemctl
  methods[verb:gsub("-", "_")] = function(self, opts)
    opts = options.check(opts, known, "unit")
    return do_verb(self, opts.now and { verb, "--now" } or { verb }, opts)
  end
end

--- The properties of the unit, as `systemctl show` has them. Waits.
---@param names? string[] "ActiveState", "MainPID" … (all)
---@return table<string, string>|nil properties, string?, string? code EREMOTE, ENOTSUP …
function methods:show(names)
  local exec, err, code = self._target()
  if not exec then return nil, err, code end
  return systemctl.show(exec, self.name, names, { user = self._user })
end

--- True if the unit is active. Waits for systemd's answer.
---@return boolean|nil, string?, string?
function methods:is_active()
  local found, err, code = self:show { "ActiveState" }
  if not found then return nil, err, code end
  return found.ActiveState == "active"
end

-- True if the unit is in the state; nil and a reason if it is not yet; false and a reason if no job will bring it there.
local function look(found, state)
  if found.ActiveState == state then return true end
  local seen = ("%s (%s)"):format(found.ActiveState, found.SubState)
  if found.LoadState ~= "loaded" and found.ActiveState == "inactive" then return false, "it is " .. tostring(found.LoadState) end
  if (found.Job or "") ~= "" and found.Job ~= "0" then return nil, seen end
  if found.ActiveState == "failed" then return false, ("it has failed: %s"):format(found.Result) end
  if found.ActiveState == "inactive" then return false, "it is inactive, and nothing is about to start it" end
  return nil, seen
end

--- Waits until the unit is active, or in another state. Fails at once when it has failed, or is inactive without a job of systemd's.
---@param opts? { timeout: number?, state: string? }|number seconds (60); state: of ActiveState ("active")
---@return true|nil, string? message with the state of the unit and the tail of its journal
---@return string? code EREMOTE: it will not be; ETIMEDOUT; ENOTSUP: the guest has no systemctl
function methods:wait(opts)
  opts = options.check(opts, wait_options, "unit")
  local state, begin, pause = opts.state or "active", core.now(), FIRST_PAUSE
  local deadline = begin + (opts.timeout or WAIT)
  while true do
    local found, err, code = self:show(STATE)
    if not found then return nil, ("wait for %s: %s"):format(self.name, err), code end
    local ok, why = look(found, state)
    if ok then return true end
    if ok == false or core.now() >= deadline then
      local late = ok == nil and (" after %.1f s"):format(core.now() - begin) or ""
      local exec = self._target()
      local report = exec and systemctl.report(exec, { self.name }, { user = self._user }) or ""
      return errors.fail(ok == nil and "ETIMEDOUT" or "EREMOTE", "wait for %s to be %s: %s%s%s", self.name, state, why, late, report)
    end
    ok, err, code = core.sleep(math.max(0, math.min(pause, deadline - core.now())))
    if not ok then return nil, ("wait for %s: %s"):format(self.name, err), code end
    pause = math.min(pause * GROWTH, PAUSE)
  end
end

--- The unit's journal; see vmctl.Machine.journal.
---@param opts? vmctl.JournalOptions
function methods:journal(opts)
  local exec, err, code = self._target()
  if not exec then return nil, err, code end
  return journal.read(exec, options.merge(opts or {}, { unit = self.name }))
end

return M
