--- Many streams over one (yamux, the published specification, version 0). Users get each as an ordinary vmctl.Stream.
local background = require "vmctl.base.background"
local channel = require "vmctl.base.channel"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local frame = require "vmctl.yamux.frame"
local stream = require "vmctl.yamux.stream"
local task = require "vmctl.base.task"

local M = {}

local DATA, WINDOW, PING, GO_AWAY = frame.DATA, frame.WINDOW, frame.PING, frame.GO_AWAY
local SYN, ACK, FIN, RST = frame.SYN, frame.ACK, frame.FIN, frame.RST
local FRAME_TIMEOUT = 5        -- seconds in which a frame that has begun must end
local SEND_TIMEOUT = 30        -- seconds after which a blocked transport is given up
local LINGER = 60              -- seconds for which a peer may keep a stream open that the user has closed
local OPEN_TIMEOUT = 10
local STREAMS = 1024
local BACKLOG = 256            -- opened streams without an answer of the peer: hashicorp's implementation resets more
local OWED = 2048              -- answers that may wait for the transport

---@class vmctl.YamuxSession
local methods = {}
local mt = { __name = "vmctl.YamuxSession", __index = methods }

-- Writes a frame whole or not at all: it is smaller than a stream's buffer.
local function send(self, ...)
  return self._lock:with(self._send_timeout, self._transport.write, self._transport, frame.pack(...), self._send_timeout)
end

local function declare_over(self, err, code)
  if self._over then return end
  self._over, self._why = true, { err, code }
  self._ponged:wake()
  self._answered:wake()
end

local function close_streams(self)
  local streams = self._streams
  self._streams, self._count = {}, 0
  for _, st in pairs(streams) do st:close() end
end

-- The transport has ended. Users may still read buffered bytes for a moment.
local function drain_streams(self)
  for _, st in pairs(self._streams) do st:reset() end
  local deadline = core.now() + stream.LAST_READ
  while next(self._streams) and self._forgotten:wait(deadline - core.now()) do end
  close_streams(self)
end

--- For the session's streams: sends a frame, or ends the session.
---@return true|nil
function methods:must_send(...)
  if self._over then return nil end
  local ok, err, code = send(self, ...)
  if ok or self._over then return ok end
  declare_over(self, err, code)
  self._scope:cancel()
end

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

--- For the session's streams: says if one still belongs to it.
function methods:has(st)
  return self._streams[st.id] == st
end

-- The peer has answered an opened stream: there is room for another.
local function on_answer(self, st)
  if not st.is_unanswered then return end
  st.is_unanswered = false
  self._unanswered = self._unanswered - 1
  self._answered:wake(1)
end

--- For the session's streams: one has ended.
function methods:forget(st)
  if not self:has(st) then return end
  on_answer(self, st)
  self._streams[st.id] = nil
  self._count = self._count - 1
  self._forgotten:wake()
end

local function adopt(self, id)
  local st, outer, code = stream.new(self, id)
  if not st then return nil, outer, code end
  outer:label(("%s stream %d"):format(self._transport:label(), id))
  self._streams[id] = st
  self._count = self._count + 1
  st:start(self._scope)
  return outer
end

local function on_open(self, id)
  if id == 0 or id % 2 == self._parity or self._streams[id] then -- 0 is the session itself
    return errors.fail("EPROTO", "the peer opened stream %d, whose number is not its to give", id)
  end
  if self._count >= STREAMS or self._leaving or not self._on_stream then return answer(self, WINDOW, RST, id, 0) end
  local outer, err, code = adopt(self, id)
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
  on_answer(self, st)
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

local function read_frame(self)
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

--- Makes a session on a stream.
---@param transport vmctl.Stream
---@param opts { client: boolean?, on_stream: fun(stream: vmctl.Stream, id: integer)?, on_strange: function?,
--- send_timeout: number?, linger: number?, backlog: integer? } on_stream runs as a task for each stream that the peer opens;
-- on_strange gets the 12 bytes of a header that is no yamux; send_timeout: seconds (30) after which a blocked transport is given
-- up; linger: seconds (60) for which the peer may keep a stream that was closed here; backlog: streams (256) that it may leave
-- unanswered
---@return vmctl.YamuxSession
function M.session(transport, opts)
  return setmetatable({
    _transport = transport, _parity = opts.client and 1 or 0, _next = opts.client and 1 or 2, _streams = {}, _count = 0,
    _on_stream = opts.on_stream, _on_strange = opts.on_strange, _lock = channel.lock(), _ponged = core.queue(), _pings = 0,
    _pong = 0, _owed = 0, _forgotten = core.queue(), _answered = core.queue(), _unanswered = 0,
    _backlog = opts.backlog or BACKLOG, _send_timeout = opts.send_timeout or SEND_TIMEOUT, linger = opts.linger or LINGER,
  }, mt)
