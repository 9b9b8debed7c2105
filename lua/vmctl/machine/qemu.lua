--- Builds QEMU's command line.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local monitor = require "vmctl.machine.monitor"
local nics = require "vmctl.machine.nics"
local platform = require "vmctl.machine.platform"
local qemu_version = require "vmctl.machine.qemu_version"
local screen = require "vmctl.machine.screen"

local M = {}

-- Of translated code QEMU would keep up to a gigabyte for each guest; a Debian that boots makes about a hundred MiB.
local ACCEL = { tcg = "tcg,tb-size=128" }

local function readable(path, what)
  local found, err, code = core.fs.stat(path)
  if not found then return nil, ("launch: %s: %s"):format(what, err), code end
  local file = found.type ~= "directory" and io.open(path, "rb")
  if not file then return errors.fail("EACCES", "launch: the %s %s is no file that can be read", what, path) end
  file:close()
  return true
end

--- Checks the options of machine.launch and adds defaults.
---@param opts table as for machine.launch
---@return table|nil spec, string?, string?
function M.describe(opts)
  local ok, err, code = true, nil, nil
  if opts.kernel then ok, err, code = readable(opts.kernel, "kernel") end -- false: the firmware finds one on a disk
  if ok and opts.initrd then ok, err, code = readable(opts.initrd, "initrd") end
  if not ok then return nil, err, code end
  local arch
  arch, err, code = platform.get(opts.arch)
  if not arch then return nil, "launch: " .. err, code end
  local accel, reason = opts.accel, "asked for"
  if not accel or accel == "auto" then accel, reason = platform.accel(arch) end
  local machine = platform.machine(arch, accel, opts.machine)
  if not machine then return errors.fail("EINVAL", "launch: no machine '%s' on %s", opts.machine, arch.arch) end
  local cards, macs
  cards, macs, code = nics.arguments(opts.nics or {}, machine.suffix, function()
    return qemu_version.of(opts.qemu or arch.qemu)
  end)
  if not cards then return nil, macs, code end
  local display
  display, err, code = screen.arguments(opts.display, machine.suffix)
  if not display then return nil, err, code end
  local memory = opts.memory or "256M"
  if math.type(memory) == "integer" then memory = ("%dM"):format(memory) end
  return {
    arch = arch, machine = machine, suffix = machine.suffix, accel = accel, accel_reason = reason, memory = memory,
    cpus = opts.cpus or 1, qemu = opts.qemu or arch.qemu, kernel = opts.kernel, initrd = opts.initrd,
    append = opts.append, args = opts.args or {}, cards = cards, macs = macs,
    display = display, reboot = opts.reboot,
  }
end

local function kernel_arguments(spec)
  local given = platform.kernel_args(spec.arch, spec.accel, spec.machine)
  return spec.append and given .. " " .. spec.append or given
end

--- The command line. Standard output is the console's socket. There is no NIC unless the user's arguments add one.
---@param spec table from describe
---@param channel string[] the channel's arguments
---@return string[]
function M.command(spec, channel)
  local argv = {
    spec.qemu, "-M", spec.machine.type .. (spec.machine.options or ""),
    "-accel", ACCEL[spec.accel] or spec.accel, "-cpu", spec.accel == "kvm" and "host" or spec.arch.cpu,
    "-m", spec.memory, "-smp", tostring(spec.cpus), "-nodefaults", "-no-user-config", "-display", "none",
    "-nic", "none", "-chardev", "socket,id=console,fd=1", "-serial", "chardev:console", "-device", "virtio-rng" .. spec.suffix,
  }
  if spec.kernel then table.move({ "-kernel", spec.kernel, "-append", kernel_arguments(spec) }, 1, 4, #argv + 1, argv) end
  if spec.initrd then
    argv[#argv + 1] = "-initrd"
    argv[#argv + 1] = spec.initrd
  end
  if not spec.reboot then argv[#argv + 1] = "-no-reboot" end
  for _, list in ipairs { channel, monitor.arguments(), spec.cards, spec.display, spec.args } do
    table.move(list, 1, #list, #argv + 1, argv)
  end
  return argv
end

return M
