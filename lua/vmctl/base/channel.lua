--- Channels between tasks.
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

return M
