--- Connecting a client to its guest, again where a connection was lost.
local connections = require "vmctl.stereos.client_connection"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local locks = require "vmctl.base.lock"

local M = {}

--- The guest's address as StereOS' tools show it. Does not wait.
---@param self vmctl.StereosClient
---@return string
function M.label(self)
  return self.address:label "stereos"
end

local function dial_anew(self, deadline)
  local connection = self._connection
  if self._closed then return nil, "closed", "ECLOSED" end
  if connection and connection:is_usable(core.now()) then return connection end -- another task has connected meanwhile
  local stream, err, code = dial.dial(self.address, math.min(self._dial_timeout, deadline - core.now()))
  if not stream then return nil, err, code end
  if self._closed then
    stream:close()
    return nil, "closed", "ECLOSED"
  end
  self._connection = connections.new(stream, self._hub, self._max_line)
  return self._connection
end

--- The connection in use, or a new one. One task connects; the others wait for it. Waits.
---@param self vmctl.StereosClient
---@param deadline number
---@return vmctl.StereosConnection|nil, string?, string? as vmctl.dial; ECLOSED
function M.connected(self, deadline)
  local lock = self._dialling or locks.lock()
  self._dialling = lock
  local connection, err, code = lock:with(deadline - core.now(), dial_anew, self, deadline)
  if not lock:held() then self._dialling = nil end
  return connection, err, code
end

return M
