--- The sockets that a guest has bound, and the answers about them to its host.
local sockets = require "vmctl.socketforward.sockets"

local M = {}

--- Finds the forward of a bound socket; one that asked for any port is listed under its real port. Does not wait.
---@param bound table<string, table> forwards by their keys
---@param socket table
---@return table|nil forward
function M.find(bound, socket)
  local key = sockets.key(socket)
  local forward = bound[key]
  if forward and forward.id == socket.forward_id then return forward end
  for _, other in pairs(bound) do
    if other.id == socket.forward_id and sockets.key(other.asked) == key then return other end
  end
end

--- The answer about an extension that was applied (docs/wire/socketforward.md#what-vmctl-adds): without one, the host assumes a refusal.
--- Does not wait.
---@param forward table
---@return table|nil
function M.applied(forward)
  local extension = forward.asked.extension
  if not extension then return nil end
  local where = forward.address or extension.address
  return { forward_id = forward.id, socket_path = forward.asked.socket_path, extension = { mode = forward.mode, address = where } }
end

--- The sockets that are not yet bound in this form. The others stay, so a host that reconnects keeps its waiting connections. Waits.
---@param bound table<string, table>
---@param wanted table[]
---@param told table[] gets the answers about those that stay
---@return table[]
function M.missing(bound, wanted, told)
  local list = {}
  for _, socket in ipairs(wanted) do
    local forward, mode = M.find(bound, socket), socket.extension and socket.extension.mode or 0
    if forward and not forward.path then forward.mode = mode end -- it has no file
    if forward and forward.mode == mode and sockets.is_in_place(forward) then
      told[#told + 1] = M.applied(forward)
    else
      list[#list + 1] = socket
    end
  end
  return list
end

return M
