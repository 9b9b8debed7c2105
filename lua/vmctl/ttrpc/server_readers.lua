--- The tasks of a server's connection. One of them reads, and calls each handler by itself; when that waits, another one
--- goes on reading. So most calls need no task of their own, and no handler keeps what comes after it waiting.
local background = require "vmctl.base.background"
local core = require "vmctl.core"

local M = {}

local RESTING = 16 -- tasks that are kept for later

local methods = {}
local mt = { __name = "vmctl.TtrpcCrew", __index = methods }

-- A worker is a table with `task`, `scope` (what the handlers spawn belongs to it; nil when it has ended) and `dismissed`
-- (its task was cancelled, and is of no more use).

---@param read fun(worker: table) reads while `worker` may: see `release` and `take_back`
function M.new(read)
  return setmetatable({ _read = read, _reading = false, _called = false, _resting = 0, _rest = core.queue() }, mt)
end

-- Waits to be needed. False: it is not.
local function rest(self)
  if self._resting >= RESTING then return false end
  self._resting = self._resting + 1
  local ok = self._rest:wait(math.huge)
  self._resting = self._resting - 1
  self._called = false
  return ok
end

-- Until the scope has ended, which a task left behind does. False: for good.
local function work_in(self, worker)
  while worker.scope do
    if not self._reading then
      self._reading = true
      self._read(worker)
    end
    if worker.dismissed or self._over then return false end
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

local function hire(self)
  local worker = { task = nil, scope = nil, dismissed = false }
  worker.task = background.spawn_in(self._scope, work, self, worker)
end

--- Begins to read. Does not wait.
---@param scope vmctl.Scope what all its tasks belong to
function methods:start(scope)
  self._scope, self._called = scope, true
  hire(self)
end

--- The reader is about to do what may wait: as soon as it does, another one reads.
function methods:release()
  self._reading = false
  if self._called then return end
  self._called = true
  if self._rest:wake(1) == 0 then hire(self) end
end

--- Makes a worker the reader again, unless there is another by now, or it cannot go on.
---@return boolean
function methods:take_back(worker)
  if self._reading or worker.dismissed or not worker.scope then return false end
  self._reading = true
  return true
end

--- Nothing more is read: tasks end as they come to rest.
function methods:finish()
  self._over = true
end

--- Ends a worker that is at something of which nobody wants to know any more. Not for the caller's own.
function M.dismiss(worker)
  worker.dismissed = true
  worker.task:cancel()
end

return M
