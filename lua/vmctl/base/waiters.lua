--- Tasks that wait, in order, until another task serves them. Each has its own queue, so that no other task can take its value.
local core = require "vmctl.core"

local M = {}

---@class vmctl.Waiters
local methods = {}
local mt = { __name = "vmctl.Waiters", __index = methods }

function M.new()
  return setmetatable({ _first = 1, _last = 0 }, mt)
end

local function forget(self, at)
  self[at] = false
  while self._first <= self._last and not self[self._last] do
    self[self._last] = nil
    self._last = self._last - 1
  end
end

--- Waits until `record` is served.
---@param record table for the task that serves it
---@param timeout? number|{ timeout: number } seconds
---@param what string the operation, for the message of a failure
---@param undo? fun(record: table) called when it was served, but an error comes out of the wait
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED, EDEADLK
function methods:wait(record, timeout, what, undo)
  local queue, at = core.queue(), self._last + 1
  record.queue, self[at], self._last = queue, record, at
  local fine, ok, err, code = pcall(queue.wait, queue, timeout, what)
  if not record.served then
    forget(self, at)
  elseif not fine and undo then
    undo(record)
  end
  if not fine then error(ok, 0) end
  return ok, err, code
end

--- Serves the task that has waited longest. Does not wait.
---@return table|nil record
function methods:serve()
  while self._first <= self._last do
    local record = self[self._first]
    self[self._first] = nil
    self._first = self._first + 1
    if record and record.queue:wake(1) == 1 then -- else its wait has already ended otherwise
      record.served = true
      return record
    end
  end
end

return M
