-- vmctl: a guest reads all files of its root for the first time: of an image, or of a disk with an ext4 of the same files.
-- Usage: image_read.lua image|ext4

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local images = require "images"
local support = require "support"
local vmctl = require "vmctl"

local cache = images.real "build/bench/image-cache"
local tree = images.tree "build/bench/image-tree"
local options = { kernel = "build/kernel/vmlinuz", agent = "build/vmctl-agent", modules_dir = "build/kernel/modules", memory = "512M",
  init = "agent", cache_dir = cache }
options.root = arg[1] == "image" and "dir:" .. tree or "disk:" .. images.ext4(tree, "build/bench/image-tree.ext4")

local vm <close> = assert(vmctl.machine.launch(options))
assert(vm:wait_ready(120))
local begin = vmctl.now()
local result = assert(vm:run { "/bin/busybox", "sh", "-c", "busybox find /files -type f -exec busybox cat {} + | busybox wc -c",
  check = true })
support.result("seconds", vmctl.now() - begin)
assert(tonumber(result.stdout) == images.bytes(tree), result.stdout)
