--- Guests under QEMU: launching, reaching, ending them.
local address = require "vmctl.net.address"
local agent_ports = require "vmctl.net.agent_ports"
local background = require "vmctl.base.background"
local console = require "vmctl.machine.console"
local control = require "vmctl.machine.control"
local core = require "vmctl.core"
local epoch = require "vmctl.machine.epoch"
local errors = require "vmctl.errors"
local exec = require "vmctl.exec"
local link = require "vmctl.machine.agent_channel"
local monitor = require "vmctl.machine.monitor"
local options = require "vmctl.base.options"
local ports = require "vmctl.machine.ports"
local process = require "vmctl.process"
local qemu = require "vmctl.machine.qemu"
local report = require "vmctl.machine.explain"
local screen = require "vmctl.machine.screen"
local snapshots = require "vmctl.machine.snapshots"
local task = require "vmctl.base.task"

local M = {}

local READY_TIMEOUT, SHUTDOWN_TIMEOUT, KILL_TIMEOUT, WAIT_TIMEOUT = 60, 20, 5, 600 -- seconds

local methods = {}
local mt = { __name = "vmctl.Machine", __index = methods }

for _, part in ipairs { control, screen.methods, snapshots.methods, ports.methods } do
  for name, fn in pairs(part) do methods[name] = fn end
end

local known = {
  kernel = "string", initrd = "string", append = "string", memory = "string|integer", cpus = "integer", accel = "string",
  machine = "string", arch = "string", qemu = "string", args = "table", name = "string", channel = { "auto", "vsock", "mux" },
  nics = "table", cid = "integer", console_log = "string", console_size = "integer", exec_timeout = "number",
  display = { true, false, "std", "virtio" }, reboot = "boolean",
}

-- Knows nothing of the machine: a task that did would keep it from being collected.
local function watch(child, fate)
  local record, _, code = child:wait(math.huge)
  if not record and code ~= "ECHILD" then return end -- closed
  fate.record = record or {}
  fate.known:wake()
end

-- Neither does this: events of the monitor that begin a new epoch.
local function watch_resets(vm)
  local epochs = vm._epoch
  vm._monitor.on_event = function(event)
    if event.event == "RESET" then epochs:advance(event.data.guest and "reboot" or "reset") end
  end
end

local function open_channels(vm, spec, opts)
  local err, code
  vm._console, err, code = console.open(vm.name, opts.console_size, opts.console_log)
  if not vm._console then return nil, err, code end
  vm._monitor, err, code = monitor.open(vm.name)
  if not vm._monitor then return nil, err, code end
  vm._channel, err, code = link.choose(spec, opts, vm.name)
  if not vm._channel then return nil, err, code end
  vm._epoch = epoch.new(vm._channel)
  watch_resets(vm)
  return true
end

local function start_qemu(vm, spec, channel)
  local argv = qemu.command(spec, channel:arguments(spec))
  argv.stdin, argv.stdout, argv.stderr = channel.stdin, vm._console.child_fd, "pipe"
  argv.fds = { vm._monitor.fd }
  argv.death_signal = "KILL"
  local child, err, code = process.spawn(argv)
  if not child then return nil, err, code end
  vm._child, vm.pid, vm.command = child, child.pid, argv
  return true
end

--- Starts a guest. Waits only until QEMU runs; `wait_ready` waits for the guest.
---@param opts { kernel: string, initrd: string?, append: string?, memory: string|integer?, cpus: integer?, accel: string?,
-- machine: string?, arch: string?, args: string[]?, nics: table[]?, name: string?, channel: string?, cid: integer?,
-- console_log: string?, console_size: integer?, exec_timeout: number?, display: boolean|string|nil, reboot: boolean? } memory
-- in MiB or as "256M"; accel "auto", "kvm" or "tcg"; machine: QEMU's, "microvm" by default on x86-64; args: further arguments
-- for QEMU; nics: network cards on Ethernet sockets, see vmctl.machine.nics (none by default; `vm.macs` has their addresses);
-- channel: how the agent is reached, "vsock", "mux" (virtio-serial) or "auto"; exec_timeout: seconds for a command that names
-- none; display: a screen and a keyboard (true: what suits the machine; "std", "virtio"); reboot: a guest that reboots starts
-- again, in a new epoch (else its QEMU ends)
---@return vmctl.Machine|nil vm, string?, string? code ENOENT (no QEMU, no kernel), EINVAL …
function M.launch(opts)
  opts = options.check(opts or {}, known, "machine.launch")
  local spec, err, code = qemu.describe(opts)
  if not spec then return nil, err, code end
  local vm = setmetatable({
    name = opts.name or "guest", accel = spec.accel, accel_reason = spec.accel_reason, macs = spec.macs,
    _exec_timeout = opts.exec_timeout, _reboots = opts.reboot, _fate = { known = core.queue() },
  }, mt)
  local ok
  ok, err, code = open_channels(vm, spec, opts)
  if not ok then
    vm:close()
    return nil, err, code
  end
  ok, err, code = start_qemu(vm, spec, vm._channel)
  for _, channel in ipairs { vm._channel, vm._console, vm._monitor } do channel:started() end
  if not ok then
    vm:close()
    return nil, ("launch %s: %s"):format(vm.name, err), code
  end
  vm._stderr = console.ring(16 * 1024)
  vm._tasks = {
    console = background.spawn(vm.name .. " console", vm._console.run, vm._console),
    stderr = background.spawn(vm.name .. " stderr", vm._stderr.follow, vm._stderr, vm._child.stderr),
    process = background.spawn(vm.name .. " process", watch, vm._child, vm._fate),
  }
  if opts.reboot then vm._monitor:begin() end -- its reboots must not go unseen
  return vm
