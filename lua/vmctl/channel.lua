--- Channels between tasks, and a lock.
local core = require "vmctl.core"

local M = {}

local channel = {}
local channel_mt = { __name = "vmctl.Channel", __index = channel }

--- Makes a channel.
---@param capacity? integer values that are kept while nobody receives; 0 (the default): a send waits for its receiver
---@return vmctl.Channel
function M.channel(capacity)
  capacity = capacity or 0
  if math.type(capacity) ~= "integer" or capacity < 0 then error("a capacity of 0 or more expected", 2) end
  return setmetatable({
    _capacity = capacity, _first = 1, _last = 0, _receiving = 0, _closed = false,
    _receivers = core.queue(), _senders = core.queue(),
  }, channel_mt)
end

local function room(c)
  return c._last - c._first + 1 < c._capacity + c._receiving
end

--- Sends a value (not nil). Waits while the channel is full.
---@return true|nil, string?, string? ECLOSED, ETIMEDOUT, ECANCELED
function channel:send(value, timeout)
  if value == nil then error("a channel carries no nil", 2) end
  local deadline = timeout and core.now() + timeout
  while not self._closed and not room(self) do
    local ok, err, code = self._senders:wait(deadline and deadline - core.now(), "send to a channel")
    if not ok then return nil, err, code end
  end
  if self._closed then return nil, "send to a channel: closed", "ECLOSED" end
  self._last = self._last + 1
  self[self._last] = value
  self._receivers:wake(1)
  return true
end

local function take(c)
  local value = c[c._first]
  c[c._first] = nil
  c._first = c._first + 1
  c._senders:wake(1)
  return value
end

--- Receives a value. Waits while the channel is empty.
---@return any|nil value, string?, string? ECLOSED once it is closed and empty, ETIMEDOUT, ECANCELED
function channel:recv(timeout)
  local deadline = timeout and core.now() + timeout
  while self._first > self._last do
    if self._closed then return nil, "receive from a channel: closed", "ECLOSED" end
    self._receiving = self._receiving + 1
    self._senders:wake(1)
    local ok, err, code = self._receivers:wait(deadline and deadline - core.now(), "receive from a channel")
    self._receiving = self._receiving - 1
    if not ok then return nil, err, code end
  end
  return take(self)
end

--- No more values can be sent; those that are there can be received. Never waits.
function channel:close()
  self._closed = true
  self._receivers:wake()
  self._senders:wake()
  return true
end

channel_mt.__close = channel.close

local lock = {}
local lock_mt = { __name = "vmctl.Lock", __index = lock }

--- Makes a lock for tasks: `with` runs a function alone.
function M.lock()
  return setmetatable({ _held = false, _waiters = core.queue() }, lock_mt)
end

local release = { __close = function(self)
  self[1]._held = false
  self[1]._waiters:wake(1)
end }

--- Runs `fn(…)` while holding the lock, which is let go whatever happens.
---@return any ... what fn returned; nil, message, code if the lock was not to be had in time
function lock:with(timeout, fn, ...)
  local deadline = timeout and core.now() + timeout
  while self._held do
    local ok, err, code = self._waiters:wait(deadline and deadline - core.now(), "lock")
    if not ok then
      self._waiters:wake(1)
      return nil, err, code
    end
  end
  self._held = true
  local guard <close> = setmetatable({ self }, release) -- luacheck: ignore
  return (function(...) return ... end)(fn(...))
end

return M
