--- Root file systems for guests: an image, a folder or an archive becomes one read-only EROFS, which is kept.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local layer = require "vmctl.rootfs.layer"
local oci = require "vmctl.rootfs.oci"
local options = require "vmctl.base.options"
local pieces = require "vmctl.base.pieces"
local process = require "vmctl.process"
local said = require "vmctl.rootfs.said"
local spec_of = require "vmctl.rootfs.spec"
local task = require "vmctl.base.task"

local M = {}

local WRITER = 1              -- counted up when the same layers make another image
local MAX_BYTES = 64 << 30
local MAX_ENTRIES = 4000000
local LOCK_LIMIT = 3600       -- seconds that another process may take to make the same image
local LOCK_PAUSE = 0.1
local PULL_LIMIT = 3600
local LISTING = 64 << 20      -- bytes
local MACHINES = { [3] = "386", [40] = "arm", [62] = "amd64", [183] = "arm64", [243] = "riscv64" }
local NATIVE = { x86_64 = "amd64", aarch64 = "arm64", riscv64 = "riscv64" }

M.parse = spec_of.parse

local function default_cache()
  local base = os.getenv "XDG_CACHE_HOME"
  if not base or base == "" then base = (os.getenv "HOME" or "/var") .. "/.cache" end
  return base .. "/vmctl"
end

-- A command's output; its exit code must be 0.
local function output_of(command, most)
  command.stdin, command.stdout, command.stderr, command.death_signal = "null", "pipe", "pipe", "KILL"
  local child, err, code = process.spawn(command)
  if not child then return nil, err, code end
  local guard <close>, deadline = child, core.now() + PULL_LIMIT -- luacheck: ignore
  return said.listen(child, function(words)
    local found = pieces.new()
    repeat
      local data, why, how = child.stdout:read(1 << 16, deadline - core.now())
      if not data and how ~= "EOF" then return nil, why, how end
      found:add(data or "")
      if found.bytes > most then return errors.fail("ETOOBIG", "%s: more than %d bytes", command[1], most) end
    until not data
    local record, why, how = child:wait(deadline - core.now())
    if not record then return nil, why, how end
    if record.exit_code ~= 0 then return errors.fail("EPROTO", "%s: %s", command[1], words()) end
    return found:text()
  end)
end

-- Each source gives { key = text that names its content, config =, build = function(build, on_progress) }.
local sources = {}

local function build_layers(image)
  return function(build, on_progress)
    for i, each in ipairs(image.layers) do
      local found, err, code = layer.digest(build, each.path)
      if not found then return nil, ("layer %d: %s"):format(i, err), code end
      if found ~= each.hex then return errors.fail("EPROTO", "layer %d: its digest is sha256:%s, not sha256:%s", i, found, each.hex) end
      local id
      id, err, code = layer.from_file(build, each.path, on_progress)
      if not id then return nil, ("layer %d: %s"):format(i, err), code end
      if "sha256:" .. id ~= each.diff_id then
        return errors.fail("EPROTO", "layer %d: unpacked, its digest is sha256:%s, not %s", i, id, each.diff_id)
      end
    end
    return true
  end
end

function sources.oci(what, opts)
  local image, err, code = oci.open(what.path, what.tag, opts.arch)
  if not image then return nil, err, code end
  local ids = {}
  for i, each in ipairs(image.layers) do ids[i] = each.diff_id end
  return { key = "oci " .. table.concat(ids, " "), config = oci.describe(image.config), build = build_layers(image) }
end

