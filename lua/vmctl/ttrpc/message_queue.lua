--- The unread messages of one stream, with a bound, and the end of the stream.
local core = require "vmctl.core"

local M = {}

-- Above the first bounds the peer has to wait, unless that would hold up other streams; above the others it always has to,
-- but only for a moment.
local MESSAGES, BYTES = 64, 1 << 20
local MOST_MESSAGES, MOST_BYTES = 4096, 8 << 20
local MOST_OF_ALL = 32 << 20 -- bytes in the queues of all streams of a connection

---@class vmctl.TtrpcInbox
local methods = {}
local mt = { __name = "vmctl.TtrpcInbox", __index = methods }

---@param frames vmctl.TtrpcFrameStream `held`: bytes that wait in all its inboxes; `room` is woken whenever a message is taken
function M.new(frames)
  return setmetatable({ _first = 1, _last = 0, _bytes = 0, _frames = frames, _come = core.queue() }, mt)
end

local function hold(self, bytes)
  self._bytes = self._bytes + bytes
  self._frames.held = self._frames.held + bytes
end

--- Adds a message. The caller looks at the bounds. Does not wait.
---@param message string
function methods:put(message)
  self._last = self._last + 1
  self[self._last] = message
  hold(self, #message)
  self._come:wake(1)
end

--- The number of unread messages.
---@return integer
function methods:count()
  return self._last - self._first + 1
end

--- Tells if the peer should wait.
function methods:is_full()
  return self:count() >= MESSAGES or self._bytes >= BYTES
end

--- Tells if no further message may be kept.
function methods:is_overfull()
  return self:count() >= MOST_MESSAGES or self._bytes >= MOST_BYTES or self._frames.held >= MOST_OF_ALL
end

--- Ends the queue: its messages can still be read, then `recv` returns the reason.
---@param err string
---@param code string "EOF" at the end
---@param status? table
function methods:finish(err, code, status)
  if self.code then return end
  self.err, self.code, self.status = err, code, status
  self._come:wake()
end

--- Drops unread messages.
function methods:clear()
  for at = self._first, self._last do self[at] = nil end
  self._first, self._last = 1, 0
  hold(self, -self._bytes)
  self._frames.room:wake()
end

local function take(self)
  local first = self._first
  local message = self[first]
  self[first] = nil
  self._first = first + 1
  hold(self, -#message)
  self._frames.room:wake()
  return message
end

--- The next message. Waits while there is none.
---@param timeout number seconds
---@return string|nil, string?, string?, table? the arguments of `finish`; ETIMEDOUT, ECANCELED
function methods:recv(timeout)
  local deadline = core.now() + timeout
  local ok, err, code = core.turn()
  if not ok then return nil, err, code end
  while self._first > self._last do
    if self.code then return nil, self.err, self.code, self.status end
    ok, err, code = self._come:wait(deadline - core.now(), "no message")
    if not ok then return nil, err, code end
  end
  return take(self)
end

return M
