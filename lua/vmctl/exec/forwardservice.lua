--- Connections into the guest: the agent's side.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local json = require "vmctl.json"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local SEND_TIMEOUT = 30

-- The address that a request names: a TCP port, or the socket of `path`, a member that only our hosts send.
local function destination(payload)
  local request = json.decode(payload)
  if type(request) ~= "table" then return nil end
  if request.path ~= nil then
    return type(request.path) == "string" and address.parse { kind = "unix", path = request.path }
  end
  local host, port = request.host or "127.0.0.1", request.port
  local sound = type(host) == "string" and math.type(port) == "integer" and port > 0
  return sound and address.parse { kind = "tcp", host = host, port = port }
end

--- Answers a PORT_FORWARD request (docs/wire/exec.md#later-message-types): Ready, then raw bytes; or a Stderr message with the
--- reason. Waits until both directions have ended.
---@param conn vmctl.Stream
---@param payload string
---@return true|nil, string?, string?
function M.forward(conn, payload)
  local where = destination(payload)
  if not where then return conn:write_frame(T.STDERR, "bad port forward request\n", SEND_TIMEOUT) end
  local target <close>, err = dial.dial(where)
  if not target then return conn:write_frame(T.STDERR, err .. "\n", SEND_TIMEOUT) end
  local ok, why, code = conn:write_frame(T.READY, "", SEND_TIMEOUT)
  if not ok then return nil, why, code end
  local relay = core.relay(conn, target)
  if relay then relay:wait() end
  return true
end

return M