-- skopeo puts any other image into a layout of the cache, which keeps blobs that it has.
local function by_skopeo(from, name, opts, more)
  local folder = opts.cache .. "/oci/" .. core.sha256(name):hex()
  local ok, err, code = fs.folders("/", folder)
  if not ok then return nil, err, code end
  local command = { "skopeo", "copy", "--quiet", "--override-arch", opts.arch, "--override-os", "linux" }
  for _, word in ipairs(more) do command[#command + 1] = word end
  command[#command + 1] = from
  command[#command + 1] = "oci:" .. folder .. ":image"
  ok, err, code = output_of(command, 1 << 20)
  if not ok then return nil, err, code end
  return sources.oci({ path = folder, tag = "image" }, opts)
end

sources["docker-archive"] = function(what, opts)
  local name = "docker-archive:" .. what.path .. (what.tag and ":" .. what.tag or "")
  return by_skopeo(name, name, opts, {})
end

function sources.docker(what, opts)
  local host = what.name:match "^([^/:]+)"
  local here = host == "127.0.0.1" or host == "localhost"
  return by_skopeo("docker://" .. what.name, what.name, opts, here and { "--src-tls-verify=false" } or {})
end

function sources.tar(what)
  local info, err, code = fs.stat(what.path)
  if not info then return nil, err, code end
  if info.type ~= "file" then return errors.fail("EINVAL", "%s: not a regular file", what.path) end
  local said_of
  said_of, err, code = output_of({ "sha256sum", "--", what.path }, 1 << 16)
  if not said_of then return nil, err, code end
  local function build(made, on_progress) return layer.from_file(made, what.path, on_progress) end
  return { key = ("tar %s"):format(said_of:match "%x+"), build = build }
end

local LIST = "LC_ALL=C; export LC_ALL; cd -- \"$1\" && find . -printf '%p\\0%y %i %m %U %G %s %T@ %C@ %l\\0'"

function sources.dir(what)
  local info, err, code = fs.stat(what.path)
  if not info then return nil, err, code end
  if info.type ~= "directory" then return errors.fail("ENOTDIR", "%s: not a folder", what.path) end
  local path = assert(fs.real(what.path))
  local listing
  listing, err, code = output_of({ "sh", "-c", LIST, "sh", path }, LISTING)
  if not listing then return nil, err, code end
  local function build(made, on_progress)
    return layer.from_command(made, { "tar", "--create", "--format=posix", "--sort=name", "--numeric-owner", "--sparse", "--xattrs",
      "--xattrs-include=*", "--pax-option=delete=atime,delete=ctime", "--directory", path, ".", stdin = "null" }, on_progress)
  end
  return { key = ("dir %s %s"):format(path, core.sha256(listing):hex()), build = build }
end

local function take_lock(path)
  local limit = core.now() + LOCK_LIMIT
  while true do
    local lock, err, code = core.lock_file(path)
    if lock or code ~= "EBUSY" then return lock, err, code end
    if core.now() >= limit then return errors.fail("ETIMEDOUT", "%s: another process still makes this image", path) end
    task.sleep(LOCK_PAUSE)
  end
end

local function inspect(build)
  local kind, mode = build:find "/sbin/init"
  local machine = 0
  for _, path in ipairs { "/sbin/init", "/bin/sh", "/usr/bin/env", "/bin/busybox" } do
    local _, _, found = build:find(path)
    if machine == 0 then machine = found or 0 end
  end
  return { has_init = kind == "file" and mode & 73 ~= 0 and "/sbin/init" or nil, arch = MACHINES[machine] }
end

-- Makes the image beside its place, and puts it there.
local function make(source, path, opts)
  local staged = ("%s.%s"):format(path, core.sha256(tostring(core.now()) .. tostring({})):hex():sub(1, 12))
  local build, err, code = core.rootfs_build(staged, opts.max_entries, opts.max_bytes)
  if not build then return nil, err, code end
  local guard <close> = build -- luacheck: ignore
  local drop <close> = setmetatable({}, { __close = function() os.remove(staged) end }) -- luacheck: ignore
  local ok, size, found
  ok, err, code = source.build(build, opts.on_progress)
  if ok then size, err, code = layer.finish(build) end
  if not size then return nil, err, code end
  found = inspect(build)
  if found.arch and found.arch ~= opts.arch then
    return errors.fail("EPROTO", "its programs are for %s, not for %s", found.arch, opts.arch)
  end
  ok, err, code = fs.replace(path .. ".json", assert(json.encode(found)))
  if ok then ok, err, code = fs.rename(staged, path) end
  if not ok then return nil, err, code end
  return true
end

local known = { cache = "string", arch = "string", on_progress = "callable", max_bytes = "integer>0", max_entries = "integer>0" }

local function settle(given)
  local opts = options.merge({ cache = default_cache(), max_bytes = MAX_BYTES, max_entries = MAX_ENTRIES }, given)
  if not opts.arch then
    local machine = output_of({ "uname", "-m" }, 100) or ""
    opts.arch = NATIVE[machine:match "%S*"] or "amd64"
  end
  if opts.cache:sub(1, 1) ~= "/" then opts.cache = assert(fs.real ".") .. "/" .. opts.cache end
  return opts
end

local function result(source, path, hex, opts)
  local info, err, code = fs.stat(path)
  if not info then return nil, err, code end
  local file = io.open(path .. ".json")
  local found = file and json.decode(file:read "a") or {}
  if file then file:close() end
  return {
    path = path, digest = "sha256:" .. hex, size = info.size, config = source.config or oci.describe {}, has_init = found.has_init,
    arch = found.arch or opts.arch,
  }
end

local function image_of(what, opts)
  local source, err, code = sources[what.kind](what, opts)
  if not source then return nil, err, code end
  local hex = core.sha256(("%d %s %s"):format(WRITER, opts.arch, source.key)):hex()
  local path = opts.cache .. "/chain/" .. hex .. ".erofs"
  if fs.stat(path) then return result(source, path, hex, opts) end
  local lock
  lock, err, code = take_lock(path .. ".lock")
  if not lock then return nil, err, code end
  local guard <close> = lock -- luacheck: ignore
  if not fs.stat(path) then -- nobody made it while this waited
    local ok
    ok, err, code = make(source, path, opts)
    if not ok then return nil, err, code end
  end
  return result(source, path, hex, opts)
end

--- Makes the image of a root, or finds it in the cache: one read-only EROFS. Waits. gzip, zstd, xz and bzip2 unpack layers, tar reads
--- folders, skopeo brings images of registries and of docker-archives.
---@param spec string as for parse: an image, a folder or an archive
---@param opts? { cache: string?, arch: string?, on_progress: fun(state: { bytes: integer })?, max_bytes: integer?, max_entries: integer? }
-- cache: a folder, vmctl in $XDG_CACHE_HOME by default; arch: "amd64", "arm64" …, this machine's by default; the limits (64 GiB of content,
-- 4,000,000 names) are those of one image
---@return { path: string, digest: string, size: integer, config: table, has_init: string?, arch: string }|nil image; config has env, user,
-- cwd, entrypoint, cmd
---@return string? message
---@return string? code EINVAL, ENOENT, EPROTO (damaged, or for another architecture), ETOOBIG (over a limit)
function M.image(spec, opts)
  opts = settle(options.check(opts, known, "rootfs.image"))
  local what, err, code = spec_of.parse(spec)
  if not what then return nil, err, code end
  if not sources[what.kind] then return errors.fail("EINVAL", "root '%s' is no image, folder or archive", tostring(spec)) end
  local ok
  ok, err, code = fs.folders("/", opts.cache .. "/chain")
  if not ok then return nil, err, code end
  return errors.wrap("root " .. spec:sub(1, 200), image_of(what, opts))
end

return M
