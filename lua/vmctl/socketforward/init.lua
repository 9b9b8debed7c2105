--- Socket forwarding: a process in a guest connects to a socket there, and its bytes reach a socket of the host
--- (docs/wire/socketforward.md#ports-and-connections). Both ends.
local wire = require "vmctl.socketforward.wire"

local M = {
  PORT = wire.PORT, STREAM_PORT = wire.STREAM_PORT, SERVICE = wire.SERVICE, DIRECTORY = wire.DIRECTORY,
  generate_stream_id = wire.generate_stream_id, forward_id = wire.forward_id,
}

--- The guest's side. See vmctl.socketforward.service.
function M.service(...)
  return require("vmctl.socketforward.service").new(...)
end

--- A manager that keeps the guest's raw streams until they are claimed, to be shared by services. See vmctl.socketforward.stream_manager.
function M.streams(...)
  return require("vmctl.socketforward.stream_manager").new(...)
end

--- The host's side. Waits. See vmctl.socketforward.forwarder.
function M.forward(...)
  return require("vmctl.socketforward.forwarder").new(...)
end

return M
