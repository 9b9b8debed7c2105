--- Creating an instance: its source is checked, an image is made if needed, and its description is written.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local launch = require "vmctl.machine.launch"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local root_disk = require "vmctl.machine.root_disk"
local rootfs = require "vmctl.rootfs"
local second_name = require "vmctl.rootfs.second_name"
local share = require "vmctl.machine.share"
local store = require "vmctl.instance.store"

local M = {}

local VERSION = 1 -- of spec.json
local ARCHITECTURES = { x86_64 = "amd64", aarch64 = "arm64" } -- as images name them
local ROOT = { "size", "read_only", "format", "firmware", "ways", "partition" } -- of a root's options
local KEPT = "an instance keeps what it writes in a file of its own"

local NOT_KEPT = { "fds", "nics", "initrd", "layer", "on", "name", "cid" } -- options of a launch that instances do not have
local PATHS = { "kernel", "console_log", "modules_dir", "agent", "cache_dir" }

local function absolute(path)
  if path:sub(1, 1) == "/" then return path end
  return assert(fs.real ".") .. "/" .. path
end

-- The options without the root, for a process that is started elsewhere.
local function settle(opts)
  local kept = options.merge({}, opts)
  kept.root, kept.writes = nil, nil
  for _, name in ipairs(PATHS) do kept[name] = kept[name] and absolute(kept[name]) end
  kept.shares, kept.paths = {}, {}
  for i, each in ipairs(opts.shares or {}) do
    kept.shares[i] = { host = each.host and absolute(each.host), guest = each.guest, read_only = each.read_only, xattrs = each.xattrs }
  end
  for i, path in ipairs(opts.paths or {}) do kept.paths[i] = absolute(path) end
  for name, value in pairs(kept) do
    if type(value) == "table" and next(value) == nil then kept[name] = nil end
  end
  return kept
end

-- Checks that a disk exists, and that nobody writes it now.
local function look_at_disk(path)
  local file, err, code = root_disk.open(path, false)
  if not file then return nil, err, code end
  local guard <close> = file -- luacheck: ignore
  local format
  format, err, code = root_disk.format(file, path)
  if not format then return nil, err, code end
  return true
end

local function of_image(what, opts)
  local image, err, code = rootfs.image(what, { cache = opts.cache_dir, arch = opts.arch and ARCHITECTURES[opts.arch],
    on_progress = function(state) log.progress(("making an image of the root: %d MiB"):format(state.bytes >> 20)) end })
  log.progress(nil)
  local ok = image
  if image then ok, err, code = rootfs.check_root(what, image) end
  if not ok then return nil, err, code end
  return image
end

-- The options of the root for spec.json, and the image to be linked.
local function plan(opts)
  local given = type(opts.root) == "table" and options.merge({}, opts.root) or { opts.root }
  local what = given[1]
  if given.keep or opts.writes == "discard" then return errors.fail("EINVAL", "create: %s: no keep, no discard", KEPT) end
  if opts.writes == "through" and not (what and what:find "^disk:") then
    return errors.fail("EINVAL", 'create: writes = "through" is for a disk: %s', KEPT)
  end
  local root = { what = what, from = what or "empty, " .. tostring(given.size) }
  for _, name in ipairs(ROOT) do root[name] = given[name] end
  root.through = opts.writes == "through" or nil
  if not what then
    if given.size then return root end
    return errors.fail("EINVAL", "create: an instance needs a root")
  end
  local kind, path = what:match "^(%a+):(.+)$"
  if kind == "disk" or kind == "erofs" then
    local file, partition = path:match "^(.+)(#[^#/]+)$"
    root.what = ("%s:%s%s"):format(kind, absolute(file or path), partition or "")
    local ok, err, code = look_at_disk(absolute(file or path))
    if not ok then return nil, err, code end
    return root
  end
  local image, err, code = of_image(what, opts)
  if not image then return nil, err, code end
  local is_system = (kind == "dir" or kind == "tar" or kind == "image") and image.has_init
  root.init = is_system and "system" or "agent"
  return root, image
end

local function fill(folder, spec, image)
  local ok, err, code = true, nil, nil
  if image then ok, err, code = second_name.give(image.path, folder .. "/root.erofs") end
  if ok then ok, err, code = store.write(folder, spec) end
  if not ok then return nil, err, code end
  local lock
  lock, err, code = store.lock(folder)
  if not lock then return nil, err, code end
  lock:close()
  return true
end

--- Creates an instance. See vmctl.instance.create.
---@return true|nil, string?, string?
function M.create(name, opts)
  opts = launch.check(opts)
  for _, each in ipairs(NOT_KEPT) do
    if opts[each] ~= nil then error(("instance.create: the option '%s' is not of instances"):format(each), 2) end
  end
  local ok, err, code = store.check_name(name)
  if not ok then return nil, err, code end
  if store.folder(name) then return store.taken(name) end
  if core.fs.stat(share.folder(name) .. "/info") then
    return errors.fail("EEXIST", "a guest called '%s' runs (vmctl stop %s ends it)", name, name)
  end
  local root, image
  root, image, code = plan(opts)
  if not root then return nil, image, code end
  local spec = { version = VERSION, name = name, created = os.time(), root = root, options = settle(opts),
    image = image and { digest = image.digest, name = image.name, config = image.config } or nil }
  ok, err, code = store.make(name, function(folder) return fill(folder, spec, image) end)
  if not ok then return nil, err, code end
  return true
end

--- The options of the launch that starts an instance. Does not wait.
---@param folder string
---@param spec table as create has written it
---@return vmctl.MachineOptions
function M.launch_options(folder, spec)
  local kept, opts = spec.root, options.merge({}, spec.options)
  local root = { kept.what }
  for _, name in ipairs(ROOT) do root[name] = kept[name] end
  local suffix = kept.what and kept.what:find "^disk:" and ".qcow2" or ".ext4"
  if not kept.through then root.keep = folder .. "/disk" .. suffix end
  if spec.image then
    root[1], root.digest, root.config = ("erofs:%s/root.erofs"):format(folder), spec.image.digest, spec.image.config
    opts.init = opts.init or kept.init
  end
  opts.root, opts.writes, opts.name = root, kept.through and "through" or "keep", spec.name
  return opts
end

return M
