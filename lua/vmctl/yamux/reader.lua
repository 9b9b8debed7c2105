--- Handles the received frames of a session and its streams.
local background = require "vmctl.base.background"
local errors = require "vmctl.errors"
local frame = require "vmctl.yamux.frame"
local task = require "vmctl.base.task"

local M = {}

local DATA, WINDOW, PING, GO_AWAY = frame.DATA, frame.WINDOW, frame.PING, frame.GO_AWAY
local SYN, ACK, FIN, RST = frame.SYN, frame.ACK, frame.FIN, frame.RST
local FRAME_TIMEOUT = 5 -- seconds in which a frame that has begun must end
local STREAMS = 1024
local OWED = 2048       -- answers that may wait for the transport

-- The reader's answers are written by another task. If the reader waited for the transport, two sides that both write much would
-- wait for each other.
local function answer(self, ...)
  if self._owed == OWED then return errors.fail("EPROTO", "the peer asks, and takes no answers") end
  self._owed = self._owed + 1
  background.spawn_in(self._scope, function(...)
    self:must_send(...)
    self._owed = self._owed - 1
  end, ...)
  return true
end

local function on_open(self, id)
  if id == 0 or id % 2 == self._parity or self._streams[id] then -- 0 is the session itself
    return errors.fail("EPROTO", "the peer opened stream %d, whose number is not its to give", id)
  end
  if self._count >= STREAMS or self._leaving or not self._on_stream then return answer(self, WINDOW, RST, id, 0) end
  local outer, err, code = self:adopt(id)
  if not outer then return nil, err, code end
  task.spawn_in(self._scope, self._on_stream, outer, id)
  return answer(self, WINDOW, ACK, id, 0)
end

local function on_ping(self, flags, number)
  if flags & SYN ~= 0 then return answer(self, PING, ACK, 0, number) end
  if number <= self._pings then self._pong = math.max(self._pong, number) end -- pings are answered in order
  self._ponged:wake()
  return true
end

local function on_stream_frame(self, kind, flags, id, length, payload)
  if flags & SYN ~= 0 then
    local ok, err, code = on_open(self, id)
    if not ok then return nil, err, code end
  end
  local st = self._streams[id]
  if not st then return true end -- for a stream that has just ended here
  self:note_answer(st)
  if flags & RST ~= 0 then
    st:reset()
    return true
  end
  if kind == WINDOW then st:grow(length) end
  local ok, err, code = true, nil, nil
  if payload then ok, err, code = st:push(payload) end
  if ok and flags & FIN ~= 0 then st:finish() end
  return ok, err, code
end

local function on_frame(self, kind, ...)
  if kind == PING then
    local flags, _, number = ...
    return on_ping(self, flags, number)
  elseif kind == GO_AWAY then
    self._going = true
    self._answered:wake()
    return true
  elseif kind ~= DATA and kind ~= WINDOW then
    return errors.fail("EPROTO", "a frame of type %d", kind)
  end
  return on_stream_frame(self, kind, ...)
end

--- Reads a frame and acts on it. Waits.
---@param self vmctl.YamuxSession
---@return true|nil, string?, string? code EPROTO, or why the transport has ended
function M.read(self)
  local head, err, code = self._transport:read_exact(frame.SIZE, math.huge)
  if not head then return nil, err, code end
  local version, kind, flags, id, length = frame.unpack(head)
  if version ~= 0 then
    if self._on_strange then return self._on_strange(head) end
    return errors.fail("EPROTO", "version %d", version)
  end
  local payload
  if kind == DATA and length > 0 then
    if length > frame.WINDOW_SIZE then return errors.fail("EPROTO", "a data frame of %d bytes", length) end
    payload, err, code = self._transport:read_exact(length, FRAME_TIMEOUT)
    if not payload then return nil, err, code end
  end
  return on_frame(self, kind, flags, id, length, payload)
end

return M
