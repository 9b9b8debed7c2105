--- Disks of distributions, as tools/debian-root leaves them in build/, and guests of them.
local assert = require "luassert"
local guest = require "spec.support.guest"
local roots = require "spec.support.roots"

local M = {}

--- Seconds for a boot and for what takes as long: a guest of systemd takes about twenty where it is emulated.
M.LIMIT = 300

--- The first way of vmctl.machine.firmware that each of them knows: bookworm starts by a BIOS, trixie by an EFI.
M.WAY = { bookworm = "tmpfiles", trixie = "extra-unit" }

--- A guest for which it is named runs it; without one (kernel = false) it runs its disk's own.
M.KERNEL = guest.kernel

-- Those that have something else than the others.
local KINDS = { btrfs = true, cloud = true, dracut = true, openrc = true }

--- Those that are to be tried.
---@return string[]
function M.suites()
  local list = {}
  for name in (os.getenv "VMCTL_DISTRIBUTIONS" or ""):gmatch "%S+" do
    if not KINDS[name] then list[#list + 1] = name end
  end
  return list
end

--- The disk of a suite.
function M.disk(suite) return ("%sbuild/debian-%s/disk.img"):format(guest.root, suite) end

--- A disk with something else: "btrfs" has its root in a subvolume, "cloud" has cloud-init, "dracut" an initrd of dracut's, "openrc"
--- neither systemd nor a kernel. Nil where it is not to be tried.
---@param suite? string (bookworm)
---@return string|nil
function M.kind(name, suite)
  local wanted = (" %s "):format(os.getenv "VMCTL_DISTRIBUTIONS" or ""):find((" %s "):format(name), 1, true)
  return wanted and M.disk(("%s-%s"):format(suite or "bookworm", name)) or nil
end

--- A guest of it that is ready; options as for vmctl.machine.launch.
---@return vmctl.Machine
function M.boot(folder, options)
  options.cpus = options.cpus or 2
  local vm = assert(roots.launch(folder, options))
  local ready, err = vm:wait_ready(M.LIMIT)
  if ready then return vm end
  vm:close()
  error(err, 2)
end

--- The output of a shell's command in a guest; one that fails is an error.
---@return string
function M.say(vm, command) return assert(vm:run({ "sh", "-c", command, check = true }, { timeout = M.LIMIT })).stdout end

--- The state of the guest for systemd when all has been started.
---@return string
function M.state(vm)
  return assert(vm:run({ "systemctl", "is-system-running", "--wait" }, { timeout = M.LIMIT })).stdout
end

return M
