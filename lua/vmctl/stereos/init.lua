--- StereOS' control plane: readiness, configuration, secrets, keys, mounts and shutdown of a guest, over any address. Both
--- ends; the wire is that of the reference (docs/wire/stereos.md#messages).
local wire = require "vmctl.stereos.wire"

local M = {
  PORT = wire.PORT, GUEST_CID = wire.GUEST_CID, DEFAULT_TIMEOUT = wire.DEFAULT_TIMEOUT, MAX_LINE = wire.MAX_LINE,
  types = wire.types, states = wire.states, envelope = wire.envelope, decode = wire.decode,
}

--- A client that connects when it is first used. See vmctl.stereos.client.
function M.client(...)
  return require("vmctl.stereos.client").new(...)
end

--- A client that is connected. Waits.
---@param where? string|table|function|integer as for `client`
---@param opts? table as for `client`
---@return vmctl.StereosClient|nil, string?, string? as vmctl.dial
function M.connect(where, opts)
  local client, err, code = require("vmctl.stereos.client").new(where, opts)
  if not client then return nil, err, code end
  local ok
  ok, err, code = client:connect()
  if not ok then return nil, err, code end
  return client
end

--- The guest's side, for several listeners. See vmctl.stereos.server.
function M.server(...)
  return require("vmctl.stereos.server").new(...)
end

--- Serves the guest's side on a listener until that is closed. Waits. See vmctl.stereos.server.
function M.serve(...)
  return require("vmctl.stereos.server").serve(...)
end

return M
