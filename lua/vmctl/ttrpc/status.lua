--- The status of an answer: its codes by name, and the codes for our own failures (docs/wire/ttrpc.md#error-answers).
local log = require "vmctl.log"

local M = {}

local LONGEST = 4096 -- bytes of a text that is sent

--- The codes' names by number, and their numbers by name.
M.names = {
  [0] = "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
  "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

M.codes = {}
for number, name in pairs(M.names) do M.codes[name] = number end

-- Codes of this library, which handlers may return.
local ours = {
  ECANCELED = "CANCELLED", ETIMEDOUT = "DEADLINE_EXCEEDED", EINVAL = "INVALID_ARGUMENT", EEXIST = "ALREADY_EXISTS",
  ENOENT = "NOT_FOUND", ESRCH = "NOT_FOUND", EACCES = "PERMISSION_DENIED", EPERM = "PERMISSION_DENIED", EOF = "OUT_OF_RANGE",
  EPIPE = "FAILED_PRECONDITION", ECLOSED = "FAILED_PRECONDITION", EPROTO = "FAILED_PRECONDITION",
  ETOOBIG = "RESOURCE_EXHAUSTED", ENOSPC = "RESOURCE_EXHAUSTED", EMFILE = "RESOURCE_EXHAUSTED", ENOBUFS = "RESOURCE_EXHAUSTED",
  ENOMEM = "RESOURCE_EXHAUSTED", ENOSYS = "UNIMPLEMENTED", ENOTSUP = "UNIMPLEMENTED", ESHUTDOWN = "UNAVAILABLE",
  ECONNREFUSED = "UNAVAILABLE", EAGAIN = "UNAVAILABLE", EBUSY = "UNAVAILABLE",
}

--- The number for a code's name: of a status or of one of our failures; anything else is UNKNOWN.
---@param code any
---@return integer 1 to 16: a failure is never OK
function M.number(code)
  local number = math.tointeger(code) or M.codes[ours[code] or code]
  return number and number > 0 and number or M.codes.UNKNOWN
end

--- The name for a code's number. A number that has none is UNKNOWN, as gRPC has it.
---@return string
function M.name(number)
  return M.names[number] or "UNKNOWN"
end

--- A text that may go into a status: UTF-8 without zero bytes, of bounded length. A receiver cannot read an answer with other bytes in it.
---@param text any
---@return string
function M.clean(text)
  text = tostring(text)
  if #text <= LONGEST and utf8.len(text) and not text:find("\0", 1, true) then return text end
  return log.sanitize(text, LONGEST)
end

--- A status for the wire.
---@param code string|integer
---@param text any
---@param details? table[] of google.protobuf.Any: { type_url =, value = }
---@return { code: integer, message: string, details: table[]? }
function M.new(code, text, details)
  return { code = M.number(code), message = M.clean(text), details = details }
end

return M
