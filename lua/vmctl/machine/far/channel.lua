--- The channel to the agent of a guest on another machine: each connection is a stream of the session with that machine.
local address = require "vmctl.net.address"

local M = {}

---@class vmctl.FarChannel
local methods = {}
local mt = { __name = "vmctl.FarChannel", __index = methods, __close = function(self) self:close() end }

--- Makes it. Does not wait.
---@param ask fun(request: table, timeout: number?): vmctl.Stream|nil, any, string?
---@param name string of the guest
function M.new(ask, name)
  return setmetatable({ kind = "far", _ask = ask, _name = name, _streams = setmetatable({}, { __mode = "k" }) }, mt)
end

--- The other side connects at each dial. Does not wait.
function methods.connect() return true end

--- As the channels of vmctl.machine.agent_channel.
---@param port integer
---@return vmctl.Address
function methods:address(port)
  local ask, streams = self._ask, self._streams
  return address.func(function(timeout)
    local stream, err, code = ask({ op = "agent", port = port, timeout = timeout < 1e9 and timeout or nil }, timeout)
    if not stream then return nil, err, code end
    streams[stream] = true
    return stream
  end, ("%s:%d"):format(self._name, port))
end

--- The guest was restarted: its connections end. Does not wait.
function methods:drop()
  for stream in pairs(self._streams) do stream:hang_up() end
end

--- Idempotent, never waits.
function methods:close() end

return M
