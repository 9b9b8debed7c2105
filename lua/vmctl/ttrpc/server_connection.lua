--- The server's end of a connection: reads frames in order, and runs handlers side by side
--- (docs/wire/ttrpc.md#state-machines, docs/wire/ttrpc.md#connection-life).
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local workers = require "vmctl.ttrpc.server_workers"
local handler = require "vmctl.ttrpc.dispatch"
local incoming = require "vmctl.ttrpc.server_stream"
local frame_streams = require "vmctl.ttrpc.frame_stream"
local log = require "vmctl.log"
local rules = require "vmctl.ttrpc.frame_rules"
local status = require "vmctl.ttrpc.status"
local task = require "vmctl.base.task"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local SEND_TIMEOUT = 30 -- seconds for which a client may take nothing of its answers
local LINGER = 5        -- and of the last ones, when the server ends the connection

---@class vmctl.TtrpcConversation
local methods = {}
local mt = { __name = "vmctl.TtrpcConversation", __index = methods }

--- Takes a connected stream.
---@param stream vmctl.Stream
---@param find fun(service: string, method: string): table?, boolean
---@param most integer streams at a time
---@param any_id boolean see vmctl.TtrpcState
function M.new(stream, find, most, any_id)
  local state = { streams = {}, live = 0, held = 0, last = 0, most = most, draining = false, find = find, any_id = any_id }
  local self = setmetatable({
    _frames = frame_streams.new(stream, core.requests), _state = state, _count = function() return state.live end, _peer = stream:peer(),
    _ended = core.queue(),
  }, mt)
  self._workers = workers.new(function(worker) self:_read(worker) end, self._frames.source)
  return self
end

-- Ends the connection of a client that does not read its answers.
local function send(self, kind, payload, id, flags)
  local how = flags == wire.CLOSE and self._frames.send_apart or self._frames.send
  local ok, err, code = how(self._frames, kind, payload, id, flags, SEND_TIMEOUT)
  if ok or code == "ECANCELED" then return ok end
  if code ~= "ECLOSED" then log.info("ttrpc: %s: closed: %s", self._frames.label, err) end
  self._frames:close()
end

local function refuse(self, id, code, text)
  log.debug("ttrpc: %s: stream %d refused: %s", self._frames.label, id, text)
  return send(self, wire.RESPONSE, wire.encode_response(nil, status.new(code, text)), id, 0)
end

-- Streams

local function take_out(self, entry)
  local state = self._state
  if state.streams[entry.id] ~= entry then return end
  state.streams[entry.id] = nil
  state.live, state.held = state.live - 1, state.held - #entry.payload
  if state.live == 0 and state.draining then background.spawn("ttrpc: drain", self._frames.finish, self._frames, LINGER) end
end

-- The client knows that the stream has ended: nothing more is sent on it, and its handler is ended.
local function drop(self, entry, text)
  entry:drop(text)
  take_out(self, entry)
  workers.cancel(entry.worker)
end

local function serve(self, entry, worker)
  local kind, bytes, flags = handler.run(entry, worker, self._frames)
  if not entry.dropped then
    if kind then send(self, kind, bytes, entry.id, flags) end
    entry:drop "it has ended"
  end
  take_out(self, entry)
end

-- The fields of a handler's context, made on first use: most handlers use few.
local asked = {
  canceled = function(self, entry)
    return function() return self._over or entry.dropped ~= nil end
  end,
  metadata = function() return {} end, -- the request had none
  peer = function(self) return self._peer end,
}

local context_mt = {
  __index = function(context, key)
    local make = asked[key]
    if not make then return nil end
    local value = make(context[1], context[2])
    context[key] = value
    return value
  end,
}

local function begin(self, method, id, flags, worker, service_name, method_name, payload, timeout_nano, metadata)
  local state = self._state
  local context = setmetatable({
    self, nil, service = service_name, method = method_name, metadata = metadata,
    deadline = timeout_nano ~= 0 and core.now() + timeout_nano / 1e9 or nil,
  }, context_mt)
  local entry = incoming.new(self._frames, id, method, context, payload, worker)
  context[2] = entry
  if not entry.unary then entry:begin(flags) end
  state.streams[id], state.live, state.held = entry, state.live + 1, state.held + #entry.payload
  if state.live == 2 then self._frames.room:wake() end -- a reader that waits for the only stream's handler now waits for less
  self._workers:release()
  serve(self, entry, worker)
end

local function deliver(self, entry, payload, flags)
  entry:on_data(payload, flags)
  if not entry.inbox:is_overfull() or self._frames:await_handler(entry.inbox, self._count) then return end
  local text = "data handling error: ttrpc: stream buffer full"
  drop(self, entry, text)
  refuse(self, entry.id, "RESOURCE_EXHAUSTED", text)
end

-- Reading

local function act(self, worker, payload, id, flags, verdict, first, second, entry)
  if verdict == "start" then
    local metadata = first.metadata[1] and wire.metadata_of(first.metadata)
    begin(self, second, id, flags, worker, first.service, first.method, first.payload, first.timeout_nano, metadata)
    return self._workers:take_back(worker)
  elseif verdict == "data" then
    deliver(self, first, payload, flags)
  elseif verdict == "refuse" then
    if entry then drop(self, entry, second) end
    refuse(self, id, first, second)
  end
  return true
end

-- Acts on a decoded request, as most are.
local function act_on_call(self, worker, payload, id, flags, service_name, method_name, timeout_nano)
  local method, verdict, code, text, entry = rules.judge_call(self._state, id, service_name, method_name, payload)
  if not method then return act(self, worker, payload, id, flags, verdict, code, text, entry) end
  begin(self, method, id, flags, worker, service_name, method_name, payload, timeout_nano, nil)
  return self._workers:take_back(worker)
end

local function refuse_oversize(self, text, frame)
  local entry = self._state.streams[frame.stream]
  if entry then drop(self, entry, text) end
  refuse(self, frame.stream, "RESOURCE_EXHAUSTED", text)
end

-- Reads frames as long as this worker is the reader.
function methods:_read(worker)
  local frames, state = self._frames, self._state
  while true do
    local kind, payload, id, flags, service_name, method_name, timeout_nano = frames:read(math.huge)
    if service_name then
      if not act_on_call(self, worker, payload, id, flags, service_name, method_name, timeout_nano) then return end
    elseif kind then
      if not act(self, worker, payload, id, flags, rules.judge(state, kind, payload, id, flags)) then return end
    elseif id == "ETOOBIG" then
      refuse_oversize(self, payload, flags)
    else
      self._workers:finish()
      self._why, self._code = payload, id
      self._ended:wake()
      return
    end
  end
end

local QUIET = { EOF = true, ECLOSED = true, ECANCELED = true, ECONNRESET = true }

--- Serves the connection until it ends, closes it, and cancels the handlers that are still at work. Waits.
function methods:run()
  local frames <close> = self._frames -- luacheck: ignore
  task.scope(function(scope)
    self._workers:start(scope)
    self._ended:wait(math.huge, "the connection's end")
    if self._code and not QUIET[self._code] then log.info("ttrpc: %s: %s", self._frames.label, self._why) end
    self._over = true
    self._workers:finish()
    self._frames:close()
    scope:cancel()
  end)
end

--- Refuses new requests, and ends the connection when no stream is open. Does not wait.
function methods:drain()
  if self._state.draining then return end
  self._state.draining = true
  if self._state.live == 0 then background.spawn("ttrpc: drain", self._frames.finish, self._frames, LINGER) end
end

--- Ends the connection now.
function methods:close()
  self._frames:close()
end

return M
