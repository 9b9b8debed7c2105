--- The rules for the end of commands that are run for a client (exec, and so vmctl.host; cc), in one place.
---
--- * A command that has finished may leave processes behind: a daemon, a background job. With `keep = false` its end takes
---   its process group with it.
--- * A command that is cancelled, has run out of time, or whose host went away is hung up: its group is told to end, and once
---   the command itself has ended, or after a grace period, the rest of the group is killed.
--- * A command that dies of a signal that its host sent takes its group with it, since the signal was meant for all of it.
--- * Where cgroups (version 2) can be made, each command has one, and all processes in it are killed with the group: also
---   processes that have left the group.
--- * The end of the process that started it (an agent, a script) kills the command.
--- * Output that other processes still hold when the command has ended is read until it is silent for a moment (LINGER). After that a
---   drain reads and drops it, so that no writer gets SIGPIPE, and the result has `lingering`.
local core = require "vmctl.core"
local process = require "vmctl.process"

local M = {}

--- Seconds for which output may still come from others when the command has ended.
M.LINGER = 1

--- Seconds between the signal that hangs up and SIGKILL.
M.GRACE = 2

--- Starts a command. Does not wait.
---@param spec table as for vmctl.process.spawn
---@param keep? boolean the rest of its group lives on after its end (true)
---@return vmctl.Child|nil child, string?, string?, string? as vmctl.process.spawn
function M.start(spec, keep)
  spec.session, spec.death_signal, spec.sweep, spec.contain = true, "KILL", keep == false, true
  return process.spawn(spec)
end

--- Ends a command and its group: SIGTERM, then SIGKILL after the grace period. Waits for at most that period.
---@param child vmctl.Child
---@param signal string|integer the polite one
function M.hang_up(child, signal)
  child:sweep()
  child:kill(signal)
  if not child:wait(M.GRACE) then child:kill "KILL" end
end

--- Drops the output of a command that has ended. Does not wait.
---@param child vmctl.Child
---@return boolean lingering a process can still write to it; a drain reads that from now on
function M.leave_output(child)
  local lingering = false
  for _, stream in ipairs { child.stdout or false, child.stderr or false } do
    if stream and core.drain(stream) then lingering = true end
  end
  return lingering
end

return M
