--- The client's end of a stream: messages out, messages in, in any order (docs/wire/ttrpc.md#call-sequences).
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local inboxes = require "vmctl.ttrpc.message_queue"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local service = require "vmctl.ttrpc.service"
local status = require "vmctl.ttrpc.status"
local wire = require "vmctl.ttrpc.wire"

local M = {}

---@class vmctl.TtrpcStream
local methods = {}
local mt = { __name = "vmctl.TtrpcStream", __index = methods }

local known = { timeout = "number" }

local FAREWELL = 5 -- seconds to send the end of a stream that was given up

-- Sends the end of a stream's input in the background; a failure is ignored.
local function say_farewell(connection, id)
  if connection.over then return end
  background.spawn("ttrpc: " .. connection.frames.label, function()
    local ok, err = connection:send_data(id, "", wire.CLOSE, FAREWELL)
    if not ok then log.debug("ttrpc: %s: stream %d: %s", connection.frames.label, id, err) end
  end)
end

--- A stream that is not open yet: the connection opens it.
---@param spec { name: string, request: string?, response: string?, client_stream: boolean, server_stream: boolean }
---@param timeout number seconds: the default of send and recv
---@param deadline number of the stream as a whole
function M.new(connection, spec, timeout, deadline)
  return setmetatable({
    _connection = connection, _spec = spec, _timeout = timeout, _deadline = deadline, _inbox = inboxes.new(connection.frames),
    _sending = spec.client_stream,
  }, mt)
end

local function failed(self, what, err, code, extra)
  return nil, ("%s %s: %s"):format(what, self._spec.name, err), code, extra
end

-- For the connection

local ENDED = "the stream has ended"

--- Takes the Response that ends the stream. Does not wait.
---@param bytes string its envelope
function methods:on_response(bytes)
  self._over = "the server has ended it"
  local response, err = wire.decode_response(bytes)
  if not response then return self._inbox:finish(err, "EPROTO") end
  local refused = response.status
  if refused and refused.code ~= 0 then
    return self._inbox:finish(log.one_line(refused.message, 4096), status.name(refused.code), refused)
  end
  if self._spec.server_stream and response.payload == "" then return self._inbox:finish(ENDED, "EOF") end
  self._inbox:put(response.payload)
  self._inbox:finish(ENDED, "EOF")
end

--- Takes a Data frame. Does not wait.
---@param payload string
---@param flags integer
---@return vmctl.TtrpcInbox|nil inbox where it went, for the reader to look at its bound
function methods:on_data(payload, flags)
  local inbox = self._inbox
  if not self._spec.server_stream then
    self:give_up("Data from the server of a method that answers once", "EPROTO")
    return nil
  end
  if flags & wire.NO_DATA == 0 then inbox:put(payload) end
  if flags & wire.REMOTE_CLOSED ~= 0 then
    self._over = "the server has ended it"
    inbox:finish(ENDED, "EOF")
  end
  return inbox
end

--- Ends the stream with a failure of the connection or of a frame. Does not wait.
---@param err string
---@param code string
---@param refused? table a status
function methods:on_failure(err, code, refused)
  self._over = err
  self._inbox:finish(err, code, refused)
end

--- Gives the stream up: drops unread messages, and those that still come.
function methods:give_up(err, code)
  self._inbox:clear()
  if self._over then return end
  self._connection:forget(self)
  self:on_failure(err, code)
  if self._sending then say_farewell(self._connection, self.id) end
  self._sending = false
end

-- For users

local function time_left(self, opts, what)
  local timeout = opts and options.check(opts, known, what, 4).timeout or self._timeout
  return math.min(timeout, self._deadline - core.now())
end

local function transmit(self, payload, flags, opts, what)
  if not self._spec.client_stream then
    return errors.fail("EPROTO", "%s %s: the method takes no stream", what, self._spec.name)
  end
  if not self._sending then return failed(self, what, "closed on this side", "ECLOSED") end
  if self._over then return failed(self, what, self._over, self._inbox.code == "EOF" and "EPIPE" or self._inbox.code) end
  if #payload > wire.MAX then
    local text = ("message length %d exceed maximum message size of %d"):format(#payload, wire.MAX)
    return failed(self, what, text, "ETOOBIG")
  end
  local ok, err, code = self._connection:send_data(self.id, payload, flags, time_left(self, opts, "ttrpc " .. what))
  if not ok then return failed(self, what, err, code) end
  return true
end

--- Sends a message. Waits while the connection's queue is full.
---@param message table|string a table by the method's type; bytes go as they are
---@param opts? number|{ timeout: number? }
---@return true|nil, string?, string? code ETIMEDOUT and ECANCELED: it was not sent; EPIPE: the server has ended the stream; ECLOSED,
-- ERESET, ETOOBIG, EINVAL, EPROTO (a method that takes no stream), or the status with which the stream has ended
function methods:send(message, opts)
  local payload, err, code = service.encode(self._spec.request, message)
  if not payload then return failed(self, "send to", err, code) end
  return transmit(self, payload, 0, opts, "send to")
end

--- Ends the input: the server's handler gets EOF, and may still send. Waits as `send`. Idempotent.
---@return true|nil, string?, string?
function methods:close_send(opts)
  if not self._sending or self._over then
    self._sending = false
    return true
  end
  local ok, err, code = transmit(self, "", wire.CLOSE, opts, "close the sending side of")
  if ok then self._sending = false end
  return ok, err, code
end

--- The next message. Waits. A method that does not stream its answers gives the one answer, and then EOF.
---@param opts? number|{ timeout: number? } seconds; by default the client's time-out, and never beyond the stream's
---@return table|string|nil message
---@return string? message
---@return string? code EOF: the stream has ended with success; a status by its name, with the status as fourth value; ETIMEDOUT (the stream
--- can still be used), ECANCELED, ERESET, ECLOSED, EPROTO, ETOOBIG (too many messages were not read)
---@return { code: integer, message: string, details: table[] }? status
function methods:recv(opts)
  if not self._over then self._connection:attend() end
  local payload, err, code, refused = self._inbox:recv(time_left(self, opts, "ttrpc recv"))
  if not payload then return failed(self, "receive from", err, code, refused) end
  local message
  message, err, code = service.decode(self._spec.response, payload)
  if message == nil then return failed(self, "receive from", err, code) end
  return message
end

--- Iterates over the messages: ends at EOF, raises on any other failure. Each step waits without limit, unless `opts` or the
--- stream has one.
---@param opts? number|{ timeout: number? }
---@return fun(): table|string|nil
function methods:messages(opts)
  opts = opts or math.huge
  return function()
    local message, err, code = self:recv(opts)
    if message == nil and code ~= "EOF" then error(err, 2) end
    return message
  end
end

--- The number of unread messages. Does not wait.
---@return integer
function methods:unread()
  return self._inbox:count()
end

--- Tells if no more messages come, and why; unread ones can still be read. Does not wait.
---@return boolean ended, string? reason
function methods:ended()
  return self._over ~= nil, self._over
end

--- Ends the stream: unread and later messages are dropped, and the server gets the end of input. The protocol cannot tell the
--- server to stop. Idempotent, never waits.
function methods:close()
  self:give_up("closed", "ECLOSED")
  self._sending = false
  return true
end

mt.__close = methods.close

function mt:__tostring()
  return ("vmctl.TtrpcStream(%s)"):format(self._spec.name)
end

return M
