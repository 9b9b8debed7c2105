--- Hands the lifecycle messages of a guest from its connections to the listeners
--- (docs/wire/stereos.md#guest-actions). A slow listener delays no other: it loses the oldest messages that it has not fetched.
local core = require "vmctl.core"

local M = {}

local KEPT = 256            -- messages for one listener
local KEPT_BYTES = 1 << 20  -- bytes of their texts

---@class vmctl.StereosHub
local hub = {}
local hub_mt = { __name = "vmctl.StereosHub", __index = hub }

--- The connections of a client publish their messages here. `heard`: somebody listens; `state`: the last state published.
function M.hub()
  return setmetatable({ heard = false }, hub_mt)
end

--- Hands a message to all listeners. Never waits.
---@param event { state: string, message: string }
function hub:publish(event)
  self.state = event.state
  event = { state = event.state, message = event.message } -- further members from the guest are not kept
  for listener in pairs(self._listeners or {}) do listener:_put(event) end
end

--- Wakes the listeners after a connection has ended or the client was closed. Never waits.
function hub:changed()
  for listener in pairs(self._listeners or {}) do listener._news:wake() end
end

---@class vmctl.StereosListener
local listener = {}
local listener_mt = { __name = "vmctl.StereosListener", __index = listener }

--- Listens from now on; `close` ends it. Does not wait.
function hub:listen()
  local self_listener = setmetatable({ _hub = self, _news = core.queue(), _first = 1, _last = 0, _bytes = 0, lost = 0 }, listener_mt)
  self._listeners = self._listeners or setmetatable({}, { __mode = "k" })
  self._listeners[self_listener], self.heard = true, true
  return self_listener
end

local function size_of(event)
  return #event.state + #(event.message or "")
end

function listener:_put(event)
  self._last = self._last + 1
  self[self._last] = event
  self._bytes = self._bytes + size_of(event)
  while self._last > self._first and (self._last - self._first >= KEPT or self._bytes > KEPT_BYTES) do
    self:take()
    self.lost = self.lost + 1
  end
  self._news:wake()
end

--- The next message that is there, or nil. Does not wait.
function listener:take()
  local event = self[self._first]
  if event then
    self[self._first] = nil
    self._first = self._first + 1
    self._bytes = self._bytes - size_of(event)
  end
  return event
end

--- Waits for a message, or until something has changed.
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED
function listener:wait(timeout)
  if self[self._first] then return true end
  return self._news:wait(timeout, "wait for a lifecycle message")
end

function listener:close()
  local owner = self._hub
  owner._listeners[self] = nil
  owner.heard = next(owner._listeners) ~= nil
end

listener_mt.__close = listener.close

return M
