--- The tasks of a server's connection. One of them reads and calls the handlers; when a handler waits, another task
--- goes on reading. So most calls need no new task, and no handler holds up the frames behind its request.
local background = require "vmctl.base.background"
local core = require "vmctl.core"

local M = {}

local RESTING = 16 -- idle tasks that are kept

---@class vmctl.TtrpcWorkers
local methods = {}
local mt = { __name = "vmctl.TtrpcWorkers", __index = methods }

-- A worker is a table with `task`, `scope` (of the tasks that the handlers spawn; nil when it has ended) and `cancelled`
-- (its task was cancelled and cannot be reused).

---@param read fun(worker: table) reads while `worker` may: see `release` and `take_back`
---@param requests vmctl.Requests
function M.new(read, requests)
  return setmetatable({
    _read = read, _requests = requests, _reading = false, _called = false, _resting = 0, _rest = core.queue(),
  }, mt)
end

local function become_reader(self)
  self._requests:call_off()
  self._reading = true
end

-- Waits until it is needed. False: the connection has ended, or there are idle workers enough.
local function rest(self)
  if self._resting >= RESTING then return false end
  self._resting = self._resting + 1
  local ok = self._rest:wait(math.huge)
  self._resting = self._resting - 1
  return ok
end

-- Works until its scope has ended, as a task left behind makes it. False: the worker ends.
local function work_in(self, worker)
  while worker.scope do
    if not self._reading then
      become_reader(self)
      self._read(worker)
    end
    if worker.cancelled or self._over then return false end
    if worker.scope and self._reading and not rest(self) then return false end
  end
  return true
end

local function work(self, worker)
  self._called = false
  repeat
    local scope <close> = core.scope()
    worker.scope = scope
  until not work_in(self, worker)
end

local function add_worker(self)
  local worker = { task = nil, scope = nil, cancelled = false }
  worker.task = background.spawn_in(self._scope, work, self, worker)
end

--- Begins to read. Does not wait.
---@param scope vmctl.Scope the scope of all its tasks
function methods:start(scope)
  self._scope, self._called = scope, true
  add_worker(self)
end

--- For the reader, before it calls a function that may wait: if it waits, another worker reads. Does not wait.
function methods:release()
  self._reading = false
  if self._resting > 0 then return self._requests:call_later(self._rest) end
  if self._called then return end
  self._called = true
  add_worker(self)
end

--- Makes a worker the reader again, unless there is another one or it was cancelled.
---@return boolean
function methods:take_back(worker)
  if self._reading or worker.cancelled or not worker.scope then return false end
  become_reader(self)
  return true
end

--- Stops reading: each task ends when it becomes idle.
function methods:finish()
  self._over = true
end

--- Ends a worker whose handler's result is no longer needed. Not for the caller's own.
function M.cancel(worker)
  worker.cancelled = true
  worker.task:cancel()
end

return M
