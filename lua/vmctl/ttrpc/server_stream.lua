--- The handler's end of a stream on the server (docs/wire/ttrpc.md#types-and-flags,
--- docs/wire/ttrpc.md#call-sequences).
local errors = require "vmctl.errors"
local inboxes = require "vmctl.ttrpc.message_queue"
local options = require "vmctl.base.options"
local service = require "vmctl.ttrpc.service"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local SEND_TIMEOUT = 30 -- seconds

---@class vmctl.TtrpcIncoming
local methods = {}
local mt = { __name = "vmctl.TtrpcIncoming", __index = methods }

local known = { timeout = "number" }

--- The server's record of a request. A unary one has no inbox.
---@param worker table of server_workers.lua, whose task runs the handler
function M.new(frames, id, method, context, payload, worker)
  local unary = not method.client_stream and not method.server_stream
  local self = setmetatable({ -- with room for all fields of a unary one
    id = id, method = method, context = context, unary = unary, payload = payload, worker = worker, dropped = nil,
    input_over = nil,
  }, mt)
  if not unary then self.inbox, self._frames = inboxes.new(frames), frames end
  return self
end

-- For the server

local ENDED = "the client has ended its side"

--- The request's payload is the argument of a method that takes no stream, even an empty one; else it is a first message, if
--- there is any. If the flags say that the client sends no Data, the input has ended.
function methods:begin(flags)
  local payload = self.payload
  if not self.method.client_stream or payload ~= "" and flags & wire.NO_DATA == 0 then self.inbox:put(payload) end
  if flags & wire.REMOTE_CLOSED ~= 0 or not self.method.client_stream then self:end_input(ENDED, "EOF") end
end

--- A last message in the frame of the end is delivered. The reference also refuses it, but such senders exist.
function methods:on_data(payload, flags)
  if flags & wire.NO_DATA == 0 then self.inbox:put(payload) end
  if flags & wire.REMOTE_CLOSED ~= 0 then self:end_input(ENDED, "EOF") end
end

--- Ends the input: the handler reads the remaining messages, and then this end.
---@param err string
---@param code string "EOF" at the end that the client has told
function methods:end_input(err, code)
  self.input_over = true
  self.inbox:finish(err, code)
end

--- Drops the stream: unread messages are dropped, and nothing more is sent.
function methods:drop(why)
  self.dropped = why
  if self.unary then return end
  self:end_input(why, "ECANCELED")
  self.inbox:clear()
end

-- For handlers

local function failed(self, what, err, code)
  return errors.fail(code, "%s %s: %s", what, self.method.name, err)
end

--- Sends a message. Waits while the client does not take earlier ones.
---@param message table|string a table by the method's type; bytes go as they are
---@param opts? number|{ timeout: number? } seconds, 30 by default
---@return true|nil, string?, string? code ETIMEDOUT: not sent; ECANCELED: the client has gone; ETOOBIG, EINVAL, EPROTO
function methods:send(message, opts)
  if not self.method.server_stream then return failed(self, "send from", "it answers once, by what it returns", "EPROTO") end
  local timeout = opts and options.check(opts, known, "send").timeout or SEND_TIMEOUT
  local payload, err, code = service.encode(self.method.response, message)
  if not payload then return failed(self, "send from", err, code) end
  if #payload > wire.MAX then
    local text = "message length %d exceed maximum message size of %d"
    return failed(self, "send from", text:format(#payload, wire.MAX), "ETOOBIG")
  end
  if self.dropped then return failed(self, "send from", self.dropped, "ECANCELED") end
  local ok
  ok, err, code = self._frames:send(wire.DATA, payload, self.id, 0, timeout)
  if not ok then return failed(self, "send from", err, code) end
  return true
end

--- The next message. Waits, without limit by default.
---@param opts? number|{ timeout: number? }
---@return table|string|nil message, string?, string? code EOF: the client has ended its side; ETIMEDOUT, ECANCELED; EPROTO: a message
-- that is not of its type
function methods:recv(opts)
  local timeout = opts and options.check(opts, known, "recv").timeout or math.huge
  local payload, err, code = self.inbox:recv(timeout)
  if not payload then return failed(self, "receive in", err, code) end
  local message
  message, err, code = service.decode(self.method.request, payload)
  if message == nil then return failed(self, "receive in", err, code) end
  return message
end

--- Iterates over the messages: ends at the end of input, raises on any other failure.
---@return fun(): table|string|nil
function methods:messages(opts)
  return function()
    local message, err, code = self:recv(opts)
    if message == nil and code ~= "EOF" then error(err, 2) end
    return message
  end
end

return M
