--- Failures as the helper answers them (docs/wire/cc-ipc.md#error-mapping): `op path: cause` as the message, op and path beside it.
--- The reference hides every cause behind IO; here time-outs, cancelled calls and closed objects keep their codes.
local wire = require "vmctl.cc.wire"

local M = {}

local codes = wire.codes

local specific = {
  ETIMEDOUT = codes.TIMEOUT, ECANCELED = codes.CANCELLED, ECLOSED = codes.ALREADY_CLOSED,
  ENOTRUNNING = codes.NOT_RUNNING, ENOHYPERVISOR = codes.HYPERVISOR_UNAVAILABLE,
}

-- The cause without the operation: our messages put the operation in front, and the system's texts hold no ": ".
local function cause_of(message)
  local cause = message:match "^.*: (.*)$" or message
  return (cause:gsub("^%u%l", string.lower))
end

--- A failure with a given text as its cause.
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

--- A failure of this library, reduced to the system's text.
---@param op string
---@param path string
---@param message string
---@param code? string
---@return nil, string, integer, { op: string, path: string }
function M.of(op, path, message, code)
  return M.say(op, path, cause_of(message), code)
end

--- An invalid request.
---@return nil, string, integer
function M.argument(text, ...)
  return nil, text:format(...), codes.INVALID_ARGUMENT
end

return M