end

local function reach_agent(vm, timeout)
  local deadline = core.now() + timeout
  local client, err, code = vm:_client()
  if not client then return nil, err, code end
  local ok
  ok, err, code = vm._channel:connect(timeout)
  if not ok then return nil, err, code end
  return client:ready(deadline - core.now())
end

--- Waits until the guest's agent answers.
---@param opts? { timeout: number }|number seconds, 60 by default
---@return number|nil seconds since the call, string? with the console's last lines, string? ETIMEDOUT; ERESET: QEMU has ended
function methods:wait_ready(opts)
  opts = options.check(opts, { timeout = "number" }, "wait_ready")
  local begin = core.now()
  local ok, err, code = task.race {
    function() return reach_agent(self, opts.timeout or READY_TIMEOUT) end,
    function()
      local ended, why, how = self:wait(math.huge)
      return nil, ended and "it has ended" or why, ended and "ERESET" or how
    end,
  }
  if ok then return core.now() - begin end
  if report.is_broken(code) then code = "ERESET" end
  return report.explain(self, ("not ready after %.1f s: %s"):format(core.now() - begin, err), code)
end

function methods:_client()
  if self._closed then return errors.fail("ECLOSED", "%s: closed", self.name) end
  if self._fate.record then return errors.fail("ERESET", "%s: %s", self.name, report.ending(self)) end
  if not self._exec then
    local err, code
    self._exec, err, code = exec.client(self:address(exec.PORT), { timeout = self._exec_timeout })
    if not self._exec then return nil, err, code end
  end
  return self._exec
end

--- The address of a port of the guest's agent, for vmctl.dial and the protocols' clients.
---@param port integer
---@return vmctl.Address
function methods:address(port)
  return self._channel:address(port)
end

--- The client of the guest's StereOS control plane (port 1024): made at the first call, which alone may have options, and closed
--- with the machine. Does not wait.
---@param opts? table of vmctl.stereos.client
---@return vmctl.StereosClient|nil, string?, string? ECLOSED, ERESET: QEMU has ended
function methods:stereos(opts)
  if self._closed then return errors.fail("ECLOSED", "%s: closed", self.name) end
  if self._fate.record then return errors.fail("ERESET", "%s: %s", self.name, report.ending(self)) end
  if not self._stereos then
    local stereos = require "vmctl.stereos"
    local err, code
    self._stereos, err, code = stereos.client(self:address(stereos.PORT), opts)
    if not self._stereos then return nil, err, code end
  end
  return self._stereos
end

local function forwarding_client(vm)
  if vm._closed then return errors.fail("ECLOSED", "%s: closed", vm.name) end
  if vm._fate.record then return errors.fail("ERESET", "%s: %s", vm.name, report.ending(vm)) end
  if not vm._forwarding or vm._forwarding:closed() then
    local err, code
    vm._forwarding, err, code = require("vmctl.ttrpc").connect(vm:address(agent_ports.FORWARD))
    if not vm._forwarding then return nil, err, code end
  end
  return vm._forwarding
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
    streams = self:address(agent_ports.FORWARD_STREAMS), reconnect = function() return forwarding_client(self) end,
  }, opts)
  return require("vmctl.socketforward").forward(client, entries, opts)
end

--- Brings the guest into a declared state. See vmctl.config.push.
---@param set table|string what it shall have; a string is its configuration, the jcard.toml, alone
---@param opts? table
function methods:push_config(set, opts)
  if type(set) == "string" then set = { config = set } end
  return require("vmctl.config").push(self, set, opts)
end

