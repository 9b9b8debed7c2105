-- lua5.4 tools/build-image.lua KERNEL_DIR AGENT OUTPUT: the guest image of `make guest`. A busybox that is in KERNEL_DIR, for a guest of
-- another architecture, is taken instead of this machine's. It is not compressed: an emulated guest unpacks it for a tenth of a second.
local core = require "vmctl.core"
local image = require "vmctl.machine.image"

local kernel_dir, agent, output = table.unpack(arg)

local modules = kernel_dir .. "/modules"
local pipe = assert(io.popen("ls " .. modules .. " 2>/dev/null"))
local versions = pipe:read "a"
pipe:close()
local version = versions:match "^%S+"
if not version then
  modules = nil -- a kernel of the user's own, without any
elseif version ~= "kernel" and not versions:find "\nkernel" then
  modules = modules .. "/" .. version
end

local busybox = kernel_dir .. "/busybox"
local path, err = image.build {
  output = output, agent = agent, modules_dir = modules, busybox = core.fs.stat(busybox) and busybox or true, compress = false,
}
if not path then
  io.stderr:write("build-image: ", err, "\n")
  os.exit(1)
end
