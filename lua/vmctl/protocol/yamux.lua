--- Many streams over one (yamux, the published specification, version 0). Each stream is a Unix socket pair: one end is the
--- user's, an ordinary vmctl.Stream; the other is pumped here.
local background = require "vmctl.background"
local channel = require "vmctl.channel"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local task = require "vmctl.task"

local M = {}

local HEADER, HEADER_SIZE = ">BBI2I4I4", 12
local DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
local SYN, ACK, FIN, RST = 1, 2, 4, 8
local WINDOW_SIZE = 256 * 1024
local PIECE = 32 * 1024        -- bytes of one data frame, so that streams take turns
local FRAME_TIMEOUT = 5        -- seconds in which a frame that has begun must end
local SEND_TIMEOUT = 30         -- seconds after which a link that takes nothing is over
local STREAMS = 1024
local LINGER = 60              -- seconds for which a peer may keep a stream open that the user has closed
local LAST_READ = 1            -- seconds in which a user can still read what came before the peer reset the stream

local session = {}
local session_mt = { __name = "vmctl.YamuxSession", __index = session }

-- A frame is taken whole or not at all: it is smaller than what a stream buffers.
local function send(self, kind, flags, id, length, payload)
  return self._lock:with(self._send_timeout, function()
    local header = HEADER:pack(0, kind, flags, id, length)
    return self._link:write(payload and header .. payload or header, self._send_timeout)
  end)
end

local function end_all(self, err, code)
  self._over, self._why = true, { err, code }
  for _, st in pairs(self._streams) do
    st.inner:close()
    st.changed:wake()
    st.arrived:wake()
  end
  self._streams = {}
  self._ponged:wake()
end

-- For what a stream cannot do without: if it cannot be sent, the session is over.
local function must_send(self, ...)
  local ok, err, code = send(self, ...)
  if ok or self._over then return ok end
  end_all(self, err, code)
  self._scope:cancel()
end

local function forget(self, st)
  if self._streams[st.id] == st then
    self._streams[st.id] = nil
    self._count = self._count - 1
  end
  st.inner:close()
  st.changed:wake()
end

local function maybe_forget(self, st)
  if st.sent_fin and st.got_fin and not st.incoming[st.first] then forget(self, st) end
end

-- The user has ended his writing, and perhaps closed altogether: then the peer has a while to end its side as well.
local function finish_out(self, st)
  st.sent_fin = true
  must_send(self, DATA, FIN, st.id, 0)
  maybe_forget(self, st)
  while self._streams[st.id] == st do
    local ok, _, code = st.changed:wait(self._linger)
    local _, closed = st.inner:hung_up()
    if code == "ECANCELED" then return end
    if not ok and closed and self._streams[st.id] == st then
      must_send(self, DATA, RST, st.id, 0)
      return forget(self, st)
    end
  end
end

