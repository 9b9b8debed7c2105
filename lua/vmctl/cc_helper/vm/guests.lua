--- Boots the guests of a helper.
local core = require "vmctl.core"
local failure = require "vmctl.cc.backend.failure"
local inside = require "vmctl.cc_helper.vm.inside"
local instance = require "vmctl.cc_helper.vm.instance"
local machine = require "vmctl.machine"
local pool = require "vmctl.cc_helper.vm.pool"
local ports = require "vmctl.net.agent_ports"
local source = require "vmctl.cc_helper.vm.source"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"

local M = {}

local BOOT_TIMEOUT, NETWORK_TIMEOUT = 120, 10 -- seconds
local MEMORY, MOST_MEMORY = 256, 1 << 20 -- MiB: the image is on a disk, and the guest's writes are in memory
-- The card gets the address that QEMU's user network expects, where the image has the tools.
local NETWORK = [[
n=$(ls /sys/class/net | grep -v -e lo -e sit | head -n 1); [ -n "$n" ] || exit 0
if command -v ip; then
  ip link set "$n" up; ip addr add 10.0.2.15/24 dev "$n"; ip route add default via 10.0.2.2
else
  ifconfig "$n" 10.0.2.15 netmask 255.255.255.0 up; route add default gw 10.0.2.2
fi
[ -s /etc/resolv.conf ] || { mkdir -p /etc; rm -f /etc/resolv.conf; echo nameserver 10.0.2.3 > /etc/resolv.conf; }
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

--- Makes the object that boots guests. Does not wait.
---@param snapshots vmctl.CcSnapshots
---@param opts table as for vmctl.cc_helper
---@return vmctl.CcGuests
function M.new(snapshots, opts)
  return setmetatable({
    _snapshots = snapshots, _launch = opts.launch or {}, _on_output = opts.on_output, _boot_timeout = opts.boot_timeout or BOOT_TIMEOUT,
    _kernel = opts.kernel or os.getenv "VMCTL_KERNEL" or "build/kernel/vmlinuz",
    _agent = opts.agent or os.getenv "VMCTL_AGENT" or "build/vmctl-agent",
    _modules_dir = opts.modules_dir or os.getenv "VMCTL_MODULES" or first_file "build/kernel/modules",
  }, mt)
end

local function launch(self, from, image, cache)
  local asked = from.options.memory_mb
  local opts = {
    root = "erofs:" .. image.path, init = "agent", cache_dir = cache, kernel = self._kernel, agent = self._agent,
    modules_dir = self._modules_dir, name = "cc", memory = asked > 0 and asked <= MOST_MEMORY and asked or MEMORY,
    cpus = math.max(from.options.cpus, 1), shares = inside.shares(from.options.mounts), nics = { { netdev = "user" } },
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

local function find_image(self, from)
  local cache, err, code = self._snapshots:cache(from.cache_dir)
  if not cache then return nil, err, code end
  local ok
  ok, err, code = inside.check_mounts(from.options.mounts)
  if not ok then return nil, err, code end
  local image, about
  image, about, code = source.find(from, cache)
  if not image then return nil, about, code end
  return image, about, cache
end

local function prepare(vm, from, about, folder)
  local where = vm:address(ports.CC)
  if from.options.user ~= "" then about = setmetatable({ user = from.options.user }, { __index = about }) end
  local ok, err, code = inside.prepare(vm, where, about, from.options.mounts, folder)
  if not ok then return nil, err, code end
  local connections = pool.new(where)
  ok, err, code = connections:keep_one()
  if not ok then return nil, err, code end
  return connections
end

local function boot(self, from, folder)
  local image, about, cache = find_image(self, from)
  if not image then return nil, about, cache end
  local vm, err, code = launch(self, from, image, cache)
  if not vm then return nil, err, code end
  local connections
  connections, err, code = prepare(vm, from, about, folder)
  if not connections then
    vm:kill()
    return nil, err, code
  end
  vm:run { "sh", "-c", NETWORK, timeout = NETWORK_TIMEOUT } -- as root, also where the image has another user
  return instance.new(vm, connections, { folder = folder, image = about, parent = parent_of(from), snapshots = self._snapshots,
    on_output = self._on_output })
end

--- Boots a guest. Waits until its agent answers.
---@param from table the fields of InstanceNew
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
