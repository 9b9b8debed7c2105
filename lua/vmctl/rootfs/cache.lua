--- The cache of images: CACHE/chain/DIGEST.erofs, beside it its description (.json) and its lock. One process makes an image, others
--- wait for it; leftovers of a killed process are removed by the next one that makes that image, or by rootfs.prune.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local file_lock = require "vmctl.base.file_lock"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local layer = require "vmctl.rootfs.layer"
local log = require "vmctl.log"
local staged = require "vmctl.base.staged"
local user_folders = require "vmctl.base.user_folders"

local M = {}

local LOCK_LIMIT = 3600       -- seconds that another process may take to make the same image
local PRIVATE = 448           -- mode 0700
local MOST_NAMES, SHOWN_NAMES, SHOWN = 1000, 8, 200 -- of a tree's top; of them in a message, and its bytes
local MACHINES = { [3] = "386", [40] = "arm", [62] = "amd64", [183] = "arm64", [243] = "riscv64" }
local INITS = { "/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init" } -- as stage 1 looks for one

--- The folder of caches: vmctl in $XDG_CACHE_HOME, or in ~/.cache. Does not wait.
---@return string
function M.default()
  return user_folders.cache() .. "/vmctl"
end

--- Waits until no other process has a lock, and takes it.
---@param path string of the lock's file
---@return userdata|nil lock which the caller closes; string?, string? code ETIMEDOUT: another process had it for an hour
function M.lock(path)
  local lock, err, code = file_lock.take(path, LOCK_LIMIT)
  if code == "EBUSY" then return errors.fail("ETIMEDOUT", "%s: another process still makes this image", path) end
  return lock, err, code
end

local function first_program(build, paths)
  for _, path in ipairs(paths) do
    local kind, mode, machine = build:find(path)
    if kind == "file" and mode & 73 ~= 0 then return path, machine end
  end
end

-- The reason why a tree is no root file system, or nil: nothing in it could run, or it is one folder too deep.
local function why_no_root(build)
  local names, has_program = build:top(MOST_NAMES)
  local set = {}
  for _, name in ipairs(names) do set[name] = true end
  if set["manifest.json"] and not has_program then return "it has the files of an image: docker-archive:FILE" end
  if set["oci-layout"] and not has_program then return "it has the files of an image's layout: oci-archive:FILE, or oci:DIR" end
  local shown = log.one_line(table.concat(names, ", ", 1, math.min(#names, SHOWN_NAMES)), SHOWN)
  if not has_program then return ("no file in it is a program, and so nothing could run (its top: %s)"):format(shown) end
  for _, inside in ipairs { "bin/sh", "usr/bin/env", "sbin/init", "etc/os-release" } do
    if #names == 1 and build:find("/" .. names[1] .. inside) then
      return ("all is inside the folder %s: name that one (dir:), or pack what is in it (tar -C %s -cf FILE .)"):format(shown, shown)
    end
  end
end

-- Reads facts from the tree: its init, the architecture of its programs, and the reason if it is no root.
local function inspect(build)
  local arch
  for _, path in ipairs { "/sbin/init", "/bin/sh", "/usr/bin/env", "/bin/busybox" } do
    local _, _, machine = build:find(path)
    arch = arch or MACHINES[machine]
  end
  return { has_init = first_program(build, INITS), arch = arch, no_root = why_no_root(build) }
end

local function build_into(name, build_layers, path, opts)
  local build, err, code = core.rootfs_build(name, opts.max_entries, opts.max_bytes)
  if not build then return nil, err, code end
  local guard <close> = build -- luacheck: ignore
  local ok, size
  ok, err, code = build_layers(build, opts.on_progress)
  if ok then size, err, code = layer.finish(build) end
  if not size then return nil, err, code end
  local found = inspect(build)
  if found.arch and found.arch ~= opts.arch then
    return errors.fail("EPROTO", "its programs are for %s, not for %s", found.arch, opts.arch)
  end
  found.from = opts.from
  return fs.replace(path .. ".json", assert(json.encode(found)))
end

-- Makes the image under a temporary name, and renames it. The lock is held.
local function make(build_layers, path, opts)
  staged.remove_leftovers(path)
  return staged.make(path, function(name) return build_into(name, build_layers, path, opts) end)
end

--- The facts that are kept of an image. Does not wait.
---@return { has_init: string?, arch: string?, from: string?, no_root: string? }
function M.about(path)
  local text = core.fs.read(path .. ".json", 1 << 16)
  local about = text and json.decode(text)
  return type(about) == "table" and about or {}
end

-- Notes the time of an image's last use: that of its description's file.
local function touch(folder, name)
  local root <close> = core.fs.root(folder)
  local now = os.time()
  if root then root:chtimes("/" .. name .. ".json", now, now) end
end

local function make_once(build_layers, path, opts)
  local lock <close>, err, code = M.lock(path .. ".lock")
  if not lock then return nil, err, code end
  if fs.stat(path) then return true end -- another process has made it while this one waited
  return make(build_layers, path, opts)
end

--- Finds an image, or makes it. Waits.
---@param key string that identifies its source; another version of the writer has other images for it
---@param build_layers fun(build: userdata, on_progress: function?): any, string?, string? lays the layers
---@param opts { cache: string, arch: string, max_entries: integer, max_bytes: integer, on_progress: function?, from: string? }
---@return { path: string, digest: string, size: integer, has_init: string?, arch: string, no_root: string? }|nil, string?, string?
function M.get(key, build_layers, opts)
  local folder = opts.cache .. "/chain"
  local ok, err, code = fs.folders("/", folder, { folder_mode = PRIVATE })
  if not ok then return nil, err, code end
  local hex = core.sha256(("%d %s %s"):format(core.rootfs_version, opts.arch, key)):hex()
  local path, info = ("%s/%s.erofs"):format(folder, hex), nil
  if not fs.stat(path) then ok, err, code = make_once(build_layers, path, opts) end
  if ok then info, err, code = fs.stat(path) end
  if not info then return nil, err, code end
  touch(folder, hex .. ".erofs")
  local about = M.about(path)
  return { path = path, digest = "sha256:" .. hex, size = info.size, has_init = about.has_init, arch = about.arch or opts.arch,
    no_root = type(about.no_root) == "string" and about.no_root or nil }
end

return M
