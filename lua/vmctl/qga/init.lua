--- QEMU's own guest agent: commands, files and power of a guest that has it (docs/wire/qmp-qga.md#guest-agent).
local M = {
  PORT_NAME = "org.qemu.guest_agent.0", -- of its virtio-serial port
}

--- A client that has connected and synchronised with the agent. Waits. See vmctl.qga.client.
function M.connect(...)
  return require("vmctl.qga.client").connect(...)
end

return M
