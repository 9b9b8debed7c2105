--- The one way to fail: `nil, message, code`, and the meanings of the codes.

local M = {}

--- The codes, in the order in which a table of them should show them: each with its name and one line of meaning.
-- A call may return any other errno name as well, as the kernel gave it.
---@type { name: string, meaning: string }[]
M.codes = {
  { name = "ETIMEDOUT", meaning = "what was waited for did not come in time; the message says what was seen last" },
  { name = "EOF", meaning = "the peer has ended its side, nothing is left to read" },
  { name = "ECLOSED", meaning = "closed on our side, perhaps by another task" },
  { name = "ECANCELED", meaning = "the task that waited was cancelled" },
  { name = "EBUSY", meaning = "another task already reads (or writes) here, or the peer is occupied" },
  { name = "EPROTO", meaning = "what the peer sent does not follow the protocol" },
  { name = "ETOOBIG", meaning = "a frame, a line or a number of things is over its limit" },
  { name = "EREMOTE", meaning = "the peer answered with a failure; the fourth value holds what it said" },
  { name = "ERESOLVE", meaning = "a host name has no address" },
  { name = "EINVAL", meaning = "the text or value given is malformed" },
  { name = "ENAMETOOLONG", meaning = "the path of a socket is longer than the system takes" },
  { name = "ENOENT", meaning = "there is no such file, socket or program" },
  { name = "EACCES", meaning = "the file's permissions do not allow it" },
  { name = "EPERM", meaning = "not allowed to this user, or to this peer" },
  { name = "ECONNREFUSED", meaning = "nobody listens there" },
  { name = "ECONNRESET", meaning = "the peer went away (on vsock also: nobody listens there)" },
  { name = "ERESET", meaning = "the machine was restored or rebooted under the connection" },
  { name = "ESHUTDOWN", meaning = "the guest is powering off" },
  { name = "EPIPE", meaning = "the peer reads no more" },
  { name = "ENODEV", meaning = "no such virtual machine, or no transport to it yet" },
  { name = "EADDRINUSE", meaning = "somebody else listens there" },
  { name = "EHOSTUNREACH", meaning = "no route to the host" },
  { name = "EHOSTDOWN", meaning = "the other machine does not answer, or has gone away" },
  { name = "ENETUNREACH", meaning = "no route to the network" },
  { name = "EAGAIN", meaning = "not now: the queue of the listener or a limit of the system is full" },
  { name = "ENOBUFS", meaning = "the system is short of buffers for a moment" },
  { name = "EMFILE", meaning = "too many files are open" },
  { name = "ENOSYS", meaning = "this system or this peer cannot do that" },
}

local meanings = {}
for _, code in ipairs(M.codes) do
  meanings[code.name] = code.meaning
end

--- The one-line meaning of a code, or nil when it is not in the table.
---@param code string
---@return string?
function M.meaning(code)
  return meanings[code]
end

--- Puts context in front of a failure's message: `return errors.wrap("call ping", self:_receive(deadline))`.
-- A success goes through unchanged. Does not yield.
---@param context string the operation, and its target
---@param ... any the results of the inner call: values, or nil, message, code, extra
---@return any ... the results, or nil, context .. ": " .. message, code, extra
function M.wrap(context, ...)
  local first, message, code, extra = ...
  if first ~= nil then
    return ...
  end
  if message == nil then                -- a bare nil from a user's function still gets a sentence
    return nil, context .. ": failed", code, extra
  end
  return nil, context .. ": " .. tostring(message), code, extra
end

--- The three values of a failure: `return errors.fail("EPROTO", "read frame: type %d is unknown", type)`.
---@param code string
---@param text string the message, a format when arguments follow
---@return nil
---@return string message
---@return string code
function M.fail(code, text, ...)
  if select("#", ...) > 0 then
    text = text:format(...)
  end
  return nil, text, code
end

