--- Many streams over one (yamux, the published specification, version 0). Users get each as an ordinary vmctl.Stream.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local frame = require "vmctl.yamux.frame"
local locks = require "vmctl.base.lock"
local reader = require "vmctl.yamux.reader"
local stream = require "vmctl.yamux.stream"
local task = require "vmctl.base.task"

local M = {}

local WINDOW, PING, GO_AWAY = frame.WINDOW, frame.PING, frame.GO_AWAY
local SYN = frame.SYN
local SEND_TIMEOUT = 30        -- seconds after which a blocked transport is given up
local LINGER = 60              -- seconds for which a peer may keep a stream open that the user has closed
local OPEN_TIMEOUT = 10
local BACKLOG = 256            -- opened streams without an answer of the peer: hashicorp's implementation resets more

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

--- For the session's streams: tells if one still belongs to it.
function methods:has(st)
  return self._streams[st.id] == st
end

--- For the session's streams and its reader: the peer has answered an opened one, so there is room for another. Does not wait.
function methods:note_answer(st)
  if not st.is_unanswered then return end
  st.is_unanswered = false
  self._unanswered = self._unanswered - 1
  self._answered:wake(1)
end

--- For the session's streams: one has ended.
function methods:forget(st)
  if not self:has(st) then return end
  self:note_answer(st)
  self._streams[st.id] = nil
  self._count = self._count - 1
  self._forgotten:wake()
end

--- For the session's reader, too: makes the stream of that number. Does not wait.
---@param id integer
---@return vmctl.Stream|nil outer, string?, string?
function methods:adopt(id)
  local st, outer, code = stream.new(self, id)
  if not st then return nil, outer, code end
  outer:label(("%s stream %d"):format(self._transport:label(), id))
  self._streams[id] = st
  self._count = self._count + 1
  st:start(self._scope)
  return outer
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
    _on_stream = opts.on_stream, _on_strange = opts.on_strange, _lock = locks.lock(), _ponged = core.queue(), _pings = 0,
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
      ok, err, code = reader.read(self)
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

--- The reason why its transport has ended. Does not wait.
---@return nil, string? message, string? code nil: it has not
function methods:reason()
  if self._over then return nil, table.unpack(self._why) end
end

--- The number of streams that are open on at least one side.
---@return integer
function methods:streams()
  return self._count
end

-- Waits until the peer has answered enough of the streams that were opened before.
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
  local outer, err, code = self:adopt(id)
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
