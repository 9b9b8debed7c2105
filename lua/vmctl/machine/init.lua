--- Guests under QEMU: launching, reaching, ending them.
local address = require "vmctl.net.address"
local agent_channel = require "vmctl.machine.agent_channel"
local agent_clients = require "vmctl.machine.agent_clients"
local confinement = require "vmctl.machine.confinement"
local console = require "vmctl.machine.console"
local control = require "vmctl.machine.control"
local core = require "vmctl.core"
local epoch = require "vmctl.machine.epoch"
local errors = require "vmctl.errors"
local explain = require "vmctl.machine.explain"
local log = require "vmctl.log"
local monitor = require "vmctl.machine.monitor"
local options = require "vmctl.base.options"
local ports = require "vmctl.machine.ports"
local root = require "vmctl.machine.root"
local qemu = require "vmctl.machine.qemu"
local qemu_process = require "vmctl.machine.qemu_process"
local screen = require "vmctl.machine.screen"
local snapshots = require "vmctl.machine.snapshots"
local resume = require "vmctl.machine.resume"
local task = require "vmctl.base.task"

local M = {}

local MONITOR_FD = 3 -- QEMU's; `fds` are behind it, and then what the agent's channel has
local READY_TIMEOUT, SHUTDOWN_TIMEOUT, KILL_TIMEOUT, WAIT_TIMEOUT = 60, 20, 5, 600 -- seconds

---@class vmctl.Machine
---@field name string
---@field pid integer QEMU's
---@field command string[] QEMU's command line
---@field accel "kvm"|"tcg"
---@field accel_reason string why it is that
---@field macs string[] of its network cards
---@field clock_source? string what its kernel counts time by, once wait_ready has heard so from an agent of ours
local methods = {}
local mt = { __name = "vmctl.Machine", __index = methods }

local known = {
  kernel = "string", initrd = "string", append = "string", memory = "string|integer", cpus = "integer", accel = "string",
  machine = "string", arch = "string", qemu = "string", args = "table", name = "string", channel = { "auto", "vsock", "mux" },
  nics = "table", cid = "integer", console_log = "string", console_size = "integer", exec_timeout = "number",
  display = { true, false, "std", "virtio" }, reboot = "boolean", sandbox = { true, false, "programs" },
  fds = "table", paths = "table", root = "string|table", init = "string|table",
  writes = { "discard", "keep", "through" }, modules_dir = "string", agent = "string", cache_dir = "string",
}

local function nanoseconds(stamp) return stamp.seconds * 1000000000 + stamp.microseconds * 1000 end

-- Events of the monitor that make what the host knows of the guest void.
local function watch_events(vm)
  local epochs, clients, channel = vm._epoch, vm._clients, vm._channel -- and not the machine
  vm._monitor.on_event = function(event)
    if event.event == "RESET" then
      epochs:on_reset(event)
    elseif event.event == "VSERPORT_CHANGE" and event.data.id == channel.port and channel:is_news(nanoseconds(event.timestamp)) then
      clients:drop() -- its agent has ended
    end
  end
end

local function open_channels(vm, spec, opts)
  local err, code
  vm._console, err, code = console.open(vm.name, opts.console_size, opts.console_log)
  if not vm._console then return nil, err, code end
  vm._monitor, err, code = monitor.open(vm.name)
  if not vm._monitor then return nil, err, code end
  vm._channel, err, code = agent_channel.choose(spec, opts, vm.name)
  if not vm._channel then return nil, err, code end
  return true
end

-- The parts of the machine, around its channels. None of it knows the machine, which the collector may so take at any time.
local function add_parts(vm, opts)
  vm._clients = agent_clients.new(vm.name, vm._channel, vm._process, opts.exec_timeout)
  vm._epoch = epoch.new(vm._clients)
  watch_events(vm)
  vm._report = explain.new(vm.name, vm._process, vm._console)
  vm._control = control.new {
    name = vm.name, monitor = vm._monitor, process = vm._process, report = vm._report, epoch = vm._epoch, macs = vm.macs,
    reboots = opts.reboot,
  }
  vm._screen, vm._snapshots = screen.new(vm._control), snapshots.new(vm._control)
  vm._resume = resume.new(vm._control, vm._snapshots, vm._clients, vm._epoch)
  vm._ports = ports.new(vm._control, vm._channel.kind == "mux")
