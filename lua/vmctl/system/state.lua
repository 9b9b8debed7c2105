--- Waiting until a guest's system is up: systemd or OpenRC has started all services.
local core = require "vmctl.core"
local log = require "vmctl.log"
local systemctl = require "vmctl.system.systemctl"
local texts = require "vmctl.text"

local M = {}

local ASK, PAUSE = 30, 0.2 -- seconds for a question; between two looks
local GRACE = 5            -- seconds for the report of a time-out
local NAMED, NAME = 10, 255 -- units that a message names, and bytes of a name

-- Finds out which init is PID 1. Stage 1 makes /run/systemd/system before systemd runs; OpenRC is started by an init of another name, in
-- Debian by its /etc/init.d/rcS.
local FIND_INIT = [[
if [ -d /run/systemd/system ]; then echo systemd; exit; fi
case $(readlink /proc/1/exe) in *vmctl-agent|/run/vmctl/agent) ;; *)
  if [ -d /run/openrc ] || [ -x /sbin/openrc ] && grep -qs openrc /etc/inittab /etc/init.d/rcS; then echo openrc; fi ;;
esac]]

-- The runlevel that has been reached, services that are on their way, and those that failed (openrc(8); rc-status(8) shows the same).
local OPENRC = [[
cd /run/openrc 2>/dev/null || exit 0
[ -e rc.starting ] || [ -e rc.stopping ] || echo "level $(cat softlevel 2>/dev/null)"
for what in starting failed; do
  for each in "$what"/*; do [ -e "$each" ] && echo "$what ${each##*/}"; done
done
true]]

local function names(list)
  local shown = table.concat(list, ", ", 1, math.min(NAMED, #list))
  return #list > NAMED and ("%s and %d more"):format(shown, #list - NAMED) or shown
end

-- Units with a job, those that run first: "a.service (start)", "b.service (start, waiting)".
local function jobs(exec)
  local record = systemctl.call(exec, { "systemctl", "--no-pager", "--no-legend", "--plain", "list-jobs" }, { timeout = GRACE })
  local running, waiting = {}, {}
  for line in (record and record.stdout or ""):gmatch "[^\n]+" do
    local unit, kind, state = line:match "^%s*%d+ +(%S+) +(%S+) +(%S+)"
    if state == "running" then running[#running + 1] = ("%s (%s)"):format(unit, kind) end
    if state == "waiting" then waiting[#waiting + 1] = ("%s (%s, waiting)"):format(unit, kind) end
  end
  return table.move(waiting, 1, #waiting, #running + 1, running)
end

local function failed_units(exec)
  local record = systemctl.call(exec, { "systemctl", "--no-pager", "--no-legend", "--plain", "--failed" }, { timeout = ASK })
  local list = {}
  for line in (record and record.stdout or ""):gmatch "[^\n]+" do list[#list + 1] = line:match "^%s*(%S+)" end
  return list
end

local function degraded(exec)
  local failed = failed_units(exec)
  return nil, ("the system is degraded: %s failed%s"):format(names(failed), systemctl.report(exec, failed)), "EREMOTE",
    { state = "degraded", failed = failed }
end

local function still_starting(exec)
  local record = systemctl.call(exec, { "systemctl", "is-system-running" }, { timeout = GRACE })
  local state = record and record.stdout:match "^%l+" or "starting"
  local list = jobs(exec)
  local what = #list > 0 and ": waiting for " .. names(list) or ""
  return nil, ("the system is still %s%s"):format(state, what), "ETIMEDOUT", { state = state, jobs = list }
end

local ON_ITS_WAY = { [""] = true, initializing = true, starting = true, unknown = true, offline = true }

local function await_systemd(exec, deadline)
  while true do
    local left = deadline - core.now()
    local record, err, code = systemctl.call(exec, { "systemctl", "is-system-running", "--wait" }, { timeout = math.max(left, 0) })
    if not record and code ~= "ETIMEDOUT" then return nil, err, code end
    local state = record and texts.trim_end(record.stdout) or ""
    if state == "running" then return true end
    if state == "degraded" then return degraded(exec) end
    if not ON_ITS_WAY[state] then -- maintenance, stopping
      return nil, ("the system is %s"):format(state), "EREMOTE", { state = state, failed = failed_units(exec) }
    end
    if core.now() >= deadline then return still_starting(exec) end
    local ok
    ok, err, code = core.sleep(math.max(0, math.min(PAUSE, deadline - core.now())))
    if not ok then return nil, err, code end
  end
end

local function look_at_openrc(exec)
  local record, err, code = exec:run { "sh", "-c", OPENRC, timeout = ASK, max_output = 1 << 16 }
  if not record then return nil, err, code end
  local seen = { starting = {}, failed = {} }
  for line in record.stdout:gmatch "[^\n]+" do
    local what, name = line:match "^(%l+) (.+)$"
    local list = seen[what]
    if what == "level" then seen.level = name elseif list then list[#list + 1] = log.one_line(name, NAME) end
  end
  return seen
end

local function await_openrc(exec, deadline)
  while true do
    local seen, err, code = look_at_openrc(exec)
    if not seen then return nil, err, code end
    if seen.level == "default" then
      if #seen.failed == 0 then return true end
      return nil, ("the system is degraded: %s failed"):format(names(seen.failed)), "EREMOTE", { state = "degraded", failed = seen.failed }
    end
    if core.now() >= deadline then
      local what = #seen.starting > 0 and ": waiting for " .. names(seen.starting) or ""
      return nil, "the system is still starting" .. what, "ETIMEDOUT", { state = "starting", jobs = seen.starting }
    end
    local ok
    ok, err, code = core.sleep(math.max(0, math.min(PAUSE, deadline - core.now())))
    if not ok then return nil, err, code end
  end
end

--- Names the program that starts the services of a guest. Waits.
---@param exec table that runs commands
---@return "systemd"|"openrc"|"none"|nil, string?, string?
function M.kind(exec)
  local record, err, code = exec:run { "sh", "-c", FIND_INIT, timeout = ASK }
  if not record then return nil, err, code end
  local kind = texts.trim_end(record.stdout)
  return (kind == "systemd" or kind == "openrc") and kind or "none" -- without a shell there are no services either
end

--- Waits until the system is up: systemd says `running`, or OpenRC has reached its default level. A guest where neither is PID 1 is up
--- as soon as its agent answers.
---@param exec table that runs commands
---@param timeout number seconds
---@return "systemd"|"openrc"|"none"|nil kind
---@return string? message with the failed units and the tails of their journals, or with the units that are still starting
---@return string? code EREMOTE: it is degraded, or in maintenance; ETIMEDOUT
---@return { state: string, failed: string[]?, jobs: string[]? }? details
function M.await(exec, timeout)
  local deadline = core.now() + timeout
  local kind, err, code = M.kind(exec)
  if not kind then return nil, err, code end
  local ok, details = true, nil
  if kind == "systemd" then ok, err, code, details = await_systemd(exec, deadline) end
  if kind == "openrc" then ok, err, code, details = await_openrc(exec, deadline) end
  if ok then return kind end
  return nil, err, code, details
end

return M
