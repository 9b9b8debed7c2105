--- The wire of socket forwarding (docs/wire/socketforward.md#ports-and-connections): names, numbers, ids, and the handshake at
--- the beginning of a raw stream.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local ports = require "vmctl.net.agent_ports"
local random = require "vmctl.base.random"

local M = {
  PORT = ports.FORWARD, -- RPC
  STREAM_PORT = ports.FORWARD_STREAMS,
  SERVICE = "nerdbox.services.socketforward.v1.SocketForward",
  DIRECTORY = "/run/socketfwd",
  PREFIX = "socketfwd",
  MAX_ID = 256,        -- bytes of a stream's id
  MAX_ANSWER = 1024,   -- bytes of the answer to it
  MAX_PATH = 107,      -- bytes of a socket's path

  -- Error texts for the guest, without paths of the host. The id follows UNKNOWN.
  UNKNOWN = "unknown forward ID",
  DIAL_FAILED = "failed to dial host socket",
  OPEN_FAILED = "failed to open the stream",
  TOO_MANY = "too many connections",
}

-- Ids

local RANDOM = 4 -- bytes: six characters of base64 without padding
local MAX_PREFIX = 200 -- bytes: the rest has at most 31, and MAX_ID is for both

local function random_text()
  local bytes, err, code = random.bytes(RANDOM)
  if not bytes then return nil, err, code end
  return (core.base64_encode(bytes):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" }))
end

--- Makes an id for a stream: the prefix, the time in nanoseconds, six random characters, with dashes between. Does not wait.
---@param prefix string
---@return string|nil id, string?, string? code EIO: there is no source of random bytes
function M.generate_stream_id(prefix)
  if type(prefix) ~= "string" or #prefix > MAX_PREFIX then error("generate_stream_id: a short prefix expected", 2) end
  local text, err, code = random_text()
  if not text then return nil, err, code end
  return ("%s-%d-%s"):format(prefix, core.unix_time(), text)
end

--- The id of a forward as nerdbox makes it (docs/wire/socketforward.md#host-side). Does not wait.
---@param container_id string
---@param destination string the path in the container
---@return string id 64 hexadecimal digits
function M.forward_id(container_id, destination)
  return core.sha256(container_id .. ":" .. destination):hex()
end

-- The handshake (docs/wire/socketforward.md#opening-a-stream). Later bytes stay in the stream.

local function pack(text)
  return (">s4"):pack(text)
end

-- Reads a length and as many bytes.
local function read_text(stream, most, what, deadline)
  local head, err, code = stream:read_exact(4, deadline - core.now())
  if not head then return nil, err, code end
  local length = (">I4"):unpack(head)
  if length > most then return errors.fail("ETOOBIG", "%s of %d bytes: at most %d are taken", what, length, most) end
  if length == 0 then return "" end
  return stream:read_exact(length, deadline - core.now())
end

--- The guest's side: reads the id at the beginning of a new stream. Waits.
---@param timeout number seconds
---@return string|nil id, string?, string? code ETOOBIG, ETIMEDOUT, EOF, EPROTO
function M.receive_id(stream, timeout)
  return read_text(stream, M.MAX_ID, "an id", core.now() + timeout)
end

--- The guest's side: answers with the id, or with the reason of a refusal. Waits.
---@return true|nil, string?, string?
function M.answer(stream, text, timeout)
  return stream:write(pack(text), timeout)
end

--- The host's side: opens a stream by its id. Waits for the guest's ack.
---@param timeout number seconds
---@return true|nil, string?, string? code EREMOTE: refused; EPROTO, ETOOBIG, ETIMEDOUT, EOF: nobody listens in the guest yet
function M.open(stream, id, timeout)
  local deadline = core.now() + timeout
  local ok, err, code = stream:write(pack(id), timeout)
  if not ok then return nil, err, code end
  local answer
  answer, err, code = read_text(stream, M.MAX_ANSWER, "an answer", deadline)
  if not answer then return nil, err, code end
  if answer ~= id then return errors.fail("EREMOTE", "the guest refused the stream: %s", log.one_line(answer)) end
  return true
end

return M
