--- QEMU's monitor protocol: commands, events, out-of-band commands (wire document qmp-qga.md, part A).
local M = {}

--- A client that has connected and negotiated. Waits. See vmctl.qmp.client.
function M.connect(...)
  return require("vmctl.qmp.client").connect(...)
end

return M
