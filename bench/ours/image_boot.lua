-- vmctl: the time from the launch of a guest to the end of its first command: of a guest whose root is an image that is in the cache, or of
-- the guest of `make guest`.
-- Usage: image_boot.lua image|bare COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local images = require "images"
local support = require "support"
local vmctl = require "vmctl"

local cache = images.real "build/bench/image-cache"
local options = { kernel = "build/kernel/vmlinuz", agent = "build/vmctl-agent", modules_dir = "build/kernel/modules", memory = "256M" }
if arg[1] == "image" then
  options.root, options.cache_dir = "oci:" .. images.busybox("build/bench/image-busybox").path, cache
else
  options.initrd, options.agent, options.modules_dir = "build/guest.img", nil, nil
end

local function boot()
  local begin = vmctl.now()
  local vm <close> = assert(vmctl.machine.launch(options))
  assert(vm:wait_ready(120))
  assert(vm:run { "/bin/true", check = true })
  return vmctl.now() - begin
end

boot() -- the image is in the cache now
local seconds = {}
for i = 1, tonumber(arg[2]) do seconds[i] = boot() end
support.report_latencies(seconds)