for _, name in ipairs { "run", "start", "read_file", "write_file", "list_files", "forward", "connect" } do
  --- As vmctl.exec.client has it.
  methods[name] = function(self, ...)
    local client, err, code = self:_client()
    if not client then return nil, err, code end
    return client[name](client, ...)
  end
end

methods.exec = methods.run

--- The address of something inside the guest ("unix:/run/docker.sock", "tcp:127.0.0.1:80"), for vmctl.dial and for either end of
--- vmctl.forward. Does not wait.
---@param where string|table
---@return vmctl.Address|nil, string?, string? EINVAL, ENAMETOOLONG
function methods:inside(where)
  return address.inside(self, where)
end

--- Runs a pipeline whose stages run in this guest unless they name another target with `on`. See vmctl.pipeline.
function methods:pipeline(stages)
  return require("vmctl.exec.pipeline").run(stages, self)
end

--- What the guest wrote to its console: the last part of it, up to `console_size` bytes (256 KiB).
---@return string
function methods:console()
  return self._console:text()
end

--- Hands what the guest's console has kept, and then all that comes, to `take`, until that returns something false or the console
--- ends. One that is slower than the console misses what is no longer kept. Waits.
---@param take fun(data: string): any
---@return true|nil, string?, string? ECANCELED
function methods:follow_console(take)
  return self._console:follow(take)
end

--- Types on the guest's console.
---@return true|nil, string?, string?
function methods:console_write(bytes, timeout)
  return self._console:write(bytes, timeout)
end

--- Waits until the console shows a Lua pattern, in what it has kept or in what comes.
---@param pattern string
---@param opts? { timeout: number, plain: boolean }|number
---@return string|nil match, string?, string? ETIMEDOUT, EOF when the guest has ended
function methods:wait_console(pattern, opts)
  opts = options.check(opts, { timeout = "number", plain = "boolean" }, "wait_console")
  local found, err, code = self._console:wait(pattern, opts.timeout or READY_TIMEOUT, opts.plain)
  if not found then return report.explain(self, ("console never showed '%s': %s"):format(pattern, err), code) end
  return found
end

--- Waits until the guest has ended.
---@param timeout? number seconds, 600 by default
---@return { exit_code: integer?, signal: string? }|nil record of QEMU's end, string?, string? ETIMEDOUT, ECLOSED
function methods:wait(timeout)
  local fate = self._fate
  local deadline = core.now() + (timeout or WAIT_TIMEOUT)
  while not fate.record do
    if self._closed then return errors.fail("ECLOSED", "wait for the end of %s: closed", self.name) end
    local ok, err, code = fate.known:wait(deadline - core.now(), ("wait for the end of %s"):format(self.name))
    if not ok then return nil, err, code end
  end
  return fate.record
end

--- Powers the guest off: asks its agent, then waits for QEMU's end.
---@param opts? { timeout: number }|number seconds, 20 by default; a guest that needs longer is killed
---@return true|nil, string?, string? ETIMEDOUT: it had to be killed
function methods:shutdown(opts)
  opts = options.check(opts, { timeout = "number" }, "shutdown")
  local timeout = opts.timeout or SHUTDOWN_TIMEOUT
  local deadline = core.now() + timeout
  local client = self:_client() -- nil when it has ended by itself
  if client then client:run { "poweroff", timeout = timeout / 2 } end -- the link may end before the answer comes
  local ended, err, code = self:wait(deadline - core.now())
  if not ended and code == "ETIMEDOUT" then
    self:kill()
    return errors.fail("ETIMEDOUT", "shutdown %s: it did not end within %g s and was killed", self.name, timeout)
  end
  self:close()
  if not ended then return nil, err, code end
  return true
end

--- Ends QEMU at once, and waits for that.
---@return true|nil, string?, string? ECLOSED
function methods:kill()
  if not self._closed then self._child:kill "KILL" end
  local record, err, code = self:wait(KILL_TIMEOUT)
  self:close()
  if not record then return nil, err, code end
  return true
end

--- Lets go of the guest; QEMU is killed if it still runs. Idempotent, never waits.
---@return true
function methods:close()
  if self._closed then return true end
  self._closed = true
  for _, t in pairs(self._tasks or {}) do t:cancel() end
  if self._stereos then self._stereos:close() end
  if self._forwarding then self._forwarding:close() end
  if self._channel then self._channel:close() end
  if self._child then self._child:close() end
  if self._console then self._console:close() end
  if self._monitor then self._monitor:close() end
  snapshots.clean(self)
  self._fate.known:wake()
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("vmctl.Machine(%s, %s%s)"):format(self.name, self.accel, self._fate.record and ", ended" or "")
end

--- Builds guest images; see vmctl.machine.image.
M.image = setmetatable({}, { __index = function(_, name) return require("vmctl.machine.image")[name] end })

return M
