--- Frames over a connection, for both ends: one writer at a time, in the order of the calls, each with its own deadline; one reader,
--- which skips frames that are too big. Corked output is flushed once per loop turn, or when its bound is reached.
local core = require "vmctl.core"
local waiters = require "vmctl.base.waiters"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local STALL = 0.5 -- seconds for which a full stream may delay the others
local ALONE = 10  -- and its own client, when it is the only one
local APART = 1   -- for which the end of a stream waits for the kernel to take earlier output
local LOOK = 0.25 -- seconds between two checks if the peer has gone meanwhile

---@class vmctl.TtrpcFrameStream
local methods = {}
local mt = { __name = "vmctl.TtrpcFrameStream", __index = methods }

-- Reads all frames without interpreting them.
local function plain(stream)
  return { read = function(_, timeout) return stream:read_frame(timeout) end }
end

--- Takes a connected stream.
---@param stream vmctl.Stream
---@param source? fun(stream: vmctl.Stream, request: integer, answer: integer): vmctl.Calls|vmctl.Requests the reader,
-- which handles ordinary frames itself: core.calls or core.requests; without it all frames are returned
function M.new(stream, source)
  stream:set_format(wire.format)
  stream:cork()
  local self = setmetatable({
    stream = stream, source = (source or plain)(stream, wire.REQUEST, wire.RESPONSE), label = stream:label(),
    room = core.queue(), held = 0, waiting_for_room = false, _waiters = waiters.new(), _writing = false, _skipping = false,
  }, mt)
  self._turn = setmetatable({}, { __close = function() self._writing = self._waiters:serve() ~= nil end })
  return self
end

--- Waits for the turn to write. The caller closes the returned value.
---@param deadline number on the clock of core.now
---@return table|nil turn, string?, string? code ETIMEDOUT, ECANCELED
function methods:turn(deadline)
  if self._writing then
    local timeout = deadline - core.now()
    local ok, err, code = self._waiters:wait({}, timeout, "the peer does not read", function() self._turn:__close() end)
    if not ok then return nil, err, code end
  end
  self._writing = true
  return self._turn
end

--- Tells if no task is writing. Code that does not wait may then add frames without a turn.
---@return boolean
function methods:is_free()
  return not self._writing
end

--- Writes a frame; the caller has the turn. Waits while too much is queued. A queued frame counts as
--- sent: it is written even if its sender is cancelled.
---@return true|nil, string?, string?
function methods:put(kind, payload, id, flags, timeout)
  local ok, err, code, queued = self.stream:write_frame(kind, payload, id, flags, timeout)
  if ok or code == "ETIMEDOUT" and queued == 1 then return true end
  if code == "ETIMEDOUT" then err = "the peer does not read" end
  return nil, err, code
end

--- Writes a frame. Waits, for the turn and for room.
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED: nothing was sent; others: the connection is lost
function methods:send(kind, payload, id, flags, timeout)
  local deadline = self._writing and core.now() + timeout
  local turn <close>, err, code = self:turn(deadline) -- luacheck: ignore
  if not turn then return nil, err, code end
  return self:put(kind, payload, id, flags, deadline and deadline - core.now() or timeout)
end

