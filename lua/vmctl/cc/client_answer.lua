--- The answers of a helper to a client's requests, and the failures of calls that get none.
local decoder = require "vmctl.cc.decoder"
local log = require "vmctl.log"
local wire = require "vmctl.cc.wire"

local M = {}

local MESSAGE = 1000      -- bytes of a helper's message that are shown
local RESPONSE, ERROR = wire.types.RESPONSE, wire.types.ERROR

local function name_of(kind)
  local name = wire.names[kind]
  return name and name:lower() or ("0x%04x"):format(kind)
end

--- The failure of a call, with the name of its request. Does not wait.
---@param self vmctl.CcClient
---@param kind integer
---@param err string
---@param code string
---@param more? table the helper's error
---@return nil, string, string, table?
function M.failed(self, kind, err, code, more)
  return nil, ("cc %s on %s: %s"):format(name_of(kind), self._label, err), code, more
end

--- Ends the connection: from now on every call fails with `reason`. Does not wait.
---@param self vmctl.CcClient
---@param reason string
function M.give_up(self, reason)
  if self._broken then return end
  self._broken = reason
  self._stream:close()
end

local LOST = { EOF = true, ECONNRESET = true, EPIPE = true }

-- Fails a call whose answer will not come, and with it the connection.
local function broken_off(self, kind, err, code)
  if LOST[code] then
    err, code = "the connection ended before the answer", "ERESET"
  elseif code == "ETIMEDOUT" then
    err = "no answer in time"
  elseif self._broken then
    err, code = self._broken, "ECLOSED"
  end
  M.give_up(self, ("the connection was given up: %s: %s"):format(name_of(kind), err))
  return M.failed(self, kind, err, code)
end

--- The helper's failure, with its message; the request's name is added if the message does not name the operation. Does not wait.
---@param self vmctl.CcClient
---@param kind integer
---@param body table
---@return nil, string, string, table
function M.refused(self, kind, body)
  if body.code == 0 then body.code = wire.codes.UNKNOWN end
  local code = wire.errno_of(body.code, body.message)
  if code == "ENOTSUP" then self._unsupported[kind] = body end
  local text = log.one_line(body.message ~= "" and body.message or "failed without a reason", MESSAGE)
  if body.op == "" then text = ("%s: %s"):format(name_of(kind), text) end
  return nil, text, code, body
end

local function read_error(self, kind, payload)
  local body = decoder.new(payload):error()
  if not body then return broken_off(self, kind, "an error that cannot be decoded", "EPROTO") end
  return M.refused(self, kind, body)
end

--- The fields of an answer, or the failure that it reports. Does not wait.
---@param self vmctl.CcClient
---@param kind integer of the request
---@param answer integer|nil its type; nil: `payload` and `code` say why none has come
---@param payload? string
---@param code? string
---@return vmctl.CcDecoder|nil, string?, string?, table?
function M.read_answer(self, kind, answer, payload, code)
  if answer == RESPONSE and payload:byte() == 0 then return decoder.new(payload, 2) end
  if answer == ERROR or answer == RESPONSE then return read_error(self, kind, payload) end
  if answer then
    return broken_off(self, kind, ("an answer of the unknown type 0x%04x"):format(answer), "EPROTO")
  end
  return broken_off(self, kind, payload, code)
end

--- The failure of a request that could not be sent: the helper may have sent an error before it closed. Does not wait.
---@param self vmctl.CcClient
---@param kind integer
---@param err string
---@param code string
---@return nil, string, string, table?
function M.unsent(self, kind, err, code)
  if code == "ETOOBIG" then return M.failed(self, kind, ("a payload over the limit of %d bytes"):format(self._max), code) end
  if LOST[code] then
    local answer, payload = self._stream:read_frame(0)
    if answer == ERROR then
      local _, text, why, body = read_error(self, kind, payload)
      M.give_up(self, "the connection was given up: " .. text)
      return nil, text, why, body
    end
  end
  return broken_off(self, kind, err, code)
end

--- The bytes of an answer in front of those that are its rest.
M.BYTES = 5 -- the code byte and a length, before the bytes that are all the rest of an answer

--- As read_answer, of an answer that is bytes: these come as a string of their own, without another copy. Does not wait.
---@param self vmctl.CcClient
---@param kind integer
---@param answer integer|nil
---@param head? string its first M.BYTES
---@param rest? string
---@return string|nil, string?, string?, table?
function M.read_bytes(self, kind, answer, head, rest)
  if not answer then return broken_off(self, kind, head, rest) end
  if answer == RESPONSE and #head == M.BYTES and head:byte() == 0 and string.unpack(">I4", head, 2) == #rest then return rest end
  local d, err, code, more = M.read_answer(self, kind, answer, head .. rest)
  if not d then return nil, err, code, more end
  local bytes, why = d:string()
  if bytes then return bytes end
  return nil, "cc: the answer is too short: " .. why, "EPROTO"
end

return M
