-- vmctl: a guest reads all files of its root for the first time: of an image, or of a disk with an ext4 of the same files.
-- Usage: image_read.lua image|ext4 read-only|discard
-- read-only: neither side has anything between the guest and its file; discard: both can be written, and forget what was (the default).

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local images = require "images"
local support = require "support"
local vmctl = require "vmctl"

local PIECE = 64 * 1024

local cache = images.real "build/bench/image-cache"
local tree = images.tree "build/bench/image-tree"
local options = { kernel = "build/kernel/vmlinuz", agent = "build/vmctl-agent", modules_dir = "build/kernel/modules", memory = "512M",
  init = "agent", cache_dir = cache }
local read_only = arg[2] == "read-only"
if arg[1] == "image" then
  options.root = { "dir:" .. tree, read_only = read_only }
else
  options.root = { "disk:" .. images.ext4(tree, "build/bench/image-tree-4k.ext4"), read_only = read_only }
  if read_only then options.writes = "through" end -- else QEMU puts a qcow2 before it
end

local vm <close> = assert(vmctl.machine.launch(options))
assert(vm:wait_ready(120))
local begin = vmctl.now()
-- dd copies each byte once and looks at none: a program that does would take most of the time
local result = assert(vm:run { "/bin/busybox", "sh", "-c",
  ("busybox find /files -type f -exec busybox cat {} + | busybox dd bs=%d iflag=fullblock of=/dev/null 2>&1"):format(PIECE), check = true })
support.result("seconds", vmctl.now() - begin)
local bytes = images.bytes(tree)
local expected = ("%d+%d records in"):format(bytes // PIECE, bytes % PIECE > 0 and 1 or 0)
assert(result.stdout:find(expected, 1, true), result.stdout)
