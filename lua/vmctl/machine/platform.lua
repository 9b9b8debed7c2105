--- The differences between guests' architectures and machine types, in one place; and the check for KVM.

local core = require "vmctl.core"
local process = require "vmctl.process"

local M = {}

---@class vmctl.PlatformMachine  a board that QEMU imitates
---@field type string  QEMU's -M
---@field options? string  those of -M, behind the type
---@field suffix string  ending of virtio's device names: "virtio-serial" .. suffix
---@field args? string  arguments that the kernel needs
---@field has_one_timer? boolean  its kernel has nothing but its APIC's timer: see vmctl.machine.lost_timer
---@field tcg_args? string  arguments that the kernel needs under software emulation; %d: this machine's TSC rate in kHz

---@class vmctl.Platform
---@field arch string  as "uname -m" prints it
---@field debian string  Debian's name for it
---@field qemu string  the emulator's command
---@field cpu string  QEMU's -cpu under software emulation (under KVM it is "host")
---@field tcg_args? string  arguments that the kernel needs under software emulation, on each of its machines
---@field console string  the kernel's name of the first serial port
---@field kernel_package string
---@field kvm_flags? string[]  /proc/cpuinfo has one of them if the processor can run guests
---@field default string  the machine to take when none is asked for
---@field fallback string  the machine where this host does not tell the rate that the default one needs
---@field machines table<string, vmctl.PlatformMachine>

-- A microvm's only clock is the TSC, which QEMU passes through. The kernel measures its rate against an emulated timer;
-- on a busy host about one boot in ten fails to, and hangs early and silently. So it is told the rate; a wrong one lets
-- the guest's time run wrong by as much. Nor may the kernel doubt it later, when the emulated timer ticks late: it would have
-- nothing but that timer, which loses half its ticks. Other machines have more clocks, so there the TSC is simply not trusted.
-- On them a busy host makes the kernel doubt its other timer as well: it panics ("IO-APIC + timer doesn't work"), unless told not to check.
-- Without an RTC, which QEMU leaves out under KVM, the kernel of a microvm waits for one at each boot.
-- A kernel that was built for several processors and finds one patches its 12,000 locks away, and each patch flushes the TLB three times:
-- of a boot that is emulated, that would be a twentieth.
-- A microvm has nothing that resets it but a triple fault either. Left alone, the kernel ends its attempts in the
-- firmware's entry, and a guest that has panicked sometimes spins there for ever.
---@type table<string, vmctl.Platform>
M.platforms = {
  x86_64 = {
    arch = "x86_64",
    debian = "amd64",
    qemu = "qemu-system-x86_64",
    cpu = "max,-erms,-fsrm",            -- else the guest copies by `rep movsb`, which is emulated byte by byte
    tcg_args = "noreplace-smp",
    console = "ttyS0",
    kernel_package = "linux-image-cloud-amd64",
    kvm_flags = { "vmx", "svm" },
    default = "microvm",
    fallback = "q35",
    machines = {
      microvm = { type = "microvm", options = ",rtc=on", suffix = "-device", args = "reboot=t",
        tcg_args = "tsc_early_khz=%d tsc=reliable",
        has_one_timer = true },
      q35 = { type = "q35", suffix = "-pci", tcg_args = "tsc=unstable no_timer_check" },
    },
  },
  aarch64 = {
    arch = "aarch64",
    debian = "arm64",
    qemu = "qemu-system-aarch64",
    cpu = "max,pauth-impdef=on",        -- the algorithm that pauth has by default is slow to emulate
    console = "ttyAMA0",
    kernel_package = "linux-image-cloud-arm64",
    default = "virt",
    fallback = "virt",
    machines = {
      virt = { type = "virt", suffix = "-pci" },
    },
  },
}

local ARCH_LONGEST, ARCH_LIMIT = 64, 10 -- bytes of its name; seconds for uname

-- Where this machine tells about itself; specs put other files there.
local PLACES = {
  kvm = require("vmctl.machine.host_devices").KVM,
  cpuinfo = "/proc/cpuinfo",
  base_frequency = "/sys/devices/system/cpu/cpu0/cpufreq/base_frequency",
}

