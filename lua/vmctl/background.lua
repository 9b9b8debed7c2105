--- Tasks that belong to an object (a machine, a session) and not to whoever made it: they end when the object is closed.
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

return M
