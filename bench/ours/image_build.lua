-- vmctl: an image of 300 MiB in a layer that is packed with gzip becomes an EROFS in the cache; or tar unpacks the layer.
-- Usage: image_build.lua build|unpack

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local images = require "images"
local support = require "support"
local vmctl = require "vmctl"

local layout = images.layout "build/bench/image-300"
local scratch = images.scratch "build/bench/image-out"

local begin = vmctl.now()
if arg[1] == "build" then
  assert(vmctl.rootfs.image("oci:" .. layout.path, { cache = scratch, arch = "amd64" }))
else
  images.sh(("tar -C '%s' --warning=no-timestamp -xzf '%s'"):format(scratch, layout.layer))
end
support.result("seconds", vmctl.now() - begin)
images.remove(scratch)
