--- Channels between tasks, and a lock.
local core = require "vmctl.core"
local waiters = require "vmctl.base.waiters"

local M = {}

---@class vmctl.Channel
local channel = {}
local channel_mt = { __name = "vmctl.Channel", __index = channel }

--- Makes a channel. Values, senders and receivers keep their order.
---@param capacity? integer values that are kept until they are received; 0 (the default): a send waits for its receiver
---@return vmctl.Channel
function M.channel(capacity)
  capacity = capacity or 0
  if math.type(capacity) ~= "integer" or capacity < 0 then error("a capacity of 0 or more expected", 2) end
  return setmetatable({
    _capacity = capacity, _first = 1, _last = 0, _closed = false, _receivers = waiters.new(), _senders = waiters.new(),
  }, channel_mt)
end

local function keep(self, value)
  self._last = self._last + 1
  self[self._last] = value
end

--- Sends a value (not nil). Waits while the channel is full.
---@param value any
---@param timeout? number|{ timeout: number } seconds
---@return true|nil, string?, string? code ECLOSED, ETIMEDOUT, ECANCELED
function channel:send(value, timeout)
  if value == nil then error("a channel carries no nil", 2) end
  local ok, err, code = core.turn()
  if not ok then return nil, err, code end
  if self._closed then return nil, "send to a channel: closed", "ECLOSED" end
  local receiver = self._receivers:serve()
  if receiver then
    receiver.value = value
  elseif self._last - self._first + 1 < self._capacity then
    keep(self, value)
  else
    local record = { value = value }
    ok, err, code = self._senders:wait(record, timeout, "send to a channel")
    if not ok then return nil, err, code end
    if record.refused then return nil, "send to a channel: closed", "ECLOSED" end
  end
  return true
end

-- Takes the first value: a kept one, or that of a waiting sender.
local function take(self)
  local sender
  if self._first > self._last then
    sender = self._senders:serve()
    return sender and sender.value
  end
  local value = self[self._first]
  self[self._first] = nil
  self._first = self._first + 1
  sender = self._senders:serve()
  if sender then keep(self, sender.value) end
  return value
end

local function give_back(self, record)
  if record.refused then return end
  local other = self._receivers:serve()
  if other then
    other.value = record.value
  else
    self._first = self._first - 1
    self[self._first] = record.value
  end
end

--- Receives a value. Waits while there is none.
---@param timeout? number|{ timeout: number } seconds
---@return any|nil value, string?, string? code ECLOSED once it is closed and empty, ETIMEDOUT, ECANCELED
function channel:recv(timeout)
  local ok, err, code = core.turn()
  if not ok then return nil, err, code end
  local value = take(self)
  if value ~= nil then return value end
  if not self._closed then
    local record = {}
    local function undo() give_back(self, record) end
    ok, err, code = self._receivers:wait(record, timeout, "receive from a channel", undo)
    if not ok then return nil, err, code end
    if not record.refused then return record.value end
  end
  return nil, "receive from a channel: closed", "ECLOSED"
end

local function refuse(list)
  local record = list:serve()
  while record do
    record.refused = true
    record = list:serve()
  end
end

--- No more values can be sent; those that are there can be received. Never waits.
function channel:close()
  self._closed = true
  refuse(self._receivers)
  refuse(self._senders)
  return true
end

channel_mt.__close = channel.close

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

--- Says if a task has it.
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