end

--- Works until the transport ends, and with it all streams. Waits.
---@return nil, string message, string code the reason of its end
function methods:run()
  task.scope(function(scope)
    self._scope = scope
    local ok, err, code
    repeat
      ok, err, code = read_frame(self)
    until not ok
    declare_over(self, err, code)
    drain_streams(self)
    scope:cancel()
  end)
  return nil, table.unpack(self._why)
end

--- Works in the background. Does not wait.
function methods:start(name)
  self._task = background.spawn(name, self.run, self)
  return self
end

--- False once the transport has ended.
function methods:alive()
  return not self._over
end

--- How many streams there are that neither side is done with.
---@return integer
function methods:streams()
  return self._count
end

-- Waits until the peer has answered enough of what was opened before.
local function await_room(self, timeout)
  local deadline = core.now() + timeout
  while self._unanswered >= self._backlog and not self._over and not self._going do
    local ok, err, code = self._answered:wait(deadline - core.now(), "the peer answers none")
    if not ok then
      if self._unanswered < self._backlog then self._answered:wake(1) end -- this call was woken, but has given up: wake the next one
      return nil, ("open a stream on %s: %s"):format(self._transport:label(), err), code
    end
  end
  if not self._over and not self._going and self._scope then return true end
  return errors.fail("ECONNREFUSED", "open a stream on %s: the session has ended", self._transport:label())
end

local function request(self, id)
  local outer, err, code = adopt(self, id)
  if not outer then return nil, err, code end
  self._streams[id].is_unanswered = true
  self._unanswered = self._unanswered + 1
  local ok
  ok, err, code = send(self, WINDOW, SYN, id, 0)
  if ok then return outer end
  outer:close()
  return nil, err, code
end

--- Opens a stream. Waits while too many are unanswered, and until the peer's kernel has the request.
---@param timeout? number seconds (10) for the answers to earlier ones
---@return vmctl.Stream|nil, string?, string? code ECONNREFUSED: the session has ended, or the peer accepts no more; ETIMEDOUT
function methods:open(timeout)
  local ok, err, code = await_room(self, timeout or OPEN_TIMEOUT)
  if not ok then return nil, err, code end
  local id = self._next
  self._next = id + 2
  return request(self, id)
end

--- Tells the peer to open no more streams, and refuses new ones; open streams go on. Waits until the peer's kernel has the
--- message.
---@return true|nil, string?, string?
function methods:go_away()
  if self._over then return nil, table.unpack(self._why) end
  self._leaving = true
  return send(self, GO_AWAY, 0, 0, 0)
end

--- Asks if the peer answers. Waits.
---@param timeout number seconds
---@return number|nil seconds, string?, string?
function methods:ping(timeout)
  local begin = core.now()
  self._pings = self._pings + 1
  local number = self._pings
  local ok, err, code = send(self, PING, SYN, 0, number)
  while ok and self._pong < number and not self._over do
    ok, err, code = self._ponged:wait(timeout - (core.now() - begin), "ping")
  end
  if self._over then return nil, table.unpack(self._why) end
  if not ok then return nil, err, code end
  return core.now() - begin
end

--- Ends the session and its streams, and leaves the transport to the next session: the other side has begun one. Does not wait;
--- `ended` does.
---@param err string
---@param code string
function methods:drop(err, code)
  declare_over(self, err, code)
  if self._task then self._task:cancel() end
end

--- Waits until a dropped session no longer uses the transport.
---@param timeout number
function methods:ended(timeout)
  if self._task then self._task:join(timeout) end
end

--- Ends it, the transport included. Idempotent.
function methods:close()
  if self._task then self._task:cancel() end
  declare_over(self, "closed", "ECLOSED")
  close_streams(self)
  self._transport:close()
  return true
end

mt.__close = methods.close

return M
