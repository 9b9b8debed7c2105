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

local function deadline_of(timeout)
  if type(timeout) == "table" then timeout = timeout.timeout end
  return timeout and core.now() + timeout
end

local function wait(queue, deadline, what)
  return queue:wait(deadline and deadline - core.now(), what)
end

local function room(c)
  return c._last - c._first + 1 < c._capacity + c._receiving
end

--- Sends a value (not nil). Waits while the channel is full.
---@param value any
---@param timeout? number|{ timeout: number } seconds
---@return true|nil, string?, string? ECLOSED, ETIMEDOUT, ECANCELED
function channel:send(value, timeout)
  if value == nil then error("a channel carries no nil", 2) end
  local deadline = deadline_of(timeout)
  local ok, err, code = core.turn()
  while ok and not self._closed and not room(self) do
    ok, err, code = wait(self._senders, deadline, "send to a channel")
  end
  if not ok then return nil, err, code end
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

-- A receiver that waits makes room for one value more, until its wait has ended, by an error or otherwise.
local function wait_for_value(c, deadline)
  c._receiving = c._receiving + 1
  c._senders:wake(1)
  local fine, ok, err, code = pcall(wait, c._receivers, deadline, "receive from a channel")
  c._receiving = c._receiving - 1
  if fine then return ok, err, code end
  if c._first <= c._last then c._receivers:wake(1) end -- the value that it does not take is another's
  error(ok, 0)
end

--- Receives a value. Waits while the channel is empty. A value that is there is received, however late it is.
---@param timeout? number|{ timeout: number } seconds
---@return any|nil value, string?, string? ECLOSED once it is closed and empty, ETIMEDOUT, ECANCELED
function channel:recv(timeout)
  local deadline = deadline_of(timeout)
  local ok, err, code = core.turn()
  while ok and self._first > self._last do
    if self._closed then return nil, "receive from a channel: closed", "ECLOSED" end
    ok, err, code = wait_for_value(self, deadline)
  end
  local here = self._first <= self._last
  if not ok and not (here and code == "ETIMEDOUT") then return nil, err, code end
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

--- Makes a lock for tasks: `with` runs a function alone. Who waits gets it in the order of coming.
function M.lock()
  return setmetatable({ _held = false, _first = 1, _last = 0 }, lock_mt)
end

-- Hands the lock to the one that has waited longest: were it only let go, who comes by next would take it.
local function release(self)
  self._held = false
  while not self._held and self._first <= self._last do
    local waiter = self[self._first]
    self[self._first] = nil
    self._first = self._first + 1
    self._held = waiter.queue:wake(1) == 1 -- 0: its wait has ended otherwise
    waiter.granted = self._held
  end
end

local releasing = { __close = function(guard) release(guard[1]) end }

local function acquire(self, timeout)
  if not self._held then
    self._held = true
    return true
  end
  local waiter = { queue = core.queue(), granted = false }
  self._last = self._last + 1
  self[self._last] = waiter
  local fine, ok, err, code = pcall(waiter.queue.wait, waiter.queue, timeout, "lock")
  if fine then return ok, err, code end
  if waiter.granted then release(self) end
  error(ok, 0)
end

--- Runs `fn(…)` while holding the lock, which is let go whatever happens.
---@param timeout? number seconds to wait for the lock
---@return any ... what fn returned; nil, message, code if the lock was not to be had in time
function lock:with(timeout, fn, ...)
  local ok, err, code = acquire(self, timeout)
  if not ok then return nil, err, code end
  local guard <close> = setmetatable({ self }, releasing) -- luacheck: ignore
  return (function(...) return ... end)(fn(...))
end

return M
