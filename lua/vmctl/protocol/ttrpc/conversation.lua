--- The server's end of a connection: one reader, a task for each handler (wire document, sections 9 to 12).
local background = require "vmctl.background"
local core = require "vmctl.core"
local handler = require "vmctl.protocol.ttrpc.handler"
local incoming = require "vmctl.protocol.ttrpc.incoming"
local links = require "vmctl.protocol.ttrpc.link"
local log = require "vmctl.log"
local rules = require "vmctl.protocol.ttrpc.rules"
local status = require "vmctl.protocol.ttrpc.status"
local task = require "vmctl.task"
local wire = require "vmctl.protocol.ttrpc.wire"

local M = {}

local SEND_TIMEOUT = 30 -- seconds for which a client may take nothing of its answers
local LINGER = 5        -- and of the last ones, when the server ends the connection

local methods = {}
local mt = { __name = "vmctl.TtrpcConversation", __index = methods }

--- Takes a connected stream.
---@param stream vmctl.Stream
---@param find fun(service: string, method: string): table?, boolean
---@param most integer streams at a time
function M.new(stream, find, most)
  local state = { streams = {}, live = 0, held = 0, last = 0, most = most, draining = false, find = find }
  return setmetatable({
    _link = links.new(stream), _state = state, _count = function() return state.live end, _peer = stream:peer(),
  }, mt)
end

-- A client that takes nothing of what it is told is not to be served.
local function send(self, kind, payload, id, flags)
  local ok, err, code = self._link:send(kind, payload, id, flags, SEND_TIMEOUT)
  if ok or code == "ECANCELED" then return ok end
  if code ~= "ECLOSED" then log.info("ttrpc: %s: closed: %s", self._link.label, err) end
  self._link:close()
end

local function refuse(self, id, code, text)
  log.debug("ttrpc: %s: stream %d refused: %s", self._link.label, id, text)
  return send(self, wire.RESPONSE, wire.encode_response(nil, status.new(code, text)), id, 0)
end

-- Streams

local function take_out(self, entry)
  local state = self._state
  if state.streams[entry.id] ~= entry then return end
  state.streams[entry.id] = nil
  state.live, state.held = state.live - 1, state.held - #entry.payload
  if state.live == 0 and state.draining then background.spawn("ttrpc: drain", self._link.finish, self._link, LINGER) end
end

-- The client has been told that the stream is over: nothing more is sent on it, and its handler ends.
local function drop(self, entry, text)
  entry:drop(text)
  take_out(self, entry)
  entry.task:cancel()
end

local function serve(self, entry)
  local kind, bytes, flags = handler.run(entry)
  if not entry.dropped then
    send(self, kind, bytes, entry.id, flags)
    entry:drop "it has ended"
  end
  take_out(self, entry)
end

local function deadline_of(timeout_nano)
  return timeout_nano ~= 0 and core.now() + timeout_nano / 1e9 or nil
end

local function begin(self, request, method, id, flags)
  local context = {
    service = request.service, method = request.method, metadata = wire.metadata_of(request.metadata), peer = self._peer,
    deadline = deadline_of(request.timeout_nano),
  }
  local state = self._state
  local entry = incoming.new(self._link, id, method, context, request.payload)
  context.canceled = function() return self._over or entry.dropped ~= nil end
  if not entry.unary then entry:begin(flags) end
  state.streams[id], state.live, state.held = entry, state.live + 1, state.held + #entry.payload
  self._link.room:wake()
  entry.task = background.spawn_in(self._scope, serve, self, entry)
end

local function deliver(self, entry, payload, flags)
  entry:on_data(payload, flags)
  if not entry.inbox:is_full() or self._link:await_room(entry.inbox, self._count) then return end
  local text = "data handling error: ttrpc: stream buffer full"
  drop(self, entry, text)
  refuse(self, entry.id, "INVALID_ARGUMENT", text)
end

-- Reading

local function act(self, payload, id, flags, verdict, first, second, entry)
  if verdict == "start" then
    begin(self, first, second, id, flags)
  elseif verdict == "data" then
    deliver(self, first, payload, flags)
  elseif verdict == "refuse" then
    if entry then drop(self, entry, second) end
    refuse(self, id, first, second)
  end
end

local function refuse_oversize(self, text, frame)
  local entry = self._state.streams[frame.stream]
  if entry then drop(self, entry, text) end
  refuse(self, frame.stream, "RESOURCE_EXHAUSTED", text)
end

local function read_all(self)
  while true do
    local kind, payload, id, flags = self._link:read(math.huge)
    if kind then
      act(self, payload, id, flags, rules.judge(self._state, kind, payload, id, flags))
    elseif id == "ETOOBIG" then
      refuse_oversize(self, payload, flags)
    else
      return payload, id
    end
  end
end

local QUIET = { EOF = true, ECLOSED = true, ECANCELED = true, ECONNRESET = true }

--- Serves the connection until it ends, closes it, and cancels the handlers that are still at work. Waits.
function methods:run()
  local link <close> = self._link -- luacheck: ignore
  task.scope(function(scope)
    self._scope = scope
    local err, code = read_all(self)
    if not QUIET[code] then log.info("ttrpc: %s: %s", self._link.label, err) end
    self._over = true
    self._link:close()
    scope:cancel()
  end)
end

--- Begins nothing new, and ends the connection as soon as nothing is open. Does not wait.
function methods:drain()
  if self._state.draining then return end
  self._state.draining = true
  if self._state.live == 0 then background.spawn("ttrpc: drain", self._link.finish, self._link, LINGER) end
end

--- Ends the connection now.
function methods:close()
  self._link:close()
end

return M
