--- Locks for tasks.
local waiters = require "vmctl.base.waiters"

local M = {}

---@class vmctl.Lock
local lock = {}
local lock_mt = { __name = "vmctl.Lock", __index = lock }

--- Makes a lock for tasks: `with` runs a function alone. Tasks get the lock in the order of their calls.
---@return vmctl.Lock
function M.lock()
  return setmetatable({ _held = false, _waiters = waiters.new() }, lock_mt)
end

--- Releases it. Hands it to the task that has waited longest, so that no later one overtakes it. Never waits.
function lock:release()
  self._held = self._waiters:serve() ~= nil
end

local releasing = { __close = function(guard) guard[1]:release() end }

--- Takes it; `release` must always follow (`with` calls it). Waits while another task has it.
---@param timeout? number|{ timeout: number } seconds
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED
function lock:acquire(timeout)
  if self._held then
    return self._waiters:wait({}, timeout, "lock", function() self:release() end)
  end
  self._held = true
  return true
end

--- Tells if a task has it.
function lock:held()
  return self._held
end

--- Runs `fn(…)` while holding the lock, and always releases it. Waits for the lock.
---@param timeout? number seconds to wait for the lock
---@return any ... what fn returned; nil, message, code if the lock was not free in time
function lock:with(timeout, fn, ...)
  local ok, err, code = self:acquire(timeout)
  if not ok then return nil, err, code end
  local guard <close> = setmetatable({ self }, releasing) -- luacheck: ignore
  return (function(...) return ... end)(fn(...))
end

return M
