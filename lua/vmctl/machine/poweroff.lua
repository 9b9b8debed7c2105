--- Asking a guest to power itself off.
local core = require "vmctl.core"

local M = {}

--- The agent powers its guest off itself, if it serves the control plane: a guest need not have a command for it. Other agents run
--- that command. The link may end before an answer comes. Waits.
---@param clients vmctl.AgentClients
---@param qemu vmctl.QemuProcess
---@param timeout number seconds
function M.ask(clients, qemu, timeout)
  local deadline = core.now() + timeout
  local control_plane = clients:stereos()
  if not control_plane then return end -- it has ended by itself
  if control_plane:shutdown("", timeout / 2) and qemu:wait(timeout / 2) then return end
  local client = clients:exec()
  if client then client:run { "poweroff", timeout = math.max(deadline - core.now(), 0) } end
end

return M
