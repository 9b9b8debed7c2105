--- ttrpc: calls and streams over any byte stream, both ends (docs/wire/ttrpc.md#transport-and-roles). Either end may have dialled.
local M = {}

--- A client of a connected stream. See vmctl.ttrpc.client.
function M.client(...)
  return require("vmctl.ttrpc.client").new(...)
end

--- A client that connects to an address. Waits. See vmctl.ttrpc.client.
function M.connect(...)
  return require("vmctl.ttrpc.client").connect(...)
end

--- A server of services. See vmctl.ttrpc.server.
function M.server(...)
  return require("vmctl.ttrpc.server").new(...)
end

--- Serves a listener. Waits. See vmctl.ttrpc.server.
function M.serve(...)
  return require("vmctl.ttrpc.server").serve(...)
end

--- Describes a service, so that its messages are tables. See vmctl.ttrpc.service.
function M.service(...)
  return require("vmctl.ttrpc.service").new(...)
end

--- Describes the services of a descriptor set or a .proto. Waits. See vmctl.ttrpc.service.
function M.services(...)
  return require("vmctl.ttrpc.service").load(...)
end

return M
