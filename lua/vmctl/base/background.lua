--- Tasks that belong to an object (a machine, a session), not to the task that made it: they end when the object is closed.
local core = require "vmctl.core"
local log = require "vmctl.log"

local M = {}

local function protect(name, fn, ...)
  local ok, err = xpcall(fn, debug.traceback, ...)
  if not ok then log.error("%s: %s", name, err) end
end

--- Starts `fn(…)` in the background, under no scope and no time limit of the caller. Its failure is logged. Does not wait.
---@param name string for the log
---@param fn function
---@return vmctl.Task task whose owner must cancel it
function M.spawn(name, fn, ...)
  return core.spawn(true, protect, name, fn, ...)
end

local restore = { __close = function(guard) core.limit(nil, guard[1]) end }

-- Lifts the caller's time limit until the result is closed.
local function unlimited()
  local before = core.limit(math.huge) -- returns the limit: math.huge never extends it
  core.limit(nil, math.huge)
  return setmetatable({ before }, restore)
end

--- Starts `fn(…)` as a task of a scope, without the caller's time limit: it serves other callers as well. Does not wait.
---@param scope vmctl.Scope one that has not ended
---@return vmctl.Task
function M.spawn_in(scope, fn, ...)
  local guard <close> = unlimited() -- luacheck: ignore
  return (core.spawn(scope, fn, ...))
end

return M