end

-- What QEMU gets beside its standard streams: the numbers of the others follow the monitor's.
local function descriptors(vm, opts)
  local fds = table.move(opts.fds or {}, 1, #(opts.fds or {}), 2, { vm._monitor.fd })
  return fds, function(fd)
    fds[#fds + 1] = fd
    return MONITOR_FD + #fds - 1
  end
end

local function spawn_qemu(vm, spec, fds, add)
  local channel = vm._channel
  local argv = qemu.command(spec, channel:arguments(spec, channel.fd and add(channel.fd)))
  argv.stdin, argv.stdout, argv.stderr = channel.stdin, vm._console.child_fd, "pipe"
  argv.fds, argv.death_signal = fds, "KILL"
  vm._confinement:apply(argv)
  local ok, err, code = vm._process:start(argv)
  for _, part in ipairs { channel, vm._console, vm._monitor } do part:started() end
  if not ok then return nil, ("launch %s: %s"):format(vm.name, err), code end
  vm.pid, vm.command = vm._process.pid, argv
  vm._console:begin()
  return true
end

local function start_qemu(vm, spec, opts)
  local fds, add = descriptors(vm, opts)
  local err, code
  if vm._root then
    local all = vm._root:arguments(spec.suffix, add)
    spec.args = table.move(spec.args, 1, #spec.args, #all + 1, all)
  end
  vm._confinement, err, code = confinement.plan(spec, opts, add)
  if not vm._confinement then return nil, err, code end
  local ok
  ok, err, code = spawn_qemu(vm, spec, fds, add)
  vm._confinement:close()
  if vm._root then vm._root:close() end
  return ok, err, code
end

---@class vmctl.MachineRootOptions what a guest is made of: the first element is the text of `root`
---@field [1]? string
---@field size? string|integer "4G": of an empty file system, or of the layer that an image's writes are kept in
---@field read_only? boolean the guest mounts it read-only
---@field keep? string the file that keeps the writes ($XDG_STATE_HOME/vmctl/roots/NAME…)
---@field format? "raw"|"qcow2" of a disk, if it is not to be read from its header
---@field partition? string|integer of a disk: its number, its name in the partition table, or its file system's label or UUID

---@class (exact) vmctl.MachineOptions
---@field kernel? string needed without `root`; with it: $VMCTL_KERNEL, or that of a checkout
---@field initrd? string
---@field root? string|vmctl.MachineRootOptions its root file system: "disk:FILE", "disk:FILE#PARTITION" (raw or qcow2), "erofs:FILE", or
-- what vmctl.rootfs.image takes ("oci:DIR", "docker://NAME", "dir:PATH", "tar:FILE" …);
-- stage 1 moves into it
---@field init? "agent"|"system"|string[] what becomes PID 1: the agent (default for images), the root's own init with the agent beside
-- it (default for disks, and for folders that have one), or a command with the agent beside it
---@field writes? "discard"|"keep"|"through" what becomes of what the guest writes to its root: gone with the guest; kept in a file of
-- its own; written to the disk itself
---@field modules_dir? string the kernel's modules for stage 1 ($VMCTL_MODULES, or the folder `modules` beside the kernel)
---@field cache_dir? string where what a root needs is kept ($XDG_CACHE_HOME/vmctl)
---@field agent? string the agent's program for stage 1 ($VMCTL_AGENT, or that of a checkout)
---@field append? string more of the kernel's command line
---@field memory? string|integer MiB, or as "256M"
---@field cpus? integer
---@field accel? "auto"|"kvm"|"tcg"
---@field machine? string QEMU's, "microvm" by default on x86-64
---@field arch? string
---@field qemu? string the program
---@field args? string[] further arguments for QEMU
---@field nics? table[] network cards on Ethernet sockets, see vmctl.machine.nics (none by default; `vm.macs` has their addresses)
---@field name? string
---@field channel? "auto"|"vsock"|"mux" how the agent is reached: mux is virtio-serial
---@field cid? integer
---@field console_log? string a file that gets all that the console says
---@field console_size? integer bytes of it that are kept (256 KiB)
---@field exec_timeout? number seconds for a command that names none
---@field display? boolean|"std"|"virtio" a screen and a keyboard; true: what suits the machine
---@field reboot? boolean a guest that reboots starts again, in a new epoch (else its QEMU ends)
---@field sandbox? boolean|"programs" false: QEMU keeps our capabilities, which some of `args` need; "programs": it may start
-- programs, but has none (`confinement` says what is in force)
---@field paths? string[] files and folders that QEMU may use beside those that `args` name: for what its monitor is told later
---@field fds? integer[] descriptors that QEMU gets as its 4, 5, …, for `args`; they stay the caller's

local function check_options(opts)
  opts = options.check(opts or {}, known, "machine.launch", 4)
  if type(opts.init) == "string" and opts.init ~= "agent" and opts.init ~= "system" then
    error("machine.launch: init: 'agent', 'system' or a command's words expected", 3)
  end
  return opts
end

local function start(opts, its_root)
  local spec, err, code = qemu.describe(opts)
  if not spec then return nil, err, code end
  local name = opts.name or "guest"
  local vm = setmetatable({
    name = name, accel = spec.accel, accel_reason = spec.accel_reason, macs = spec.macs, _process = qemu_process.new(name),
    _root = its_root,
  }, mt)
  local ok
  ok, err, code = open_channels(vm, spec, opts)
  if ok then
    add_parts(vm, opts)
    ok, err, code = start_qemu(vm, spec, opts)
  end
  if not ok then
    vm:close()
    return nil, err, code
  end
  if opts.reboot or vm._channel.port then vm._monitor:begin() end -- its reboots, and its agent's end, must not go unseen
  return vm
end

--- Starts a guest. Waits only until QEMU runs, and while an image or a file system for its root is made; `wait_ready` waits for the guest.
---@param opts vmctl.MachineOptions
---@return vmctl.Machine|nil vm, string?, string? code ENOENT (no QEMU, no kernel), EBUSY: another guest uses its disk; EINVAL …
function M.launch(opts)
  opts = check_options(opts)
  if not opts.root then return start(opts) end
  local its_root, completed, code = root.plan(opts)
  if not its_root then return nil, completed, code end
  local vm, err
  vm, err, code = start(completed, its_root)
  its_root:close()
  return vm, err, code
end

-- Kernels that trust none of their clocks count the interrupts of a timer, of which a busy host loses many.
local BAD_CLOCKS = { jiffies = true, ["refined-jiffies"] = true }

local function look_at_clock(vm)
  local source = vm._clients:told().clock_source
  vm.clock_source = source
  if vm._warned or not BAD_CLOCKS[source] then return end
  vm._warned = true
  log.error("%s: warning: its clock source is %s, so its time may run slow: tell its kernel of a better one (append)", vm.name, source)
end

--- Waits until the guest's agent answers, which is asked each time. `vm.clock_source` is then what its kernel counts time by, if the
--- agent is ours; of one that may run slow the log warns.
---@param opts? { timeout: number? }|number seconds, 60 by default
---@return number|nil seconds since the call, string? with the console's last lines, string? code ETIMEDOUT; ERESET: QEMU has ended
function methods:wait_ready(opts)
  opts = options.check(opts, { timeout = "number" }, "wait_ready")
  local begin = core.now()
  local ok, err, code = task.race {
    function() return self._clients:ready(opts.timeout or READY_TIMEOUT) end,
    function()
      local ended, why, how = self:wait(math.huge)
      return nil, ended and "it has ended" or why, ended and "ERESET" or how
    end,
  }
  if ok then
    look_at_clock(self)
    return core.now() - begin
  end
  if explain.is_broken(code) then code = "ERESET" end
  return self._report:explain(("not ready after %.1f s: %s"):format(core.now() - begin, err), code)
end

-- For probes, and for the config room.
function methods:_client()
  return self._clients:exec()
end

--- As wait_console, without a report when it fails. For probes.
function methods:_seek_console(pattern, timeout, plain)
  return self._console:wait(pattern, timeout, plain)
end

--- A failure of a wait for the guest with all that is known of it; see vmctl.Report.
---@param brief? boolean with no more than QEMU's end
function methods:_explain(what, code, brief)
  if brief then return self._report:brief(what, code) end
  return self._report:explain(what, code)
end

--- The address of a port of the guest's agent, for vmctl.dial and the protocols' clients.
---@param port integer
---@return vmctl.Address
function methods:address(port)
  return self._channel:address(port)
end

--- Brings the guest into a declared state. See vmctl.config.push.
---@param set table|string what it shall have; a string is its configuration, the jcard.toml, alone
---@param opts? table
function methods:push_config(set, opts)
  if type(set) == "string" then set = { config = set } end
  return require("vmctl.config").push(self, set, opts)
end

local COMMANDS = { run = true, start = true } -- what the root's image says of commands holds unless they say otherwise

for _, name in ipairs { "run", "start", "read_file", "write_file", "list_files", "forward", "connect" } do
  --- As vmctl.exec.client has it.
  methods[name] = function(self, ...)
    local client, err, code = self._clients:exec()
    if not client then return nil, err, code end
    if COMMANDS[name] and self._root then return client[name](client, self._root:complete((...)), select(2, ...)) end
    return client[name](client, ...)
  end
end

for _, name in ipairs { "stereos", "socketforward" } do
  --- As vmctl.AgentClients has it.
  methods[name] = function(self, ...) return self._clients[name](self._clients, ...) end
end

for _, name in ipairs { "qmp", "status", "pause", "powerdown", "reset", "set_link", "events", "wait_event", "epoch",
  "on_epoch" } do
  --- As vmctl.Control has it.
  methods[name] = function(self, ...) return self._control[name](self._control, ...) end
end

for _, name in ipairs { "send_key", "send_chars", "screendump" } do
  --- As vmctl.Screen has it.
  methods[name] = function(self, ...) return self._screen[name](self._screen, ...) end
end

for _, name in ipairs { "add_port", "remove_port" } do
  --- As vmctl.Ports has it.
  methods[name] = function(self, ...) return self._ports[name](self._ports, ...) end
end

for _, name in ipairs { "resume", "snapshot", "restore", "delete_snapshot", "sync_clock" } do
  --- As vmctl.Resume has it.
  methods[name] = function(self, ...) return self._resume[name](self._resume, ...) end
end

methods.exec = methods.run

--- The address of something inside the guest ("unix:/run/docker.sock", "tcp:127.0.0.1:80"), for vmctl.dial and for either end of
--- vmctl.forward. Does not wait.
---@param where string|table
---@return vmctl.Address|nil, string?, string? code EINVAL, ENAMETOOLONG
function methods:inside(where)
  return address.inside(self, where)
end

--- Runs a pipeline whose stages run in this guest unless they name another target with `on`. See vmctl.pipeline.
function methods:pipeline(stages)
  return require("vmctl.exec.pipeline").run(stages, self)
end

--- The guest's console output: the last part, up to `console_size` bytes (256 KiB).
---@return string
function methods:console()
  return self._console:text()
end

--- Hands what the guest's console has kept, and then all that comes, to `take`, until that returns something false or the console
--- ends. One that is slower than the console misses what is no longer kept. Waits.
---@param take fun(data: string): any
---@return true|nil, string?, string? code ECANCELED
function methods:follow_console(take)
  return self._console:follow(take)
end

--- Says if the whole console output is in the file that `console_log` names: a full disk is logged once, and told here. Does
--- not wait.
---@return true|nil, string?, string? code ENOSPC, EIO …
function methods:console_status()
  return self._console:status()
end

--- Types on the guest's console.
---@return true|nil, string?, string?
function methods:console_write(bytes, timeout)
  return self._console:write(bytes, timeout)
end

--- Waits until the console shows a Lua pattern, in what it has kept or in what comes.
---@param pattern string
---@param opts? { timeout: number?, plain: boolean? }|number
---@return string|nil match, string?, string? code ETIMEDOUT, EOF when the guest has ended
function methods:wait_console(pattern, opts)
  opts = options.check(opts, { timeout = "number", plain = "boolean" }, "wait_console")
  local found, err, code = self._console:wait(pattern, opts.timeout or READY_TIMEOUT, opts.plain)
  if not found then return self._report:explain(("console never showed '%s': %s"):format(pattern, err), code) end
  return found
end

--- Waits until the guest has ended.
---@param timeout? number seconds, 600 by default
---@return { exit_code: integer?, signal: string? }|nil record of QEMU's end, string?, string? code ETIMEDOUT, ECLOSED
function methods:wait(timeout)
  return self._process:wait(timeout or WAIT_TIMEOUT)
end

-- The agent powers its guest off itself, if it serves the control plane: a guest need not have a command for it. Others are told
-- by that command. The link may end before an answer comes.
local function ask_poweroff(vm, timeout)
  local deadline = core.now() + timeout
  local control_plane = vm._clients:stereos()
  if not control_plane then return end -- it has ended by itself
  if control_plane:shutdown("", timeout / 2) and vm:wait(timeout / 2) then return end
  local client = vm._clients:exec()
  if client then client:run { "poweroff", timeout = math.max(deadline - core.now(), 0) } end
end

--- Powers the guest off: asks its agent, then waits for QEMU's end.
---@param opts? { timeout: number? }|number seconds, 20 by default; a guest that needs longer is killed
---@return true|nil, string?, string? code ETIMEDOUT: it had to be killed
function methods:shutdown(opts)
  opts = options.check(opts, { timeout = "number" }, "shutdown")
  local timeout = opts.timeout or SHUTDOWN_TIMEOUT
  local deadline = core.now() + timeout
  ask_poweroff(self, timeout * 0.75)
  local ended, err, code = self:wait(deadline - core.now())
  if not ended and code == "ETIMEDOUT" then
    self:kill()
    return errors.fail("ETIMEDOUT", "shutdown %s: it did not end within %g s and was killed", self.name, timeout)
  end
  self:close()
  if not ended then return nil, err, code end
  return true
end

--- Returns the confinement that the kernel applies to its QEMU. Does not wait.
---@return { sandbox: boolean, no_new_privileges: boolean, capabilities: boolean, core_dumps: boolean, uid: integer, gid: integer,
--- open_files: integer?, landlock: integer|false, user_reason: string }|nil
-- sandbox: a filter of system calls; capabilities: it has some; uid, gid: of a user of its own, or ours; user_reason: why;
-- open_files: at most; landlock: the version of Landlock that keeps it from other files than its own, false: nothing does
---@return string? message, string? code ECLOSED, ERESET: it has ended
function methods:confinement()
  local ok, err, code = self._process:check()
  if not ok then return nil, err, code end
  local found = confinement.of(self.pid)
  if not found then return errors.fail("ERESET", "%s: its QEMU has ended", self.name) end
  found.landlock, found.user_reason = self._confinement.landlock, self._confinement.user_reason
  return found
end

--- Ends QEMU at once, and waits for that.
---@return true|nil, string?, string? code ECLOSED
function methods:kill()
  self._process:kill()
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
  for _, name in ipairs { "_clients", "_channel", "_process", "_console", "_monitor" } do
    if self[name] then self[name]:close() end
  end
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("vmctl.Machine(%s, %s%s)"):format(self.name, self.accel, self._process:record() and ", ended" or "")
end

--- Builds guest images; see vmctl.machine.image.
M.image = setmetatable({}, { __index = function(_, name) return require("vmctl.machine.image")[name] end })

return M
