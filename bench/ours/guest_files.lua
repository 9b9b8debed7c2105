-- vmctl: a copy into a guest or out of it, by `vmctl.files` or (what the same stream can do) by tar here and tar there.
-- Usage: guest_files.lua files|unverified|tar push|pull file|tree: one file of SIZE bytes, or a tree of FILES small ones

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local guests = require "guests"
local images = require "images"
local support = require "support"
local vmctl = require "vmctl"

local side, way, what = arg[1], arg[2], arg[3]
local HERE = { file = "build/bench/guest-file", tree = "build/bench/guest-tree" }
local SMALL = 1000 -- bytes of a small file

-- Folders of 100 files each.
local function make(path)
  images.sh(("rm -rf '%s'; mkdir -p '%s'"):format(path, path))
  if what == "file" then return images.sh(("head -c %d /dev/urandom > '%s/file'"):format(guests.size, path)) end
  for i = 0, guests.files - 1 do
    local folder = ("%s/%d"):format(path, i // 100)
    if i % 100 == 0 then images.sh(("mkdir '%s'"):format(folder)) end
    local file <close> = assert(io.open(("%s/%d"):format(folder, i), "w"))
    file:write(("%d "):format(i):rep(SMALL):sub(1, SMALL))
  end
end

local function tar(from, to, source, destination)
  local out = assert(vmctl.pipeline {
    { "tar", "-C", source, "-cf", "-", ".", on = from }, { "tar", "-C", destination, "-xf", "-", on = to }, timeout = 600, check = true,
  })
  return out
end

local function copy(vm, source, there, back)
  if side == "tar" then
    if way == "push" then return tar(vmctl.host, vm, source, there) end
    return tar(vm, vmctl.host, there, back)
  end
  local opts = { verify = side == "files", timeout = 600, exact = true }
  if way == "push" then return assert(vmctl.files.push(vm, source, there .. "/new", opts)) end
  return assert(vmctl.files.pull(vm, there, back .. "/new", opts))
end

vmctl.run(function()
  local source = HERE[what]
  make(source)
  source = images.real(source)
  local back = images.real(source .. "-back")
  local memory = math.max(512 << 20, 2 * guests.size + guests.files * 16384) >> 20
  local vm <close> = guests.launch { channel = "mux", memory = memory .. "M" }
  assert(vm:run { "mkdir", "/there", check = true })
  if way == "pull" then tar(vmctl.host, vm, source, "/there") end
  local start = vmctl.now()
  copy(vm, source, "/there", back)
  local seconds = vmctl.now() - start
  images.sh(("rm -rf '%s' '%s'"):format(source, back))
  support.result("mib_rate", guests.size / 2 ^ 20 / seconds)
  support.result("rate", guests.files / seconds)
end)
