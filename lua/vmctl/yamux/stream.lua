--- One stream of a yamux session: a socket pair whose one end the user has, and two tasks that copy between the other end and the
--- session.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local frame = require "vmctl.yamux.frame"

local M = {}

local DATA, WINDOW, FIN, RST = frame.DATA, frame.WINDOW, frame.FIN, frame.RST

M.LAST_READ = 1                -- seconds in which a user can still read bytes that came before a reset

---@class vmctl.YamuxStream
local methods = {}
local mt = { __name = "vmctl.YamuxStream", __index = methods }

function methods:_is_live()
  return self._session:has(self)
end

-- Sends a frame; if that fails, the session ends.
function methods:_send(kind, flags, length, payload)
  return self._session:must_send(kind, flags, self.id, length, payload)
end

function methods:_end()
  self._session:forget(self)
  self:close()
end

function methods:_end_if_done()
  if self._sent_fin and self._delivered then self:_end() end
end

-- The user has shut down or closed the stream. After a close, the peer has some time to end its side as well.
function methods:_finish_out()
  self._sent_fin = true
  self:_send(DATA, FIN, 0)
  self:_end_if_done()
  while self:_is_live() do
    local ok, _, code = self._changed:wait(self._session.linger)
    local _, closed = self._inner:hung_up()
    if code == "ECANCELED" then return end
    if not ok and closed and self:_is_live() then
      self:_send(DATA, RST, 0)
      return self:_end()
    end
  end
end

-- Copies from the user's end to the peer, within the peer's window.
local function pump_out(self)
  while true do
    while self._send_window == 0 and not self._reset and self:_is_live() do
      if not self._changed:wait(math.huge) then return end
    end
    local most = math.min(frame.PIECE, math.max(self._send_window, 1))
    local data, _, code = self._inner:read(most, math.huge)
    if not self:_is_live() then return end
    if not data then
      if code == "EOF" then return self:_finish_out() end
      self:_send(DATA, RST, 0)
      return self:_end()
    end
    if not self._reset then -- else the peer does not read it
      self._send_window = self._send_window - #data
      if not self:_send(DATA, 0, #data, data) then return end
    end
  end
end

function methods:_deliver(data)
  if not self._inner:write(data, math.huge) then
    self:_send(DATA, RST, 0) -- the user has closed: the peer should stop sending
    return self:_end()
  end
  self._consumed = self._consumed + #data
  if self._consumed < frame.WINDOW_SIZE // 2 then return true end
  self._recv_window = self._recv_window + self._consumed
  local grown = self._consumed
  self._consumed = 0
  return self:_send(WINDOW, 0, grown)
end

-- Copies from the peer to the user's end. The window grows by the bytes that the user has read, so it bounds the memory.
local function pump_in(self)
  while self:_is_live() do
    local data = self._incoming[self._first]
    if data then
      self._incoming[self._first] = nil
      self._first = self._first + 1
      if not self:_deliver(data) then return end
    elseif self._reset then
      return self:_end()
    elseif self._got_fin then
      self._inner:shutdown(math.huge) -- after the bytes that the user has not read yet
      self._delivered = true
      return self:_end_if_done()
    elseif not self._arrived:wait(math.huge) then
      return
    end
  end
end

--- Makes a stream; `start` begins its work.
---@param session vmctl.YamuxSession
---@param id integer
---@return table|nil stream, vmctl.Stream|string outer the user's end, string?
function M.new(session, id)
  local outer, inner, code = core.pair()
  if not outer then return nil, inner, code end
  inner:set_timeout(math.huge)
  return setmetatable({
    id = id, _session = session, _inner = inner, _send_window = frame.WINDOW_SIZE, _recv_window = frame.WINDOW_SIZE,
    _consumed = 0, _incoming = {}, _first = 1, _last = 0, _changed = core.queue(), _arrived = core.queue(),
  }, mt), outer
end

--- Starts the two tasks. They may live longer than the task that opens the stream.
function methods:start(scope)
  self._scope = scope
  background.spawn_in(scope, pump_out, self)
  background.spawn_in(scope, pump_in, self)
end

--- Takes data of the peer.
---@return true|nil, string?, string? code EPROTO: more than the window allows
function methods:push(data)
  self._recv_window = self._recv_window - #data
  if self._recv_window < 0 then return errors.fail("EPROTO", "stream %d: data beyond its window", self.id) end
  self._last = self._last + 1
  self._incoming[self._last] = data
  self._arrived:wake()
  return true
end

--- The peer has read that many bytes.
function methods:grow(bytes)
  self._send_window = self._send_window + bytes
  self._changed:wake()
end

--- The peer has ended its direction.
function methods:finish()
  self._got_fin = true
  self._arrived:wake()
end

--- The peer has reset the stream, or the transport has ended. Bytes that came before are still delivered for a moment; then a user
--- that does not read notices the end as well.
function methods:reset()
  if self._reset then return end
  self._reset = true
  self._arrived:wake()
  self._changed:wake()
  background.spawn_in(self._scope, function()
    core.sleep(M.LAST_READ)
    self:_end()
  end)
end

--- Gives up the user's end. Idempotent.
function methods:close()
  self._inner:close()
  self._changed:wake()
  self._arrived:wake()
end

return M
