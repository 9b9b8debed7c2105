--- Ethernet between virtual machines: QEMU's stream sockets (docs/wire/qemu-l2.md#framing), and a switch that can break things.
local port = require "vmctl.l2.port"
local endpoint = require "vmctl.l2.endpoint"

local M = { dial = endpoint.dial, listen = endpoint.listen, socketpair = endpoint.socketpair }

--- Makes a port of a connected stream, which it takes over; QEMU may have the other end of its descriptor, for instance.
---@type fun(stream: vmctl.Stream): vmctl.L2Port
M.port = port.new

--- Connects to the control socket of a switch (`switch:control`, `vmctl switch --control`). Waits. See vmctl.l2.control.
---@param where string|table|function "unix:PATH"
---@param opts? { timeout: number? } seconds (10)
---@return vmctl.L2ControlClient|nil, string?, string?
function M.control(where, opts)
  return require("vmctl.l2.control").connect(where, opts)
end

--- Makes a switch. See vmctl.l2.switch.
---@return vmctl.L2Switch
function M.switch(opts)
  return require("vmctl.l2.switch").new(opts)
end

return M
