--- QEMU's monitor protocol: commands, events, out-of-band commands (docs/wire/qmp-qga.md#qmp).
local M = {}

--- A client that has connected and negotiated. Waits. See vmctl.qmp.client.
function M.connect(...)
  return require("vmctl.qmp.client").connect(...)
end

return M
