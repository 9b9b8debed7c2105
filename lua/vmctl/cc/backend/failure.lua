--- Failures as the helper answers them (docs/wire/cc-ipc.md#error-mapping): `op path: cause` as the message, op and path beside it.
--- Where the reference hides every cause behind IO, a time-out, a cancelled call and something closed keep their own codes.
local wire = require "vmctl.cc.wire"

local M = {}

local codes = wire.codes

local specific = {
  ETIMEDOUT = codes.TIMEOUT, ECANCELED = codes.CANCELLED, ECLOSED = codes.ALREADY_CLOSED,
  ENOTRUNNING = codes.NOT_RUNNING, ENOHYPERVISOR = codes.HYPERVISOR_UNAVAILABLE,
}

-- What went wrong, without what was tried: our messages have that in front, and the system's words hold no ": ".
local function cause_of(message)
  local cause = message:match "^.*: (.*)$" or message
  return (cause:gsub("^%u%l", string.lower))
end

--- A failure with its cause in one's own words.
---@param op string
---@param path string "" for none
---@param cause string
---@param code? string|integer an errno's name, or a number that is taken as it is
---@return nil, string, integer, { op: string, path: string }
function M.say(op, path, cause, code)
  local number = math.type(code) == "integer" and code or specific[code] or codes.IO
  local target = path == "" and op or op .. " " .. path
  return nil, target .. ": " .. cause, number, { op = op, path = path }
end

--- A failure of this library's, of which only the system's words are kept.
---@param op string
---@param path string
---@param message string
---@param code? string
---@return nil, string, integer, { op: string, path: string }
function M.of(op, path, message, code)
  return M.say(op, path, cause_of(message), code)
end

--- A request that cannot be meant so.
---@return nil, string, integer
function M.argument(text, ...)
  return nil, text:format(...), codes.INVALID_ARGUMENT
end

return M
