--- Ethernet between virtual machines: QEMU's stream sockets (docs/wire/qemu-l2.md#framing), and a switch that can break things.
local port = require "vmctl.l2.port"
local endpoint = require "vmctl.l2.endpoint"

local M = { dial = endpoint.dial, listen = endpoint.listen, socketpair = endpoint.socketpair }

--- Makes a port of a connected stream, which it takes over; QEMU may have the other end of its descriptor, for instance.
---@type fun(stream: vmctl.Stream): vmctl.L2Port
M.port = port.new

--- Makes a switch. See vmctl.l2.switch.
---@return vmctl.L2Switch
function M.switch(opts)
  return require("vmctl.l2.switch").new(opts)
end

return M
