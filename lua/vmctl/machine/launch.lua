--- Launching a guest under QEMU: the options, the channels and parts of the machine, and the start of its process.
local agent_channel = require "vmctl.machine.agent_channel"
local agent_clients = require "vmctl.machine.agent_clients"
local confinement = require "vmctl.machine.confinement"
local console = require "vmctl.machine.console"
local control = require "vmctl.machine.control"
local epoch = require "vmctl.machine.epoch"
local explain = require "vmctl.machine.explain"
local lost_timer = require "vmctl.machine.lost_timer"
local monitor = require "vmctl.machine.monitor"
local options = require "vmctl.base.options"
local ports = require "vmctl.machine.ports"
local qemu = require "vmctl.machine.qemu"
local qemu_process = require "vmctl.machine.qemu_process"
local readiness = require "vmctl.machine.readiness"
local resume = require "vmctl.machine.resume"
local screen = require "vmctl.machine.screen"
local snapshots = require "vmctl.machine.snapshots"

local M = {}

local MONITOR_FD = 3 -- QEMU's; `fds` are behind it, and then the descriptors of the agent's channel

local known = {
  kernel = "string", initrd = "string", append = "string", memory = "string|integer", cpus = "integer", accel = "string",
  machine = "string", arch = "string", qemu = "string", args = "table", name = "string", channel = { "auto", "vsock", "mux" },
  nics = "table", cid = "integer", console_log = "string", console_size = "integer", exec_timeout = "number",
  display = { true, false, "std", "virtio" }, reboot = "boolean", sandbox = { true, false, "programs" },
  fds = "table", paths = "table", root = "string|table", init = "string|table", boot = { "ours", "kernel", "firmware" },
  writes = { "discard", "keep", "through" }, modules_dir = "string", agent = "string", cache_dir = "string",
  layer = "table", shares = "table", network = "string|table", ports = "table", on = "string|table",
}

