--- The real guest of the specs: the kernel and the image that `make guest` leaves in build/. VMCTL_GUEST names another folder with
-- vmlinuz, modules and guest.img, VMCTL_GUEST_ARCH another architecture than this machine's, VMCTL_AGENT its agent (make test-arm64).
-- The memory of a file's guests, where it does not say otherwise:
-- Needs: 600 MiB
local assert = require "luassert"
local core = require "vmctl.core"
local image = require "vmctl.machine.image"
local vmctl = require "vmctl"

local M = {}

local root = debug.getinfo(1, "S").source:match "^@(.-)spec/support/[^/]*$"

--- The project's folder, with a slash behind it, or "".
M.root = root

local chosen = os.getenv "VMCTL_GUEST"
local kernel_folder = root .. (chosen or "build/kernel")

M.kernel = kernel_folder .. "/vmlinuz"
M.image = root .. (chosen or "build") .. "/guest.img"
M.arch = os.getenv "VMCTL_GUEST_ARCH"
M.agent = root .. (M.arch and os.getenv "VMCTL_AGENT" or "build/vmctl-agent")
M.agent_inside = "/sbin/vmctl-agent"

local BOOT = M.arch and 240 or 60 -- seconds: a boot takes two or three, of another architecture ten, on a busy machine more

-- The options of a launch with that kernel and image unless they name others.
local function complete(options)
  local all = { kernel = M.kernel, initrd = M.image, arch = M.arch }
  for name, value in pairs(options or {}) do all[name] = value end
  return all
end

--- Starts QEMU with that kernel and image; options as for vmctl.machine.launch.
---@return vmctl.Machine|nil, string?, string?
function M.launch(options)
  return vmctl.machine.launch(complete(options))
end

--- A guest that is ready.
---@return vmctl.Machine
function M.boot(options)
  local vm = assert(M.launch(options))
  local ready, err = vm:wait_ready(BOOT)
  if not ready then
    vm:close()
    error(err, 2)
  end
  return vm
end

--- The channels by which guests can be reached here: "mux" anywhere, "vsock" where this machine is a vsock host.
---@return string[]
function M.channels()
  local device = io.open("/dev/vhost-vsock", "r+")
  if not device then return { "mux" } end
  device:close()
  return { "mux", "vsock" }
end

--- Describes a guest that can be reached by either channel, once for each: `body(channel)` boots it so.
---@param describe function the spec's own
---@param name string
---@param body fun(channel: string)
function M.on_each_channel(describe, name, body)
  for _, channel in ipairs(M.channels()) do
    describe(("%s, over %s,"):format(name, channel), function() body(channel) end)
  end
end

--- The folder with the modules of that kernel, nil when it has none.
---@return string|nil
function M.modules_dir()
  local lfs = require "lfs"
  local dir = kernel_folder .. "/modules"
  if lfs.attributes(dir .. "/kernel") then return dir end
  for name in lfs.dir(dir) do
    if lfs.attributes(dir .. "/" .. name .. "/kernel") then return dir .. "/" .. name end
  end
end

--- Builds an image into a folder; options as for vmctl.machine.image.build.
---@return string path
function M.build_image(options)
  local busybox = kernel_folder .. "/busybox" -- which is there for another architecture
  if options.busybox == nil and core.fs.stat(busybox) then options.busybox = busybox end
  return assert(image.build(options))
end

local INIT = [[
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read module; do insmod $module; done </etc/vmctl/modules
exec >/dev/console 2>&1
while :; do /sbin/vmctl-agent; done
]]

--- Builds an image, into a folder, in which the agent is started anew when it ends.
---@return string path
function M.build_supervised(folder)
  local file <close> = assert(io.open(folder .. "/init", "w"))
  assert(file:write(INIT))
  assert(file:flush())
  return M.build_image { output = folder .. "/supervised.img", agent = M.agent, init = folder .. "/init", modules_dir = M.modules_dir() }
end

return M
