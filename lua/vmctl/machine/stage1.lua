--- The initramfs of stage 1: the agent's program, which moves into the guest's own root, and the kernel modules for that.
-- It depends on the agent and the kernel alone, so it is made once and kept in $XDG_CACHE_HOME/vmctl/stage1.
local core = require "vmctl.core"
local cpio = require "vmctl.machine.cpio"
local errors = require "vmctl.errors"
local image = require "vmctl.machine.image"
local user_folders = require "vmctl.base.user_folders"

local M = {}

local FORMAT = "5"      -- of the archive: another one has other names in the cache
local ALWAYS = { "virtio_blk" }
local PRIVATE = 448     -- mode 0700
local LACKS = ".lacks"  -- behind the archive's name: a list of modules
-- The modules that a file system needs; stage 1 loads them when it finds one. vfat is for an fstab that names it.
local SETS = {
  image = { "erofs", "overlay", "ext4" },
  disk = { "ext4", "xfs", "btrfs", "erofs", "squashfs", "f2fs", "vfat" },
}
-- Modules that only a virtio device of this number needs (include/uapi/linux/virtio_ids.h; 0: none, but PCI). The agent leaves them out
-- where the machine has neither that device nor a PCI bus (src/agent/init.h).
local DEVICES = { virtio_pci = 0, virtio_pci_modern_dev = 0, virtio_pci_legacy_dev = 0, virtio_net = 1, net_failover = 1, failover = 1,
  virtio_rng = 4, ["9pnet_virtio"] = 9, vmw_vsock_virtio_transport = 19, virtiofs = 26 }
-- Modules that file systems request by an alias, which only a modprobe with softdeps would resolve.
local CHECKSUM = { "crc32c_generic" }
local BEFORE = { erofs = CHECKSUM, ext4 = CHECKSUM, xfs = CHECKSUM, f2fs = CHECKSUM,
  btrfs = { "crc32c_generic", "xxhash_generic", "sha256_generic" } }
local BESIDE = { vfat = { "nls_cp437", "nls_ascii", "nls_utf8" } }

--- The folder for files that can be made again: vmctl in the user's folder of caches. Does not wait.
---@return string
function M.cache() return user_folders.cache() .. "/vmctl" end

--- Makes a folder and those above it. Does not wait, but for the file system.
---@param path string absolute
---@return true|nil, string?, string?
function M.make_folders(path)
  local at = 1
  repeat
    at = path:find("/", at + 1, true)
    local ok, err, code = core.fs.mkdir(at and path:sub(1, at - 1) or path, PRIVATE)
    if not ok and code ~= "EEXIST" then return nil, err, code end
  until not at
  return true
end

local function read(path)
  local file, err, number = io.open(path, "rb")
  if not file then return errors.fail(number == 2 and "ENOENT" or "EIO", "read %s", err) end
  local bytes = file:read "a"
  file:close()
  if not bytes then return errors.fail("EIO", "read %s", path) end
  return bytes
end

-- The modules of a name and of what loads beside it, of those that this kernel has as files; and whether it lacks one.
local function modules_of(dir, names)
  local list, err, code = image.modules(dir, names)
  if list then return list, false end
  if code == "ENOENT" and #names > 0 and err:find("find module", 1, true) then return {}, true end
  return nil, err, code
end