---@class vmctl.MachineRootOptions the source of a guest's files: the first element is the text of `root`
---@field [1]? string
---@field size? string|integer "4G": of an empty file system, or of the layer that an image's writes are kept in
---@field read_only? boolean the guest mounts it read-only
---@field keep? string the file that keeps the writes ($XDG_STATE_HOME/vmctl/roots/NAME…)
---@field format? "raw"|"qcow2" of a disk, if it is not to be read from its header
---@field firmware? "bios"|"efi" that starts the disk with boot = "firmware" (a raw disk's first sector tells)
---@field ways? string[] by which its systemd is then told of the agent: of "extra-unit", "tmpfiles", "qemu-ga" (all)
---@field digest? string of an EROFS that was an image: its writes are kept under this digest, wherever the file is
---@field config? table of such an EROFS: its image's settings for commands (env, user, cwd, entrypoint, cmd)
---@field stage1? string the initramfs that would be made of the agent and the kernel's modules, if somebody has made it
---@field has_init? boolean|string the init of such an image, if it is meant to run
---@field partition? string|integer of a disk: its number, its name in the partition table, or its file system's label or UUID

---@class (exact) vmctl.MachineOptions
---@field kernel? string without it: $VMCTL_KERNEL, or that of a checkout (`make guest`)
---@field initrd? string without it and without `kernel` and `root`: $VMCTL_INITRD, or the image of a checkout
---@field root? string|vmctl.MachineRootOptions its root file system: "disk:FILE", "disk:FILE#PARTITION" (raw or qcow2), "erofs:FILE", or
-- what vmctl.rootfs.image takes ("oci:DIR", "docker://NAME", "image:NAME", "dir:PATH", "tar:FILE" …);
-- stage 1 moves into it
---@field init? "agent"|"system"|string[] what becomes PID 1: the agent (default for images), the root's own init with the agent beside
-- it (default for disks, and for folders that have one), or a command with the agent beside it
---@field boot? "ours"|"kernel"|"firmware" whose kernel: the disk's own with its initrd, which initramfs-tools or dracut has made, for
-- systemd (a guest of ours looks for it first, once for each state of the disk); ours with stage 1; or what the disk's own
-- loader starts, for systemd or where QEMU's guest agent is installed. By default the disk's own, where it has one, and else ours:
-- `vm.boot` and `vm.boot_reason` tell
---@field writes? "discard"|"keep"|"through" the guest's writes to its root: lost with the guest; kept in a file of their own; written to
-- the disk itself
---@field modules_dir? string the kernel's modules for stage 1 ($VMCTL_MODULES, or the folder `modules` beside the kernel)
---@field cache_dir? string where files that a root needs are kept ($XDG_CACHE_HOME/vmctl)
---@field shares? { host: string, guest: string, read_only: boolean?, xattrs: boolean? }[] folders of this machine that stage 1 mounts in
-- the guest, by virtiofs; xattrs: with the attributes user.*. What a guest writes belongs to the folder's owner.
-- A guest with shares can have no snapshots
---@field network? "none"|"user"|vmctl.MachineNetwork user: a network card with the address 10.0.2.15 in a network that has no way out,
-- or one where that is asked for ("none")
---@field ports? string[] with network "user": "8080:80" leads port 8080 of this machine's loopback to the guest's port 80
---@field layer? { file: vmctl.File, is_new: boolean } an open file without a name that takes what the guest writes to a disk of its own
-- with writes = "discard": a new one becomes an empty overlay; another is an ended guest's overlay, from which this guest starts
---@field agent? string the agent's program for stage 1 ($VMCTL_AGENT, or that of a checkout)
---@field append? string more of the kernel's command line
---@field memory? string|integer MiB, or as "256M"
---@field cpus? integer
---@field accel? "auto"|"kvm"|"tcg"
---@field machine? string QEMU's, "microvm" by default on x86-64
---@field arch? string
---@field qemu? string the program
---@field args? string[] further arguments for QEMU
---@field nics? vmctl.NetworkCard[] network cards on Ethernet sockets (none by default; `vm.macs` has their addresses)
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
---@field on? string|vmctl.RemoteWhere|vmctl.RemoteHost another machine on which it runs: "ssh:USER@HOST", "exec:COMMAND", or what
-- vmctl.machine.host gives; docs/remote.md says which options go there
---@field fds? integer[] descriptors that QEMU gets as its 4, 5, …, for `args`; they stay the caller's

--- The options of a launch, checked. A mistake raises at the line that calls the caller. Does not wait.
---@param opts? vmctl.MachineOptions
---@return vmctl.MachineOptions
function M.check(opts)
  opts = options.check(opts or {}, known, "machine.launch", 4)
  if type(opts.init) == "string" and opts.init ~= "agent" and opts.init ~= "system" then
    error("machine.launch: init: 'agent', 'system' or a command's words expected", 3)
  end
  return opts
end

local function nanoseconds(stamp) return stamp.seconds * 1000000000 + stamp.microseconds * 1000 end

-- Watches the events of the monitor after which the host's knowledge of the guest is void.
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

--- Makes the parts of the machine, around its channels. Does not wait.
-- None of them refers to the machine, so that the collector may take it at any time.
---@param vm vmctl.Machine with name, macs, _process, _console, _monitor, _channel, _beside
---@param opts vmctl.MachineOptions
function M.add_parts(vm, opts)
  vm._clients = agent_clients.new(vm.name, vm._channel, vm._process, opts.exec_timeout)
  vm._epoch = epoch.new(vm._clients)
  watch_events(vm)
  vm._report = explain.new(vm.name, vm._process, vm._console, vm._beside)
  vm._readiness = readiness.new(vm.name, vm._clients, vm._process, vm._report)
  vm._control = control.new {
    name = vm.name, monitor = vm._monitor, process = vm._process, report = vm._report, epoch = vm._epoch, macs = vm.macs,
    reboots = opts.reboot,
  }
  vm._screen, vm._snapshots = screen.new(vm._control), snapshots.new(vm._control)
  vm._resume = resume.new(vm._control, vm._snapshots, vm._clients, vm._epoch)
  vm._ports = ports.new(vm._control, vm._channel.kind == "mux")
end

-- The descriptors that QEMU gets beside its standard streams: the numbers of the others follow the monitor's.
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
  for _, part in ipairs { channel, vm._console, vm._monitor, vm._beside } do part:started() end
  if not ok then return nil, ("launch %s: %s"):format(vm.name, err), code end
  vm.pid, vm.command = vm._process.pid, argv
  vm._console:begin()
  return true
end

local function start_qemu(vm, spec, opts)
  local fds, add = descriptors(vm, opts)
  local ok, err, code = vm._beside:start()
  if not ok then return nil, err, code end
  local args = vm._root and vm._root:arguments(spec.suffix, add) or {}
  for _, list in ipairs { vm._beside:arguments(spec, add), spec.args } do table.move(list, 1, #list, #args + 1, args) end
  spec.args = args
  vm._confinement, err, code = confinement.plan(spec, opts, add)
  if not vm._confinement then return nil, err, code end
  ok, err, code = spawn_qemu(vm, spec, fds, add)
  vm._confinement:close()
  if vm._root then vm._root:close() end
  return ok, err, code
end

--- Starts QEMU. Waits until it runs.
---@param opts vmctl.MachineOptions checked, and with what its root needs
---@param mt table the metatable of the machine
---@param its_beside vmctl.MachineBeside
---@param its_root? vmctl.MachineRoot
---@return vmctl.Machine|nil, string?, string?
function M.start(opts, mt, its_beside, its_root)
  local spec, err, code = qemu.describe(opts)
  if not spec then return nil, err, code end
  local name = opts.name or "guest"
  local vm = setmetatable({
    name = name, accel = spec.accel, accel_reason = spec.accel_reason, macs = spec.macs, _process = qemu_process.new(name),
    _root = its_root, _beside = its_beside, boot = its_root and its_root.boot, boot_reason = its_root and its_root.boot_reason,
  }, mt)
  local ok
  ok, err, code = open_channels(vm, spec, opts)
  if ok then
    M.add_parts(vm, opts)
    ok, err, code = start_qemu(vm, spec, opts)
  end
  if not ok then
    vm:close()
    return nil, err, code
  end
  if spec.accel == "tcg" and spec.machine.has_one_timer then
    local its_control, clients = vm._control, vm._clients -- and not the machine
    vm._readiness:beside(function() lost_timer.watch(its_control, clients) end)
  end
  vm._lead = its_root and its_root:lead { clients = vm._clients, process = vm._process, ports = vm._ports }
  if opts.reboot or vm._channel.port then vm._monitor:begin() end -- its reboots, and its agent's end, must not go unseen
  return vm
end

return M