--- The time that was waited, for the message of a time-out: a limit around the call may have ended it before its own.
---@param limit number seconds: the call's own
---@param waited number seconds that have passed
---@return string "within 10 s"
function M.within(limit, waited)
  if waited < limit * 0.99 then return ("within %.3g s (a limit around it; its own is %g s)"):format(waited, limit) end
  return ("within %g s"):format(limit)
end

local function set(...)
  local members = {}
  for _, name in ipairs { ... } do
    members[name] = true
  end
  return members
end

-- The failures that mean "not yet" rather than "no". Only steps before the first request may be repeated: a request may have
-- had its effect on the other side. An EOF before the first answer comes from a proxy that took the connection before the
-- guest listened.
local ANYWHERE = set("EAGAIN", "EINTR", "ENOBUFS", "ECONNREFUSED", "ECONNRESET", "ERESET", "EOF", "EPIPE")
local NETWORK = set("EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT")
local SOCKET_FILE = set("ENOENT")                             -- not made yet
local DEVICE = set("ENOENT", "ENXIO", "ENODEV", "EBUSY")      -- not there yet, or its last user is not quite gone
local VSOCK = set("ENODEV", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT")        -- no machine with this CID yet
local UNKNOWN = set("ENOENT", "ENODEV", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT")
local HERE = set()

local connecting = {
  tcp = NETWORK, vsock = VSOCK, unix = SOCKET_FILE, chardev = SOCKET_FILE, hybrid = SOCKET_FILE, serial = DEVICE,
  exec = HERE, fd = HERE,
}
local UNSENT = set("EAGAIN", "EINTR", "ENOBUFS")              -- nothing of the message has left

--- Tells if a failure means "not yet", so that the same step may be repeated.
---@param code string?
---@param phase "connect"|"send"|"request" connect: up to the first answer, handshakes included; send: no byte of a
-- message has left yet; request: later
---@param transport? string the address's kind ("tcp", "unix", "vsock" ...)
---@return boolean
function M.retryable(code, phase, transport)
  if phase == "connect" then
    return code ~= nil and (ANYWHERE[code] or (connecting[transport] or UNKNOWN)[code]) == true
  elseif phase == "send" then
    return code ~= nil and UNSENT[code] == true
  elseif phase ~= "request" then
    error(("errors.retryable: no phase '%s'"):format(phase), 2)
  end
  return false
end

local MASK = "***"

local function escape_pattern(text)
  return (text:gsub("%W", "%%%0"))
end

local SHORT_ESCAPES = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\b"] = "\\b", ["\f"] = "\\f",
}

--- The spelling of a text inside a JSON string, slashes bare or escaped.
local function json_spellings(secret)
  local spelled = secret:gsub('[%c"\\\127]', function(char)
    return SHORT_ESCAPES[char] or ("\\u%04x"):format(char:byte())
  end)
  return spelled, (spelled:gsub("/", "\\/"))
end

local SHORT = 4 -- bytes: shorter secrets occur in ordinary words

-- The pattern of a spelling. One that is short counts alone between quotes, or behind "=": a message stays readable.
local function pattern_of(spelling)
  local pattern = escape_pattern(spelling)
  if #spelling >= SHORT then return pattern end
  return "%f[^\"'=]" .. pattern .. "%f[%s\"',;\0]"
end

--- A text with each secret in it replaced by "***": as it is, and as JSON spells it; one of less than four bytes only between
--- quotes, behind "=", or when it begins the text. Does not yield.
---@param text string
---@param secrets string[] in any order; empty ones are skipped
---@return string
function M.mask(text, secrets)
  local spellings, seen = {}, {}
  for _, secret in ipairs(secrets) do
    for _, spelling in ipairs { secret, json_spellings(secret) } do
      if spelling ~= "" and not seen[spelling] then
        seen[spelling] = true
        spellings[#spellings + 1] = spelling
      end
    end
  end
  table.sort(spellings, function(a, b) return #a > #b end)     -- a secret that holds another goes first
  for _, spelling in ipairs(spellings) do
    if text:find(spelling, 1, true) then
      text = text:gsub(pattern_of(spelling), MASK)
    end
  end
  return text
end

return M
