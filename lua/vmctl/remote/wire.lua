--- The messages between a script and `vmctl serve --stdio` on another machine: docs/remote.md#on-the-wire. One line each way, then
--- yamux, each stream of which begins with a request, and its answer, of one line of JSON each.
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"
local version = require "vmctl.base.version"

local M = {}

M.PROTOCOL = 1
M.LINE = 64 << 10       -- bytes of a request or an answer, with its line feed
local HELLO = 256       -- bytes of a hello
local NOISE = 64        -- lines that a login shell may say before it
local WRITE = 30        -- seconds until the other side takes a line
local NUMBER = 6        -- digits of a protocol's number

--- The line that begins a conversation. Does not wait.
---@param side "serve"|"use"
---@return string
function M.hello(side) return ("vmctl-%s %d %s\n"):format(side, M.PROTOCOL, version) end

local function parse(line, side)
  local head = ("vmctl-%s "):format(side)
  if line:sub(1, #head) ~= head then return nil end
  local number, theirs = line:match("^(%d+) ([%w._+-]+)$", #head + 1)
  if not number or #number > NUMBER then return nil end
  return math.tointeger(tonumber(number)), theirs
end

local function check(number, theirs)
  if number == M.PROTOCOL then return theirs end
  return errors.fail("EPROTO", "vmctl %s there speaks protocol %d of `serve`, vmctl %s here speaks %d: install one version on both",
    theirs, number, version, M.PROTOCOL)
end

--- Reads the other side's hello, and skips the output of a login shell before it. Waits.
---@param stream table with read_line
---@param side "serve"|"use" whose it is
---@param timeout number seconds for each line
---@param noise? integer lines before it (64)
---@return string|nil version, string?, string? code EPROTO: it speaks another protocol, or none
---@return string? said the first line that was no hello
function M.read_hello(stream, side, timeout, noise)
  local first
  for _ = 0, noise or NOISE do
    local line, err, code = stream:read_line(HELLO, timeout)
    if not line then return nil, err, code, first end
    local number, theirs = parse(line, side)
    if number then return check(number, theirs) end
    first = first or line
  end
  return nil, ("no hello of vmctl, but '%s'"):format(log.one_line(first, 80)), "EPROTO", first
end

--- Sends a value as a line. Waits until it is with the kernel.
---@param stream vmctl.Stream
---@param value table
---@return true|nil, string?, string? code ETOOBIG; EINVAL: it is no JSON
function M.send(stream, value)
  local text, err, code = json.encode(json.object(value))
  if not text then return nil, err, code end
  if #text >= M.LINE then return errors.fail("ETOOBIG", "a request of %d bytes", #text) end
  return stream:write(text .. "\n", WRITE)
end

--- Reads a line that is a JSON object. Waits.
---@param stream vmctl.Stream
---@param timeout number seconds
---@return table|nil, string?, string? code EOF; EPROTO: it is none; ETOOBIG
function M.receive(stream, timeout)
  local line, err, code = stream:read_line(M.LINE, timeout)
  if not line then return nil, err, code end
  local value
  value, err, code = json.decode(line)
  if value == nil then return nil, err, code end
  if type(value) ~= "table" or json.is_array(value) then return errors.fail("EPROTO", "a line that is no JSON object") end
  return value
end

--- Sends an answer with a failure. Waits as `send`.
function M.refuse(stream, message, code)
  return M.send(stream, { error = log.sanitize(tostring(message), 8192), code = tostring(code or "EINVAL") })
end

--- Reads the answer to a request. Waits.
---@param stream vmctl.Stream
---@param timeout number seconds
---@return table|nil, string?, string? the code that the other side has named
function M.answer(stream, timeout)
  local value, err, code = M.receive(stream, timeout)
  if not value then return nil, err, code end
  if value.error == nil then return value end
  local why, how = value.error, value.code
  if type(why) ~= "string" or type(how) ~= "string" or not how:find "^%u[%u%d]*$" or #how > 20 then
    return errors.fail("EPROTO", "a refusal without its reason")
  end
  return nil, log.sanitize(why, 8192), how
end

return M
