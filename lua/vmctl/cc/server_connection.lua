--- The server's side of one connection: a request, its answer, the next request (docs/wire/cc-ipc.md#framing,
--- docs/wire/cc-ipc.md#responses-and-errors).
local encoder = require "vmctl.cc.encoder"
local log = require "vmctl.log"
local oversized = require "vmctl.cc.oversized"
local naming = require "vmctl.base.stream_name"
local response = require "vmctl.cc.response"
local task = require "vmctl.base.task"
local wire = require "vmctl.cc.wire"

local M = {}

local SEND_TIMEOUT = 60 -- seconds in which a client must have taken an answer
local LINGER = 2        -- seconds for which input is still dropped after the last error was sent
local HEAD = 5          -- bytes in front of the file's in an answer
local NOTHING = "\0"    -- the answer without fields

---@class vmctl.CcServerConnection
local methods = {}
local mt = { __name = "vmctl.CcServerConnection", __index = methods }

-- The frame of a failure. A handler's fourth value may be another helper's failure, with its code.
local function refusal(message, code, where)
  if type(where) ~= "table" then where = {} end
  if code == "EOF" then message = code end -- clients compare the message with that word
  local body = { code = wire.code_of(code), message = tostring(message) }
  if math.type(where.code) == "integer" and wire.code_of(where.code) == where.code then
    body.code, body.message = where.code, tostring(where.message or message)
  end
  for _, name in ipairs { "op", "path" } do
    if type(where[name]) == "string" then body[name] = where[name] end
  end
  return wire.types.ERROR, encoder.new():error(body):bytes()
end

-- The frame for a handler's results.
local function answer(self, kind, ok, result, message, code, where)
  if not ok then
    log.error("cc: %s: %s", wire.names[kind] or ("request 0x%04x"):format(kind), result)
    return refusal("the handler failed", wire.codes.UNKNOWN)
  end
  if result == nil and message ~= nil then return refusal(message, code, where) end
  if result == nil or result == true or result == "" then return wire.types.RESPONSE, NOTHING end
  if response.is_response(result) then result = result:build() end
  if response.is_file(result) then return wire.types.RESPONSE, result end
  if type(result) ~= "string" then
    log.error("cc: %s: the handler returned a %s", wire.names[kind] or kind, type(result))
    return refusal("the handler returned no answer", wire.codes.UNKNOWN)
  end
  if #result > self._max then
    local text = "an answer of %d bytes, the limit is %d"
    return refusal(text:format(#result, self._max), wire.codes.IO, { op = (wire.names[kind] or ""):lower() })
  end
  return wire.types.RESPONSE, result
end

local function handle(self, kind, payload)
  self._context.type = kind
  return answer(self, kind, xpcall(self._handler, debug.traceback, kind, payload, self._context))
end

-- Handles a request that may take long, and cancels it if the client goes away. To notice that, it reads the next request
-- ahead.
local function handle_watched(self, kind, payload)
  return task.scope(function(scope)
    local worker = task.spawn_in(scope, handle, self, kind, payload)
    local watcher = task.spawn_in(scope, function()
      local ahead = table.pack(self._stream:read_frame(math.huge))
      if not ahead[1] and ahead[3] == "ECANCELED" then return end
      self._ahead = ahead
      if not ahead[1] and select(2, self._stream:hung_up()) then worker:cancel() end
    end)
    local answer_kind, body = worker:join(math.huge)
    watcher:cancel()
    return answer_kind, body
  end)
end

local function read(self)
  local ahead = self._ahead
  if not ahead then return self._stream:read_frame(math.huge) end
  self._ahead = nil
  return table.unpack(ahead, 1, ahead.n)
end

-- Describes the part of a frame in which the stream has ended.
local function broken_off(stream)
  local bytes = stream:stats().buffered_in
  if bytes < wire.HEADER_SIZE then return "read header: unexpected EOF" end
  return bytes == wire.HEADER_SIZE and "read payload: EOF" or "read payload: unexpected EOF"
end

-- Sends the client, which may still read, the reason why there will be no further answer.
local function finish(self, err, code)
  local stream = self._stream
  if code == "EOF" or code == "ECLOSED" or code == "ECANCELED" then return end
  local text, number = "read header: " .. err, wire.codes.IO
  if code == "EPROTO" then text = broken_off(stream) end
  log.info("cc: %s: %s", stream:label(), err)
  local kind, body = refusal(text, number)
  stream:write_frame(kind, body, LINGER)
  stream:shutdown(LINGER)
end

-- The frame that answers the next request; nil, message, code: there is none, or we were cancelled.
local function next_answer(self, kind, payload, code, frame)
  if kind then return (wire.may_block[kind] and handle_watched or handle)(self, kind, payload) end
  if code ~= "ETOOBIG" or not frame then return nil, payload, code end
  log.info("cc: %s: a payload of %d bytes, the limit is %d", self._stream:label(), frame.size, self._max)
  return oversized.serve(self._stream, frame, function(...) return handle(self, ...) end, refusal)
end

-- Sends an answer. A part of a file goes past this process, or is read where that is not possible.
local function send(self, kind, answer_kind, body)
  if type(body) == "table" then
    local ok, err, code = false, nil, nil
    if body.most < self._max - HEAD then ok, err, code = body:send(self._stream, answer_kind, SEND_TIMEOUT) end
    if ok ~= false then return ok, err, code end
    answer_kind, body = answer(self, kind, xpcall(body.read, debug.traceback))
  end
  return self._stream:write_frame(answer_kind, body, SEND_TIMEOUT)
end

--- Serves the connection until it ends, and closes it. Waits.
function methods:run()
  local stream <close> = self._stream
  while true do
    local kind, payload, code, frame = read(self)
    local answer_kind, body, why = next_answer(self, kind, payload, code, frame)
    if not answer_kind then return body and finish(self, body, why) end
    local ok, err = send(self, kind, answer_kind, body)
    if not ok then return log.info("cc: %s: %s", stream:label(), err) end
    if not kind then
      ok, err, why = oversized.drain(stream)
      if not ok then return finish(self, err, why) end
    end
  end
end

--- Takes a connection.
---@param stream vmctl.Stream
---@param handler function|vmctl.CcRouter
---@param format vmctl.Format with `max` as the limit of a payload
---@param max integer bytes
function M.new(stream, handler, format, max)
  stream:set_format(format)
  naming.name(stream, "cc")
  local context = { peer = stream:label(), connection = {} }
  return setmetatable({ _stream = stream, _handler = handler, _max = max, _context = context }, mt)
end

return M
