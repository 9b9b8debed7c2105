--- The clients of a guest's agent. Each is made at its first use, and closed with the machine.
local agent_ports = require "vmctl.net.agent_ports"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local exec = require "vmctl.exec"
local options = require "vmctl.base.options"
local refresh = require "vmctl.machine.refresh"

local M = {}

local SUSPENDED = 1     -- seconds of this host's suspension after which the guest's clock is set
local CLOCK = 30        -- seconds for an agent to set it

-- The difference between the wall clock and the monotonic clock, which stops while the host is suspended.
local function host_lead() return core.unix_time() / 1e9 - core.now() end

---@class vmctl.AgentClients
local methods = {}
local mt = { __name = "vmctl.AgentClients", __index = methods }

--- Makes the clients. They hold no reference to the machine.
---@param name string
---@param channel table of vmctl.machine.agent_channel
---@param process vmctl.QemuProcess
---@param exec_timeout? number seconds for a command that names none
function M.new(name, channel, process, exec_timeout)
  return setmetatable({
    _name = name, _channel = channel, _process = process, _exec_timeout = exec_timeout, _host_lead = host_lead(),
  }, mt)
end

local function make_exec(self)
  local client, err, code = exec.client(self._channel:address(exec.PORT), { timeout = self._exec_timeout })
  self._exec = client
  return client, err, code
end

--- The client that runs commands.
---@return vmctl.ExecClient|nil, string?, string? code ECLOSED, ERESET: QEMU has ended
function methods:exec()
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  self:_notice_suspend()
  if self._exec then return self._exec end
  return make_exec(self)
end

-- After a suspension of the host, or a change of its clock, the clocks of its guests are wrong.
function methods:_notice_suspend()
  local lead, before = host_lead(), self._host_lead
  self._host_lead = lead
  if lead - before > SUSPENDED and self:has_answered() then
    self._task = background.spawn("clock of " .. self._name, refresh.refresh, self._name, self._exec, { clock = true }, CLOCK)
  end
end

--- True if an agent has answered commands, in this epoch or an earlier one. Does not wait.
function methods:has_answered() return self._known ~= nil or self._exec ~= nil and self._exec.revision ~= nil end

--- True if an agent has answered commands in this epoch. Does not wait.
function methods:answers() return self._exec ~= nil and self._exec.revision ~= nil end

--- Asks the agent, and waits until it answers.
---@return number|nil seconds, string?, string?
function methods:ready(timeout)
  local deadline = core.now() + timeout
  local client, err, code = self:exec()
  if not client then return nil, err, code end
  local ok
  ok, err, code = self._channel:connect(timeout)
  if not ok then return nil, err, code end
  ok, err, code = client:ready(deadline - core.now())
  if ok then self._known = client.revision end
  return ok, err, code
end

--- Waits until the agent answers and has refreshed the guest: see vmctl.machine.refresh.
---@param what { clock: boolean?, seed: boolean? }
---@return { clock_offset: number?, reseeded: boolean }|nil, string?, string?
function methods:refresh(what, timeout)
  local deadline = core.now() + timeout
  local ok, err, code = self:ready(timeout)
  if not ok then return nil, err, code end
  return refresh.refresh(self._name, self._exec, what, math.max(deadline - core.now(), 1))
end

--- The report of our agent about its guest: { clock_source = … }; empty before the first answer, and for other agents. Does not wait.
---@return table
function methods:told() return self._exec and self._exec.agent or {} end

--- The guest, or its agent, was restarted: fails the calls that wait for an answer. Does not wait.
function methods:drop()
  if self._exec then
    self._known = self._known or self._exec.revision
    self._exec:forget()
  end
  if self._forwarding then self._forwarding:close() end -- forwarders connect again
  self._channel:drop()
end

-- Makes a client, which replaces an earlier one.
local function make_stereos(self, opts)
  local stereos = require "vmctl.stereos"
  local rest = options.merge({}, opts)
  local where = rest.address
  rest.address = nil
  local client, err, code = stereos.client(where or self._channel:address(stereos.PORT), rest)
  if not client then return nil, err, code end
  if self._stereos then self._stereos:close() end
  self._stereos = client
  return client
end

--- The client of the guest's StereOS control plane (port 1024): made at the first call, which alone may have options, and closed
--- with the machine. A call with an address makes it anew: for a control plane that is reached otherwise (a forwarded TCP port,
--- say), and is then what vmctl.ready, config.push and shutdown use. Does not wait.
---@param opts? table of vmctl.stereos.client, and address
---@return vmctl.StereosClient|nil, string?, string? code ECLOSED, ERESET: QEMU has ended; EINVAL: the address
function methods:stereos(opts)
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  if not self._stereos or opts and opts.address then return make_stereos(self, opts) end
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

--- Forwards sockets of the guest to sockets of this host: see vmctl.socketforward.forward. All forwarders
--- share one connection to the guest, which is opened again after a loss, and closed with the machine. Waits until the guest has bound
--- the sockets.
---@param entries table<string, table>
---@param opts? table
---@return vmctl.SocketForwarder|nil, string?, string? code ECLOSED, ERESET: QEMU has ended
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
  if self._task then self._task:cancel() end
  if self._stereos then self._stereos:close() end
  if self._forwarding then self._forwarding:close() end
end

return M
