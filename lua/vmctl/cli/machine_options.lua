--- The options of `vmctl run` and `vmctl create` for a guest's machine and its root.
local options = require "vmctl.base.options"
local root_options = require "vmctl.cli.root_options"
local units = require "vmctl.cli.units"

local M = {}

--- Adds the options to a command.
---@param of_instance boolean? which has a root, and a file of its own for what is written
function M.describe(command, of_instance)
  root_options.describe(command, of_instance)
  command:option("-k --kernel", "The kernel ($VMCTL_KERNEL)."):argname "FILE"
  if not of_instance then command:option("-r --initrd", "The guest image ($VMCTL_INITRD)."):argname "FILE" end
  command:option("-m --memory", "MiB, or with a suffix (256M)."):argname("SIZE"):convert(units.memory "--memory")
  command:option("-c --cpus", "Processors."):argname("N"):convert(units.integer("--cpus", 1, 255))
  command:option("--append", "More for the kernel's command line."):argname "WORDS"
  command:option("--accel", "kvm, tcg or auto."):argname("HOW"):choices { "auto", "kvm", "tcg" }
  command:option("-M --machine", "QEMU's machine: microvm (default), q35 (default with --display) …"):argname "TYPE"
  command:flag("--display", "Give it a screen and a keyboard.")
  command:flag("--reboot", "Let it start again when it reboots.")
  command:option("--arg", "A further argument for QEMU."):argname("WORD"):count "*"
  command:option("--console-log", "A file that gets all that the console shows."):argname "FILE"
end

--- The options of machine.launch that they stand for. Does not wait.
---@param opts table as argparse leaves them
---@return table|nil, string?, string? code EINVAL
function M.take(opts)
  local of_root, err, code = root_options.take(opts)
  if not of_root then return nil, err, code end
  return options.merge(of_root, {
    kernel = opts.kernel, initrd = opts.initrd, memory = opts.memory, cpus = opts.cpus, append = opts.append, accel = opts.accel,
    args = opts.arg, console_log = opts.console_log, display = opts.display, machine = opts.machine or opts.display and "q35" or nil,
    reboot = opts.reboot,
  })
end

return M
