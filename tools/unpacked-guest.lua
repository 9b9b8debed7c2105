-- lua5.4 tools/unpacked-guest.lua KERNEL_DIR IMAGE FOLDER: makes FOLDER a guest for the specs, of KERNEL_DIR and IMAGE, whose kernel is
-- unpacked already: an emulated x86 guest unpacks it for half a second at each boot. Prints "export VMCTL_GUEST=FOLDER". QEMU enters such
-- a kernel in another way (PVH), by which some kernels find no devices, so each machine that the specs start is tried with it. Prints
-- nothing where one of them does not come up, where guests have KVM, and where VMCTL_GUEST is set already. FOLDER/vmlinuz is there if the
-- kernel serves; FOLDER/key tells of what that depends on.
local core = require "vmctl.core"
local platform = require "vmctl.machine.platform"
local vmctl = require "vmctl"

local MACHINES = { "microvm", "q35" }
local BOOT = 20                 -- seconds: a boot takes two or three; one that takes longer costs no more than the gain
local KERNEL_MOST = 256 << 20   -- bytes, unpacked
local UNPACK = { ["\x02\x21\x4c\x18"] = "lz4", ["\x28\xb5\x2f\xfd"] = "zstd", ["\xfd7zX"] = "xz" } -- by the first bytes

local kernel_dir, image, folder = table.unpack(arg)

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a"
end

local function mark(path)
  local found = core.fs.stat(path, true)
  return found and ("%s %d %d"):format(path, found.size, found.changed) or path .. " none"
end

-- What the answer depends on.
local function key()
  local qemu = vmctl.host:run { "qemu-system-x86_64", "--version" }
  local linked = { core.fs.real(kernel_dir .. "/modules") or "none", core.fs.real(image) or "none" }
  return ("%s\n%s\n%s"):format(mark(kernel_dir .. "/vmlinuz"), table.concat(linked, "\n"), qemu and qemu.stdout or "no QEMU")
end

-- The payload of a kernel of x86 and its unpacked size: the kernel's Documentation/arch/x86/boot.rst. Nil for another kernel.
local function payload_of(kernel)
  if #kernel < 0x250 or kernel:sub(0x203, 0x206) ~= "HdrS" then return nil end
  local offset, length = ("<I4I4"):unpack(kernel, 0x249)
  local from = (kernel:byte(0x1f2) + 1) * 512 + offset
  if length < 8 or from + length > #kernel then return nil end
  return kernel:sub(from + 1, from + length - 4), (("<I4"):unpack(kernel, from + length - 3))
end

-- The unpacked kernel, nil where it is not one of x86, or where the program that unpacks it is missing.
local function unpack_kernel()
  local payload, size = payload_of(assert(read(kernel_dir .. "/vmlinuz")))
  local program = payload and UNPACK[payload:sub(1, 4)]
  local result = program and vmctl.host:run { program, "-dc", stdin = payload, max_output = KERNEL_MOST, timeout = 60 }
  return result and #result.stdout == size and result.stdout or nil
end

local function comes_up(kernel, machine)
  local vm <close>, err = vmctl.machine.launch { kernel = kernel, initrd = image, machine = machine }
  local ready
  if vm then ready, err = vm:wait_ready(BOOT) end
  if not ready then io.stderr:write("unpacked-guest: the packed kernel is taken: ", err, "\n") end
  return ready ~= nil
end

local function serves(kernel)
  for _, machine in ipairs(MACHINES) do
    if not comes_up(kernel, machine) then return false end
  end
  return true
end

-- Makes the folder anew, whose key comes last.
local function make(now)
  assert(vmctl.host:run { "rm", "-rf", folder, check = true })
  assert(core.fs.mkdir(folder))
  local kernel = unpack_kernel()
  if kernel then
    local tried = folder .. "/tried"
    assert(core.fs.replace(tried, kernel))
    assert(serves(tried) and core.fs.rename(tried, folder .. "/vmlinuz") or core.fs.remove(tried))
  end
  assert(core.fs.symlink(core.fs.real(kernel_dir .. "/modules") or "none", folder .. "/modules"))
  assert(core.fs.symlink(core.fs.real(image), folder .. "/guest.img"))
  assert(core.fs.replace(folder .. "/key", now))
end

local function has_kvm()
  local own = platform.get()
  return own ~= nil and platform.accel(own) == "kvm"
end

vmctl.run(function()
  if os.getenv "VMCTL_GUEST" or has_kvm() then return end
  local now = key()
  if read(folder .. "/key") ~= now then make(now) end
  if core.fs.stat(folder .. "/vmlinuz") then print("export VMCTL_GUEST=" .. folder) end
end)
