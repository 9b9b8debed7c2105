-- A picture of a guest's screen: a guest is launched with a display, writes on it, and is photographed.
-- Usage: lua5.4 examples/screenshot.lua [FILE.png] (needs `make guest`); without a file the picture is only looked at
-- You will see the size of the picture, in pixels and in bytes.
local vmctl = require "vmctl"

local path = arg[1] or os.tmpname()
-- A microvm has a screen only for kernels with a driver of virtio-gpu; Debian's cloud kernel writes on a PC's.
local is_pc = assert(vmctl.host:run { "uname", "-m" }).stdout == "x86_64\n"
local vm <close>, why, code = vmctl.machine.launch {
  kernel = "build/kernel/vmlinuz", initrd = "build/guest.img", machine = is_pc and "q35" or nil, display = true,
}
if not vm then
  assert(code == "ENOENT", why)
  print(("skipped: %s (make guest)"):format(why))
  return os.exit(0, true)
end

assert(vm:wait_ready { timeout = 30 })
assert(vm:run "echo hello from the guest > /dev/tty1")
assert(vm:screendump(path))

local file = assert(io.open(path, "rb"))
local picture = file:read "a"
file:close()
assert(picture:sub(1, 8) == "\137PNG\r\n\26\n" and picture:sub(-8, -5) == "IEND", "no PNG, or half of one")
local width, height = (">I4I4"):unpack(picture, 17)
assert(width >= 640 and height >= 400, "a strange size")
print(("%d x %d pixels, %d bytes"):format(width, height, #picture))
if not arg[1] then os.remove(path) end