-- From the user's end to the peer, as far as its window reaches.
local function pump_out(self, st)
  while true do
    while st.send_window == 0 and not st.reset and self._streams[st.id] == st do
      if not st.changed:wait(math.huge) then return end
    end
    local data, _, code = st.inner:read(math.min(PIECE, math.max(st.send_window, 1)), math.huge)
    if self._streams[st.id] ~= st then return end
    if not data then
      if code == "EOF" then return finish_out(self, st) end
      must_send(self, DATA, RST, st.id, 0)
      return forget(self, st)
    end
    if not st.reset then -- else nobody wants it
      st.send_window = st.send_window - #data
      if not must_send(self, DATA, 0, st.id, #data, data) then return end
    end
  end
end

-- From the peer to the user's end. The window grows again by what the user has taken, so memory is bounded by it.
local function pump_in(self, st)
  while self._streams[st.id] == st do
    local data = st.incoming[st.first]
    if data then
      st.incoming[st.first] = nil
      st.first = st.first + 1
      if not st.inner:write(data, math.huge) then
        must_send(self, DATA, RST, st.id, 0) -- the user has closed: the peer need not send on
        return forget(self, st)
      end
      st.consumed = st.consumed + #data
      if st.consumed >= WINDOW_SIZE // 2 then
        st.recv_window = st.recv_window + st.consumed
        if not must_send(self, WINDOW, 0, st.id, st.consumed) then return end
        st.consumed = 0
      end
    elseif st.reset then
      return forget(self, st)
    elseif st.got_fin then
      st.inner:shutdown(SEND_TIMEOUT)
      return maybe_forget(self, st)
    elseif not st.arrived:wait(math.huge) then
      return
    end
  end
end

local function adopt(self, id)
  local outer, inner, code = core.pair()
  if not outer then return nil, inner, code end
  outer:label(("%s stream %d"):format(self._link:label(), id))
  inner:set_timeout(math.huge)
  local st = {
    id = id, inner = inner, send_window = WINDOW_SIZE, recv_window = WINDOW_SIZE, consumed = 0, incoming = {}, first = 1,
    last = 0, changed = core.queue(), arrived = core.queue(),
  }
  self._streams[id] = st
  self._count = self._count + 1
  background.spawn_in(self._scope, pump_out, self, st) -- it may live longer than the limit of who opens it
  background.spawn_in(self._scope, pump_in, self, st)
  return outer
end

local function on_data(st, flags, length, payload)
  if length > 0 and st then
    st.recv_window = st.recv_window - length
    if st.recv_window < 0 then return errors.fail("EPROTO", "stream %d: data beyond its window", st.id) end
    st.last = st.last + 1
    st.incoming[st.last] = payload
  end
  if st and flags & FIN ~= 0 then st.got_fin = true end
  if st then st.arrived:wake() end
  return true
end

local function on_open(self, id)
  if id % 2 == self._parity or self._streams[id] then
    return errors.fail("EPROTO", "the peer opened stream %d, whose number is not its to give", id)
  end
  if self._count >= STREAMS or not self._on_stream then
    send(self, WINDOW, RST, id, 0)
    return true
  end
  local outer, err, code = adopt(self, id)
  if not outer then return nil, err, code end
  send(self, WINDOW, ACK, id, 0)
  task.spawn_in(self._scope, self._on_stream, outer, id)
  return true
end

-- What had arrived before is still delivered, but a user who does not read must soon notice as well.
local function on_reset(self, st)
  if st.reset then return end
  st.reset = true
  st.arrived:wake()
  st.changed:wake()
  background.spawn_in(self._scope, function()
    core.sleep(LAST_READ)
    forget(self, st)
  end)
end

local function on_frame(self, kind, flags, id, length, payload)
  if kind == PING then
    if flags & SYN ~= 0 then return send(self, PING, ACK, 0, length) end
    self._pong = length
    self._ponged:wake()
    return true
  elseif kind == GO_AWAY then
    self._going = true
    return true
  elseif kind ~= DATA and kind ~= WINDOW then
    return errors.fail("EPROTO", "a frame of type %d", kind)
  end
  if flags & SYN ~= 0 then
    local ok, err, code = on_open(self, id)
    if not ok then return nil, err, code end
  end
  local st = self._streams[id]
  if st and flags & RST ~= 0 then
    on_reset(self, st)
    return true
  end
  if kind == DATA then return on_data(st, flags, length, payload) end
  if not st then return true end
  st.send_window = st.send_window + length
  st.changed:wake()
  return on_data(st, flags, 0)
end

local function read_frame(self)
  local head, err, code = self._link:read_exact(HEADER_SIZE, math.huge)
  if not head then return nil, err, code end
  local version, kind, flags, id, length = HEADER:unpack(head)
  if version ~= 0 then
    if self._on_strange then return self._on_strange(head) end
    return errors.fail("EPROTO", "version %d", version)
  end
  local payload
  if kind == DATA and length > 0 then
    if length > WINDOW_SIZE then return errors.fail("EPROTO", "a data frame of %d bytes", length) end
    payload, err, code = self._link:read_exact(length, FRAME_TIMEOUT)
    if not payload then return nil, err, code end
  end
  return on_frame(self, kind, flags, id, length, payload)
end

--- Makes a session on a stream.
---@param link vmctl.Stream
---@param opts { client: boolean, on_stream: fun(stream: vmctl.Stream, id: integer)?, on_strange: function?,
-- send_timeout: number?, linger: number? } on_stream runs as a task for each stream that the peer opens; on_strange gets the
-- 12 bytes of a header that is no yamux; send_timeout: seconds (30) after which a link that takes nothing is over; linger:
-- seconds (60) for which the peer may keep a stream that was closed here
---@return vmctl.YamuxSession
function M.session(link, opts)
  return setmetatable({
    _link = link, _parity = opts.client and 1 or 0, _next = opts.client and 1 or 2, _streams = {}, _count = 0,
    _on_stream = opts.on_stream, _on_strange = opts.on_strange, _lock = channel.lock(), _ponged = core.queue(), _pings = 0,
    _send_timeout = opts.send_timeout or SEND_TIMEOUT, _linger = opts.linger or LINGER,
  }, session_mt)
end

--- Works until the link ends; closes all streams then. Waits.
---@return nil, string message, string code why it ended
function session:run()
  local err, code
  task.scope(function(scope)
    self._scope = scope
    local ok
    repeat
      ok, err, code = read_frame(self)
    until not ok
    if not self._over then end_all(self, err, code) end
    scope:cancel()
  end)
  return nil, table.unpack(self._why)
end

--- Works in the background. Does not wait.
function session:start(name)
  self._task = background.spawn(name, self.run, self)
  return self
end

--- Opens a stream. Waits until the request is with the peer's kernel.
---@return vmctl.Stream|nil, string?, string?
function session:open()
  if self._over or self._going or not self._scope then
    return errors.fail("ECONNREFUSED", "open a stream on %s: the session has ended", self._link:label())
  end
  local id = self._next
  self._next = id + 2
  local outer, err, code = adopt(self, id)
  if not outer then return nil, err, code end
  local ok
  ok, err, code = send(self, WINDOW, SYN, id, 0)
  if not ok then
    outer:close()
    return nil, err, code
  end
  return outer
end

--- Asks the peer for a sign of life. Waits.
---@param timeout number seconds
---@return number|nil seconds, string?, string?
function session:ping(timeout)
  local begin = core.now()
  self._pings = self._pings + 1
  local number = self._pings
  local ok, err, code = send(self, PING, SYN, 0, number)
  while ok and self._pong ~= number and not self._over do
    ok, err, code = self._ponged:wait(timeout - (core.now() - begin), "ping")
  end
  if self._over then return nil, table.unpack(self._why) end
  if not ok then return nil, err, code end
  return core.now() - begin
end

--- Ends it, the link included. Idempotent.
function session:close()
  if self._task then self._task:cancel() end
  if not self._over then end_all(self, "closed", "ECLOSED") end
  self._link:close()
  return true
end

session_mt.__close = session.close

return M
