--- Boots the guests of a helper.
local core = require "vmctl.core"
local failure = require "vmctl.cc.backend.failure"
local initramfs = require "vmctl.cc_helper.vm.initramfs"
local instance = require "vmctl.cc_helper.vm.instance"
local machine = require "vmctl.machine"
local pool = require "vmctl.cc_helper.vm.pool"
local ports = require "vmctl.net.agent_ports"
local source = require "vmctl.cc_helper.vm.source"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"

local M = {}

local BOOT_TIMEOUT, NETWORK_TIMEOUT = 120, 10 -- seconds
local LEAST_MEMORY, SPARE_MEMORY, MEMORY_FACTOR = 256, 192, 3 -- MiB, MiB; the archive is there twice while it is unpacked
local MOST_MEMORY = 1 << 20
-- The card gets the address that QEMU's user network expects, where the image has the tools.
local NETWORK = [[
n=$(ls /sys/class/net | grep -v -e lo -e sit | head -n 1); [ -n "$n" ] || exit 0
if command -v ip; then
  ip link set "$n" up; ip addr add 10.0.2.15/24 dev "$n"; ip route add default via 10.0.2.2
else
  ifconfig "$n" 10.0.2.15 netmask 255.255.255.0 up; route add default gw 10.0.2.2
fi
[ -s /etc/resolv.conf ] || echo nameserver 10.0.2.3 > /etc/resolv.conf
]]

---@class vmctl.CcGuests
local methods = {}
local mt = { __name = "vmctl.CcGuests", __index = methods }

local function first_file(...)
  for i = 1, select("#", ...) do
    local path = select(i, ...)
    if path and core.fs.stat(path) then return path end
  end
end

--- Knows how guests are made.
---@param snapshots vmctl.CcSnapshots
---@param opts table as for vmctl.cc_helper
---@return vmctl.CcGuests
function M.new(snapshots, opts)
  return setmetatable({
    _snapshots = snapshots, _launch = opts.launch or {}, _boot_timeout = opts.boot_timeout or BOOT_TIMEOUT,
    _kernel = opts.kernel or os.getenv "VMCTL_KERNEL" or "build/kernel/vmlinuz",
    _agent = opts.agent or os.getenv "VMCTL_AGENT" or "build/vmctl-agent",
    _modules_dir = opts.modules_dir or os.getenv "VMCTL_MODULES" or first_file "build/kernel/modules",
  }, mt)
end

-- Folders of this machine that the guest is to have, at /mnt/TAG: an empty one, or a copy of how it is now.
local function add_mounts(tree, mounts)
  for _, mount in ipairs(mounts) do
    if not mount.tag:find "^[%w._-]+$" or mount.tag:find "^%.+$" then return nil, "a mount's tag has letters, digits, '.', '_' and '-'" end
    if mount.host_path ~= "" and mount.writable then
      return nil, ("mount %s: a folder of the host can only be had as a copy, not writable"):format(mount.tag)
    end
    local ok, err = tree:put("/mnt/" .. mount.tag, { type = "directory", mode = 493, uid = 0, gid = 0, mtime = 0 })
    if ok and mount.host_path ~= "" then ok, err = source.graft(tree, mount.host_path, "/mnt/" .. mount.tag) end
    if not ok then return nil, err end
  end
  return true
end

-- The archive to boot from, in the folder; its size and what the image says of itself.
local function prepare(self, from, folder)
  local cache, err, code = self._snapshots:cache(from.cache_dir)
  if not cache then return nil, err, code end
  local tree, about
  tree, about, code = source.load(from, cache, folder)
  if not tree then return nil, about, code end
  local ok
  ok, err = add_mounts(tree, from.options.mounts)
  if not ok then return nil, err, "EINVAL" end
  local image = about
  if from.options.user ~= "" then about = setmetatable({ user = from.options.user }, { __index = about }) end
  ok, err, code = initramfs.plant(tree, about, { agent = self._agent, modules_dir = self._modules_dir })
  if not ok then return nil, err, code end
  local size
  size, err, code = initramfs.write(tree, folder .. "/initramfs")
  if not size then return nil, err, code end
  return size, image
end

local function memory_for(asked, size)
  if asked > 0 and asked <= MOST_MEMORY then return asked end
  return math.max(LEAST_MEMORY, size * MEMORY_FACTOR // (1 << 20) + SPARE_MEMORY)
end

local function launch(self, from, folder, size)
  local opts = {
    kernel = self._kernel, initrd = folder .. "/initramfs", name = "cc", memory = memory_for(from.options.memory_mb, size),
    cpus = math.max(from.options.cpus, 1), nics = { { netdev = "user" } },
    append = from.options.enable_dmesg and "ignore_loglevel" or nil,
  }
  for name, value in pairs(self._launch) do opts[name] = value end
  local vm, err, code = machine.launch(opts)
  if not vm then
    if code == "ENOENT" then code = "ENOHYPERVISOR" end
    return nil, err, code
  end
  local ready
  ready, err, code = vm:wait_ready(self._boot_timeout)
  if ready then return vm end
  vm:kill()
  return nil, err, code
end

-- The snapshot that an instance is made from is the parent of its own.
local function parent_of(from)
  local key = from.type == 1 and snapshot_store.is_snapshot(from.path) and from.path:match "([^/]+)/*$"
  return key and { key = key, folder = from.path, close = function() return true end } or nil
end

local function boot(self, from, folder)
  local size, image, code = prepare(self, from, folder)
  if not size then return nil, image, code end
  local vm, err
  vm, err, code = launch(self, from, folder, size)
  if not vm then return nil, err, code end
  os.remove(folder .. "/initramfs")
  local connections = pool.new(vm:address(ports.CC))
  local ok
  ok, err, code = connections:keep_one()
  if not ok then
    vm:kill()
    return nil, err, code
  end
  vm:run { "sh", "-c", NETWORK, timeout = NETWORK_TIMEOUT } -- as root, whoever the image is run by
  return instance.new(vm, connections, { folder = folder, image = image, parent = parent_of(from),
    snapshots = self._snapshots })
end

--- Boots a guest. Waits until its agent answers.
---@param from table what InstanceNew says
---@return vmctl.CcGuest|nil, string?, integer?, table?
function methods:boot(from)
  local folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-cc")
  if not folder then return failure.of("new", "", err, code) end
  local fine, guest
  fine, guest, err, code = pcall(boot, self, from, folder)
  if fine and guest then return guest end
  require("vmctl.cc_helper.build").remove_folder(folder)
  if not fine then error(guest, 0) end
  return failure.say("new", "", err, code)
end

return M
