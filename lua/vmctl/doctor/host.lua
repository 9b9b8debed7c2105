--- Checks this machine's means for guests: sockets, devices, accelerators, limits.
local core = require "vmctl.core"
local devices = require "vmctl.machine.host_devices"
local own_user = require "vmctl.machine.own_user"
local platform = require "vmctl.machine.platform"
local probe = require "vmctl.doctor.probe"
local vsock = require "vmctl.net.vsock_numbers"

local M = {}

local FILES_FEW, FILES_GOOD = 256, 4096 -- open files: fewer than the first are too few, fewer than the second too few for a fleet

local function family_is_there()
  return ("\n" .. probe.text "/proc/net/protocols"):find("\nAF_VSOCK%s") ~= nil
end

--- Checks AF_VSOCK sockets.
function M.vsock(report)
  if not family_is_there() then
    return report("AF_VSOCK", false, "the kernel has no AF_VSOCK sockets now", "modprobe vsock (a container's host must do it)")
  end
  local cid, err = core.local_cid()
  if not cid then
    return report("AF_VSOCK", "partial", "sockets can be made, but the machine's own CID is not known: " .. err,
      "give the container /dev/vsock, or make it: modprobe vsock")
  end
  local loopback = core.fs.stat "/sys/module/vsock_loopback" and ", the loopback transport is loaded" or ""
  report("AF_VSOCK", true, ("sockets can be made, this machine's CID is %s%s"):format(
    cid == vsock.CID_ANY and "not set" or tostring(cid), loopback))
end

local function report_device(report, name, path, advice)
  local state, detail = probe.device(path)
  report(name, state == "yes", detail, state == "refused" and "let this user read and write it: adduser USER kvm" or advice)
end

--- Checks the device that gives guests a CID: /dev/vhost-vsock.
function M.vhost_vsock(report)
  report_device(report, "vhost-vsock", devices.VHOST_VSOCK,
    "modprobe vhost_vsock; without it guests are reached over virtio-serial ports, which takes nothing")
end

--- Checks the virtio ports of this machine, when it is a guest.
function M.virtio_ports(report)
  local ports = core.fs.list "/dev/virtio-ports" or {}
  table.sort(ports)
  if #ports == 0 then
    return report("virtio-serial ports here", false, "no /dev/virtio-ports: this machine is no guest that has some", nil)
  end
  report("virtio-serial ports here", true, table.concat(ports, ", "))
end

--- Checks hardware acceleration.
function M.kvm(report)
  local state, detail = probe.device(devices.KVM)
  if state == "absent" then
    return report("KVM", false, detail, "turn virtualisation on (in the firmware, or nested in the outer machine), then "
      .. "modprobe kvm_intel or kvm_amd; without it guests are emulated, some ten times as slow")
  elseif state == "refused" then
    return report("KVM", false, detail, "let this user read and write it: adduser USER kvm")
  end
  local works, why = core.try_kvm(devices.KVM)
  if not works then return report("KVM", false, why, "machine.launch takes emulation here; this machine's /dev/kvm is not KVM's") end
  local arch, unknown = platform.get()
  if not arch then return report("KVM", "partial", detail .. "; " .. unknown) end
  local accel, reason = platform.accel(arch)
  report("KVM", accel == "kvm" or "partial", reason,
    accel ~= "kvm" and "machine.launch takes emulation here; accel = \"kvm\" tries all the same" or nil)
end

--- Checks the means to confine a guest's QEMU, beside QEMU's own filter of system calls.
function M.confinement(report)
  local version, err = core.landlock_abi()
  report("Landlock", version ~= nil, version and ("version %d: QEMU may use no files but its own"):format(version) or err,
    "a kernel with CONFIG_SECURITY_LANDLOCK, and landlock among its lsm=")
  local id, reason = own_user.id()
  report("a user for each QEMU", id ~= nil, id and "each QEMU has a user of its own, which owns nothing" or reason,
    core.fs.identity() == 0 and "run vmctl with the capabilities SETUID, SETGID and KILL" or nil)
end

--- Checks how many files this process may open: each connection needs one.
function M.files(report)
  local soft, hard = probe.text("/proc/self/limits"):match "\nMax open files%s+(%w+)%s+(%w+)"
  local many = tonumber(soft) or soft == "unlimited" and math.huge
  if not many then return report("open files", "partial", "/proc/self/limits does not tell how many", nil) end
  local ok = many >= FILES_GOOD or many >= FILES_FEW and "partial"
  report("open files", ok, ("%s at once, %s after ulimit -n"):format(soft, hard),
    ok ~= true and ("ulimit -n %d: each connection is one"):format(FILES_GOOD) or nil)
end

return M
