--- Steps of a push that change the system of a guest: its groups, users and systemd units.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local REPLACE_FILE = require("vmctl.config.shell_scripts").REPLACE_FILE
local scripts = require "vmctl.config.system_scripts"
local systems = require "vmctl.system"
local texts = require "vmctl.text"

local M = {}

local SHOWN = 2000 -- bytes of the output of systemd-analyze

local function seconds_left(deadline) return math.max(0, deadline - core.now()) end

local function has_changed(out)
  if not out then return nil end
  return out:find("changed", 1, true) ~= nil
end

local function run(self, script, arguments, deadline)
  local out, err, code = self:_run(scripts.HEAD .. script, arguments, deadline)
  if not out then return nil, err, code end
  return true, has_changed(out)
end

local function number(value) return value and ("%d"):format(value) or "" end

function M.group(self, step, deadline)
  if step.remove then return run(self, scripts.REMOVE_GROUP, { step.name, "" }, deadline) end
  return run(self, scripts.GROUP, { step.name, "", number(step.gid), step.system and "1" or "" }, deadline)
end

local function user_arguments(step, only_look)
  return { step.name, only_look, number(step.uid), step.home or "", step.shell or "", step.system and "1" or "",
    table.unpack(step.groups or {}) }
end

function M.user(self, step, deadline)
  if step.remove then return run(self, scripts.REMOVE_USER, { step.name, "" }, deadline) end
  return run(self, scripts.ACCOUNT, user_arguments(step, ""), deadline)
end

local function unit_of(self, name)
  return systems.unit(function() return self._exec end, name, "config.push")
end

local function reload(self, deadline)
  local record, err, code = systems.systemctl(self._exec, "daemon-reload", { timeout = seconds_left(deadline) })
  if not record then return nil, err, code end
  if record.exit_code == 0 then return true end
  return errors.fail("EREMOTE", "daemon-reload: %s", log.last_words(record.stderr))
end

function M.unit(self, step, deadline)
  if step.remove then return run(self, scripts.REMOVE_UNIT, { step.name, "" }, deadline) end
  local ok, changed, code = self:_replace_file(REPLACE_FILE, step, step.path, step.mode, nil, deadline)
  if not ok then return nil, changed, code end
  step.changed = changed
  if changed then
    local err
    ok, err, code = reload(self, deadline)
    if not ok then return nil, err, code end
  end
  if not step.enable then return true, changed end
  local record, err, why = systems.systemctl(self._exec, { "is-enabled", "--", step.name }, { timeout = seconds_left(deadline) })
  if not record then return nil, err, why end
  if record.exit_code == 0 then return true, changed end
  ok, err, code = unit_of(self, step.name):enable { timeout = seconds_left(deadline) }
  if not ok then return nil, err, code end
  return true, true
end

-- A unit that runs once is inactive when it has succeeded.
local function has_succeeded(shown) return shown.ActiveState == "inactive" and shown.Type == "oneshot" and shown.Result == "success" end

function M.start(self, step, deadline)
  local unit = unit_of(self, step.name)
  local is_active, err, code = unit:is_active()
  if is_active == nil then return nil, err, code end
  if is_active and not step.unit.changed then return true, false end
  local ok
  ok, err, code = unit[is_active and "restart" or "start"](unit, { timeout = seconds_left(deadline) })
  if not ok then return nil, err, code end
  local shown
  shown, err, code = unit:show { "ActiveState", "Type", "Result" }
  if not shown then return nil, err, code end
  if has_succeeded(shown) then return true, true end
  ok, err, code = unit:wait { timeout = seconds_left(deadline) }
  if not ok then return nil, err, code end
  return true, true
end

M.compare = {}

function M.compare.group(self, step, deadline)
  local ok, changed, code = run(self, step.remove and scripts.REMOVE_GROUP or scripts.GROUP,
    { step.name, "look", number(step.gid), step.system and "1" or "" }, deadline)
  if not ok then return nil, changed, code end
  return changed
end

function M.compare.user(self, step, deadline)
  local ok, changed, code
  if step.remove then
    ok, changed, code = run(self, scripts.REMOVE_USER, { step.name, "look" }, deadline)
  else
    ok, changed, code = run(self, scripts.ACCOUNT, user_arguments(step, "look"), deadline)
  end
  if not ok then return nil, changed, code end
  return changed
end

function M.compare.unit(self, step, deadline)
  if step.remove then
    local ok, changed, code = run(self, scripts.REMOVE_UNIT, { step.name, "look" }, deadline)
    if not ok then return nil, changed, code end
    return changed
  end
  local differs, err, code = self:_differs(step, step.path, step.mode, nil, deadline)
  if differs == nil then return nil, err, code end
  step.changed = differs
  return differs
end

function M.compare.start(self, step)
  if step.unit.changed then return true end
  local is_active, err, code = unit_of(self, step.name):is_active()
  if is_active == nil then return nil, err, code end
  return not is_active
end

-- Tells if a line refuses a whole unit. A line about a missing program does not: the program may come later in the same push.
local function refuses(line, names)
  if not (line:find("Refusing.", 1, true) or line:find("failed to load properly", 1, true)) then return false end
  for _, name in ipairs(names) do
    if line:find(name, 1, true) then return true end
  end
  return false
end

-- Lists the complaints of systemd-analyze about lines of units, "x.service:2: …", and about units as a whole.
local function complaints(said, folder, names)
  local list = {}
  for line in said:gmatch "[^\n]+" do
    if line:sub(1, #folder + 1) == folder .. "/" then
      list[#list + 1] = line:sub(#folder + 2)
    elseif refuses(line, names) then
      list[#list + 1] = line
    end
  end
  return list
end

--- Has the guest's systemd read all units of a set before one of them is written. Changes nothing. Waits.
---@param self table the shell
---@param steps table[]
---@param deadline number
---@return true|nil, string?, string? code EINVAL: with systemd's words; ENOTSUP: no systemd is PID 1
function M.verify(self, steps, deadline)
  local names, argv, input = {}, {}, {}
  for _, step in ipairs(steps) do
    if step.kind == "unit" and not step.remove then
      names[#names + 1] = step.name
      argv[#argv + 1] = step.name
      argv[#argv + 1] = ("%d"):format(step.size)
      input[#input + 1] = step.content
    end
  end
  local kind, err, code = systems.kind(self._exec)
  if not kind then return nil, err, code end
  if kind ~= "systemd" then return errors.fail("ENOTSUP", "units: no systemd runs this guest") end
  if #names == 0 then return true end
  local out
  out, err, code = self:_run(scripts.HEAD .. scripts.VERIFY, argv, deadline, { stdin = table.concat(input) })
  if not out then return nil, "units: " .. err, code end
  local folder, said = out:match "^([^\n]*)\n(.*)$"
  local list = complaints(said or "", folder or "", names)
  if #list == 0 then return true end
  return errors.fail("EINVAL", "units: systemd does not take them: %s", log.sanitize(texts.trim_end(table.concat(list, "\n")), SHOWN))
end

return M
