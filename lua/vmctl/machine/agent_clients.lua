--- What speaks to a guest's agent: its clients, each made when it is first asked for, and closed with the machine.
local agent_ports = require "vmctl.net.agent_ports"
local exec = require "vmctl.exec"
local options = require "vmctl.base.options"

local M = {}

local methods = {}
local mt = { __name = "vmctl.AgentClients", __index = methods }

--- Makes it. It does not know the machine.
---@param channel table of vmctl.machine.agent_channel
---@param process vmctl.QemuProcess
---@param exec_timeout? number seconds for a command that names none
function M.new(channel, process, exec_timeout)
  return setmetatable({ _channel = channel, _process = process, _exec_timeout = exec_timeout }, mt)
end

--- The client that runs commands.
---@return vmctl.ExecClient|nil, string?, string? ECLOSED, ERESET: QEMU has ended
function methods:exec()
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  if not self._exec then
    self._exec, err, code = exec.client(self._channel:address(exec.PORT), { timeout = self._exec_timeout })
    if not self._exec then return nil, err, code end
  end
  return self._exec
end

--- The client of the guest's StereOS control plane (port 1024): made at the first call, which alone may have options, and closed
--- with the machine. Does not wait.
---@param opts? table of vmctl.stereos.client
---@return vmctl.StereosClient|nil, string?, string? ECLOSED, ERESET: QEMU has ended
function methods:stereos(opts)
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  if not self._stereos then
    local stereos = require "vmctl.stereos"
    self._stereos, err, code = stereos.client(self._channel:address(stereos.PORT), opts)
    if not self._stereos then return nil, err, code end
  end
  return self._stereos
end

local function forwarding_client(self)
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  if not self._forwarding or self._forwarding:closed() then
    self._forwarding, err, code = require("vmctl.ttrpc").connect(self._channel:address(agent_ports.FORWARD))
    if not self._forwarding then return nil, err, code end
  end
  return self._forwarding
end

--- Forwards sockets of the guest to sockets of this host: see vmctl.socketforward.forward. The connection to the guest is shared
--- by all of them, had anew when it is lost, and closed with the machine. Waits until the guest has bound the sockets.
---@param entries table<string, table>
---@param opts? table
---@return vmctl.SocketForwarder|nil, string?, string? ECLOSED, ERESET: QEMU has ended
function methods:socketforward(entries, opts)
  local client, err, code = forwarding_client(self)
  if not client then return nil, err, code end
  opts = options.merge({
    streams = self._channel:address(agent_ports.FORWARD_STREAMS), reconnect = function() return forwarding_client(self) end,
  }, opts)
  return require("vmctl.socketforward").forward(client, entries, opts)
end

--- Idempotent, never waits.
function methods:close()
  if self._stereos then self._stereos:close() end
  if self._forwarding then self._forwarding:close() end
end

return M
