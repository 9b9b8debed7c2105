--- Running commands in a guest: both ends of matchlock's exec protocol, for agents and hosts of either revision.
local wire = require "vmctl.exec.wire"

local M = {
  PORT = wire.PORT, READY_PORT = wire.READY_PORT, FILES_PORT = wire.FILES_PORT,
  types = wire.types, format = wire.format,
  encode_request = wire.encode_request, decode_request = wire.decode_request,
  encode_response = wire.encode_response, decode_response = wire.decode_response,
  encode_exit = wire.encode_exit, decode_exit = wire.decode_exit,
  encode_resize = wire.encode_resize, decode_resize = wire.decode_resize,
}

--- A client for the agent at an address. Does not wait. See vmctl.exec.client.
function M.client(...)
  return require("vmctl.exec.client").new(...)
end

--- Serves the agent's side on a listener. See vmctl.exec.server.
function M.serve(...)
  return require("vmctl.exec.server").serve(...)
end

--- Serves the readiness port: accepts and closes at once. Waits.
---@return true|nil, string?, string? code ECANCELED
function M.serve_ready(...)
  return require("vmctl.exec.server").serve_ready(...)
end

return M