--- As send, but the frame is not in one write with those before it. A peer that starts a task for each received frame, as ttrpc-rust
--- does, may see the end of a stream before the message that came with it (docs/wire/ttrpc.md#traps, 18). A peer that does not read
--- earlier output for APART seconds gets both in one write.
---@return true|nil, string?, string?
function methods:send_apart(kind, payload, id, flags, timeout)
  local deadline = core.now() + timeout
  local turn <close>, err, code = self:turn(deadline) -- luacheck: ignore
  if not turn then return nil, err, code end
  local ok
  ok, err, code = self.stream:flush(math.min(APART, deadline - core.now()))
  self.stream:cork()
  if not ok and code ~= "ETIMEDOUT" then return nil, err, code end
  return self:put(kind, payload, id, flags, deadline - core.now())
end

-- A frame over the limit is skipped by the next read. Its stream can be told before that.
local function too_big(self, err, code, frame)
  if code ~= "ETOOBIG" or type(frame) ~= "table" then return nil, err, code end
  if frame.size >= wire.RESERVED then
    return nil, ("a frame announces %d bytes: the first byte of a length is zero"):format(frame.size), "EPROTO"
  end
  self._skipping = true
  return nil, ("message length %d exceed maximum message size of %d"):format(frame.size, wire.MAX), "ETOOBIG", frame
end

--- Reads a frame. Waits.
---@param timeout number seconds
---@return integer|true|nil kind true: the source has handled all frames that were there
---@return string payload_or_message
---@return integer|string id_or_code ETOOBIG: that frame alone is lost; EPROTO: the connection is
---@return integer|table|nil flags of ETOOBIG: { type =, stream =, flags =, size = }
---@return string? service, string? method, integer? timeout_nano of a request that core.requests has decoded; its payload
-- is the argument
function methods:read(timeout)
  if self._skipping then
    local deadline = core.now() + timeout
    local ok, err, code = self.stream:skip_frame(timeout)
    if not ok then return nil, err, code end
    self._skipping = false
    timeout = deadline - core.now()
  end
  local kind, payload, id, flags, service, method, timeout_nano = self.source:read(timeout)
  if kind then return kind, payload, id, flags, service, method, timeout_nano end
  return too_big(self, payload, id, flags)
end

--- Makes the reader, and so the peer, wait while a stream's messages are not read. Other streams must not wait long: while
--- there are some (live() > 1) more messages are kept, up to a bound, and then the reader waits STALL seconds at most.
--- Returns false if the stream has to be given up.
---@param inbox vmctl.TtrpcInbox
---@param live fun(): integer
---@return boolean
function methods:await_room(inbox, live)
  while inbox:is_full() and not inbox.code and live() <= 1 and not self.stream:closed() do
    self.waiting_for_room = true
    local ok = self.room:wait(math.huge, "room")
    self.waiting_for_room = false
    if not ok then return true end -- the reader ends
  end
  local deadline = core.now() + STALL
  while inbox:is_overfull() and not inbox.code and core.now() < deadline do
    local ok, _, code = self.room:wait(deadline - core.now(), "room")
    if not ok and code ~= "ETIMEDOUT" then return true end
  end
  return not inbox:is_overfull() or inbox.code ~= nil
end

local function peer_has_gone(self)
  local _, gone = self.stream:hung_up()
  return gone
end

--- As await_room, for a server, whose connection also brings new requests and the news that the client has gone: messages are kept up
--- to their bound, then the reader waits STALL seconds (ALONE seconds for the only stream) in which the handler takes nothing.
---@param inbox vmctl.TtrpcInbox
---@param live fun(): integer
---@return boolean
function methods:await_handler(inbox, live)
  local began = core.now()
  while inbox:is_overfull() and not inbox.code and not self.stream:closed() do
    local left = began + (live() > 1 and STALL or ALONE) - core.now()
    if left <= 0 then return false end
    local ok, _, code = self.room:wait(math.min(left, LOOK), "room")
    if not ok and code ~= "ETIMEDOUT" then return true end
    if peer_has_gone(self) then
      self:close() -- the reader notices it next, and ends the handlers
      return true
    end
  end
  return true
end

--- Waits until the kernel has all output, and closes the connection.
---@param timeout number seconds
function methods:finish(timeout)
  local turn <close> = self:turn(core.now() + timeout) -- luacheck: ignore
  if turn then self.stream:shutdown(timeout) end
  self.stream:close()
end

--- Closes the connection; wakes a reader that waits for room. Idempotent, does not wait.
function methods:close()
  self.stream:close()
  self.room:wake()
end

mt.__close = methods.close

return M