local function read_all(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "a" or ""
  file:close()
  return text
end

local function has_flag(cpuinfo, flag)
  local flags = cpuinfo:match "\nflags%s*:([^\n]*)" or ""
  return (flags .. " "):find(" " .. flag .. " ", 1, true) ~= nil
end

local function ask_architecture()
  local child <close> = process.spawn { "uname", "-m", stdout = "pipe", stderr = "null", stdin = "null" } -- luacheck: ignore
  return child and child.stdout:read_line(ARCH_LONGEST, ARCH_LIMIT) or nil
end

local own_architecture

--- This machine's architecture, as "uname -m" prints it; "unknown" where that cannot be had. Waits for it at the first call.
---@return string
function M.native()
  own_architecture = own_architecture or ask_architecture()
  return own_architecture or "unknown"
end

--- The platform of an architecture.
---@param arch? string  (this machine's)
---@return vmctl.Platform?, string?, string?
function M.get(arch)
  arch = arch or M.native()
  local platform = M.platforms[arch]
  if platform then return platform end
  local known = {}
  for name in pairs(M.platforms) do table.insert(known, name) end
  table.sort(known)
  return nil, ("no platform %s (known: %s)"):format(arch, table.concat(known, ", ")), "ENOTSUP"
end

--- Tells if guests of a platform can have KVM here, and why (not). A /dev/kvm that opens is not enough: it is asked for its
--- version and for a machine; and where the processor shows no sign of virtualisation, it may be one in which no ordinary
--- kernel ever boots.
---@param platform vmctl.Platform
---@param places? { kvm: string, cpuinfo: string, native: string, try_kvm: function? }  instead of this machine's files and
-- architecture, and of asking KVM
---@return "kvm"|"tcg" name, string reason
function M.accel(platform, places)
  places = places or PLACES
  local native = places.native or M.native()
  if native ~= platform.arch then return "tcg", ("this machine is %s, the guest %s"):format(native, platform.arch) end
  local works, why = (places.try_kvm or core.try_kvm)(places.kvm)
  if not works then return "tcg", why end
  if not platform.kvm_flags then return "kvm", places.kvm .. " makes machines" end
  local cpuinfo = read_all(places.cpuinfo)
  for _, flag in ipairs(platform.kvm_flags) do
    if has_flag(cpuinfo, flag) then
      return "kvm", ("%s makes machines and %s shows %s"):format(places.kvm, places.cpuinfo, flag)
    end
  end
  return "tcg", ("%s shows neither %s"):format(places.cpuinfo, table.concat(platform.kvm_flags, " nor "))
end

--- The rate of this machine's time stamp counter where it is certain; nil where it would be a guess.
---@param places? { cpuinfo: string, base_frequency: string }
---@return integer? khz
function M.tsc_khz(places)
  places = places or PLACES
  local cpuinfo = read_all(places.cpuinfo)
  if not has_flag(cpuinfo, "tsc") then return nil end
  local mhz = has_flag(cpuinfo, "hypervisor") and cpuinfo:match "\ncpu MHz%s*:%s*([%d.]+)"
  if mhz then return math.floor(tonumber(mhz) * 1000) end       -- in a VM nothing scales the frequency that is shown
  local base = tonumber(read_all(places.base_frequency))
  if base then return math.floor(base) end
  local ghz = cpuinfo:match "\nmodel name[^\n]*@ ([%d.]+)GHz"
  return ghz and math.floor(tonumber(ghz) * 1000000 + 0.5)
end

local function wants_rate(machine, accel)
  return accel == "tcg" and (machine.tcg_args or ""):find("%d", 1, true) ~= nil
end

--- The machine of a name, or the one to take when none is asked for; nil for an unknown name.
---@param platform vmctl.Platform
---@param accel "kvm"|"tcg"
---@param name? string
---@param places? table  as for tsc_khz
---@return vmctl.PlatformMachine?
function M.machine(platform, accel, name, places)
  if name then return platform.machines[name] end
  local machine = platform.machines[platform.default]
  if wants_rate(machine, accel) and not M.tsc_khz(places) then machine = platform.machines[platform.fallback] end
  return machine
end

--- The kernel arguments that every guest gets on a machine.
---@param platform vmctl.Platform
---@param accel "kvm"|"tcg"
---@param machine vmctl.PlatformMachine
---@param places? table  as for tsc_khz
---@return string
function M.kernel_args(platform, accel, machine, places)
  -- A panic is to reboot at once, which ends QEMU. The kernel's tests of its own ciphers would take 0.2 seconds.
  local args = { "console=" .. platform.console, "quiet", "panic=-1", "cryptomgr.notests" }
  if machine.args then table.insert(args, machine.args) end
  if accel == "tcg" then table.insert(args, platform.tcg_args) end
  if wants_rate(machine, accel) then
    local khz = M.tsc_khz(places)
    if khz then table.insert(args, machine.tcg_args:format(khz)) end
  elseif accel == "tcg" then
    table.insert(args, machine.tcg_args)
  end
  return table.concat(args, " ")
end

return M