-- `always` has the numbers of the devices whose modules are loaded in any case.
local function add_list(tree, name, modules, known, always)
  local lines = {}
  for _, module in ipairs(modules) do
    local path = ("/lib/modules/vmctl/%s.ko"):format(module.name)
    if not known[module.name] then
      tree[path] = { content = module.bytes }
      local device = always and DEVICES[module.name]
      lines[#lines + 1] = device and not always[device] and ("%s\t%d\n"):format(path, device) or path .. "\n"
    end
  end
  tree["/etc/vmctl/" .. name] = { content = table.concat(lines) }
end

-- A module's name, with those that are loaded before and after it.
local function needs(name)
  local list = {}
  for _, part in ipairs { BEFORE[name] or {}, { name }, BESIDE[name] or {} } do table.move(part, 1, #part, #list + 1, list) end
  return list
end

-- Adds the modules of a name, a file system's for instance; notes the name where the kernel has neither files nor built-in ones.
local function add_name(tree, dir, name, known, lacks)
  local all = {}
  for _, each in ipairs(needs(name)) do
    local more, lacking, code = modules_of(dir, { each })
    if not more then return nil, lacking, code end
    table.move(more, 1, #more, #all + 1, all)
    if lacking and each == name then lacks[#lacks + 1] = name end
  end
  add_list(tree, "modules." .. name, all, known)
  return true
end

local function plant(dir, names, agent)
  local tree, lacks = {
    ["/init"] = { link = "/sbin/vmctl-agent" }, ["/sbin/vmctl-agent"] = { content = agent, mode = 493 },
    ["/dev/console"] = { node = { "c", 5, 1 }, mode = 384 }, ["/dev/null"] = { node = { "c", 1, 3 }, mode = 438 },
    ["/proc"] = { folder = true }, ["/sys"] = { folder = true },
  }, {}
  if not dir then return tree, lacks end
  local base, lacking, code = modules_of(dir, ALWAYS)
  if base and #base == 0 then
    if lacking then lacks[1] = ALWAYS[1] end
    base, lacking, code = image.modules(dir) -- virtio_blk is built in, or there is none
  end
  if not base then return nil, lacking, code end
  local known, always = {}, {}
  for _, name in ipairs(names) do always[DEVICES[name] or ""] = true end
  add_list(tree, "modules", base, known, always)
  for _, module in ipairs(base) do known[module.name] = true end
  for _, name in ipairs(names) do
    local ok, err, why = add_name(tree, dir, name, known, lacks)
    if not ok then return nil, err, why end
  end
  return tree, lacks
end

local function write(tree, path)
  local parts = {}
  local ok, err, code = cpio.pack(tree, function(bytes)
    parts[#parts + 1] = bytes
    return true
  end)
  if ok then ok, err, code = core.fs.replace(path, table.concat(parts)) end
  if not ok then return nil, err, code end
  return path
end

-- The ingredients of the archive: the agent's bytes, and which modules there are.
local function key_of(dir, names, agent)
  local hash = core.sha256(FORMAT):update(table.concat(names, " ")):update(agent)
  for _, name in ipairs { "", "/modules.dep", "/modules.order", "/modules.builtin" } do
    local found = dir and core.fs.stat(dir .. name)
    if found then hash:update(("%s %s %s %s\n"):format(core.fs.real(dir), name, found.mtime, found.size)) end
  end
  return hash:hex()
end

-- A kernel's folder has its modules at once, or below their version's name.
local function module_folder(dir)
  if not dir or core.fs.stat(dir .. "/kernel") then return dir end
  for _, name in ipairs(core.fs.list(dir) or {}) do
    if core.fs.stat(("%s/%s/kernel"):format(dir, name)) then return dir .. "/" .. name end
  end
  return dir
end

-- A list of what the kernel lacks is kept beside the archive. It cannot be made without the kernel's list of what is built in.
local function keep(path, tree, lacks, dir)
  local can_tell = dir and core.fs.stat(dir .. "/modules.builtin")
  local ok, err, code = core.fs.replace(path .. LACKS, can_tell and table.concat(lacks, "\n") .. "\n" or "\n")
  if not ok then return nil, err, code end
  return write(tree, path)
end

local function read_lacks(path)
  local file, set = io.open(path .. LACKS, "rb"), {}
  for name in (file and file:read "a" or ""):gmatch "[^\n]+" do set[name] = true end
  if file then file:close() end
  return set
end

--- The archive for a kind of root. Waits while it is made the first time.
---@param opts { agent: string, modules_dir: string?, set: "image"|"disk", more: string[]?, cache: string } modules_dir: a copy of
-- /lib/modules/VERSION; without it the kernel must have all needed modules built in; more: modules beside those of the set
---@return string|nil path
---@return table<string, true>|string lacks the modules of the set, of `more` and virtio_blk that the kernel has neither as files nor built
-- in; or a message
---@return string? code ENOENT: no agent, no modules …
function M.make(opts)
  local agent, err, code = read(opts.agent)
  if not agent then return nil, "launch: the agent's program: " .. err, code end
  local dir, names = module_folder(opts.modules_dir), table.move(SETS[opts.set], 1, #SETS[opts.set], 1, {})
  local there = {}
  for _, name in ipairs(names) do there[name] = true end
  for _, name in ipairs(opts.more or {}) do
    if not there[name] then names[#names + 1] = name end
    there[name] = true
  end
  local folder = opts.cache .. "/stage1"
  local path = ("%s/%s.cpio"):format(folder, key_of(dir, names, agent))
  if core.fs.stat(path) then return path, read_lacks(path) end
  local ok, tree, lacks
  ok, err, code = M.make_folders(folder)
  if ok then tree, lacks, code = plant(dir, names, agent) end
  if ok and not tree then err = lacks end
  if tree then ok, err, code = keep(path, tree, lacks, dir) end
  if not ok or not tree then return nil, "launch: stage 1: " .. err, code end
  return path, read_lacks(path)
end

return M
