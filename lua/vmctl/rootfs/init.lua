--- Root file systems for guests: an image, a folder or an archive becomes one read-only EROFS, which is kept.
local archive_kind = require "vmctl.rootfs.archive_kind"
local cache = require "vmctl.rootfs.cache"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local named = require "vmctl.rootfs.named"
local oci = require "vmctl.rootfs.oci"
local options = require "vmctl.base.options"
local prune = require "vmctl.rootfs.prune"
local sources = require "vmctl.rootfs.sources"
local spec_of = require "vmctl.rootfs.spec"

local M = {}

local MAX_BYTES = 64 << 30
local MAX_ENTRIES = 4000000
local SHOWN = 200 -- bytes of a root in a message
local NATIVE = { x86_64 = "amd64", aarch64 = "arm64", riscv64 = "riscv64" }
local known = { cache = "string", arch = "string", on_progress = "callable", max_bytes = "integer>0", max_entries = "integer>0" }

M.parse, M.list, M.prune, M.remove = spec_of.parse, prune.list, prune.prune, prune.remove

--- Images under names, which a root "image:NAME" takes. As vmctl.rootfs.named has them.
M.named, M.name, M.find, M.forget = named.list, named.keep, named.find, named.forget
M.check_name, M.taken = named.check_name, named.taken

-- An image that has a name.
local function of_name(what, arch)
  local entry, err, code = named.find(what.name)
  if not entry then return nil, err, code end
  if entry.arch ~= arch then return errors.fail("EPROTO", "the image '%s' is for %s, not for %s", entry.name, entry.arch, arch) end
  local info
  info, err, code = fs.stat(entry.path)
  if not info then return nil, err, code end
  return { path = entry.path, digest = entry.digest, size = info.size, config = entry.config, has_init = entry.has_init, arch = entry.arch,
    name = entry.name }
end

local function settle(given, caller)
  local opts = options.merge({ cache = cache.default(), max_bytes = MAX_BYTES, max_entries = MAX_ENTRIES },
    options.check(given, known, caller, 4))
  if not opts.arch then
    local machine = sources.output_of({ "uname", "-m" }, 100) or ""
    opts.arch = NATIVE[machine:match "%S*"] or "amd64"
  end
  if opts.cache:sub(1, 1) ~= "/" then opts.cache = assert(fs.real ".") .. "/" .. opts.cache end
  return opts
end

--- Makes the image of a root, or finds it in the cache: one read-only EROFS. Waits. gzip, zstd, xz and bzip2 unpack layers, tar reads
--- folders, skopeo brings images of registries.
---@param spec string as for parse: an image, a folder or an archive
---@param opts? { cache: string?, arch: string?, on_progress: fun(state: { bytes: integer })?, max_bytes: integer?, max_entries: integer? }
-- cache: a folder, vmctl in $XDG_CACHE_HOME by default; arch: "amd64", "arm64" …, this machine's by default; the limits (64 GiB of content,
-- 4,000,000 names) are those of one image
---@return { path: string, digest: string, size: integer, config: table, has_init: string?, arch: string, no_root: string? }|nil image
-- config has env, user, cwd, entrypoint, cmd; has_init: the path of an init that stage 1 finds; no_root: why it is no root file system,
-- where that is certain
---@return string? message
---@return string? code EINVAL, ENOENT, EPROTO (damaged, or for another architecture), ETOOBIG (over a limit)
function M.image(spec, opts)
  opts = settle(opts, "rootfs.image")
  local what, err, code = spec_of.parse(spec)
  if not what then return nil, err, code end
  if what.kind == "image" then return errors.wrap("root " .. spec:sub(1, SHOWN), of_name(what, opts.arch)) end
  if not sources[what.kind] then return errors.fail("EINVAL", "root '%s' is no image, folder or archive", tostring(spec)) end
  opts.from = spec:sub(1, SHOWN)
  local source, image
  source, err, code = sources[what.kind](what, opts)
  local held <close> = source and source.held -- luacheck: ignore
  if source then image, err, code = cache.get(source.key, source.build, opts) end
  if not image then return errors.wrap("root " .. opts.from, nil, err, code) end
  image.config = source.config or oci.describe {}
  return image
end

--- Refuses an image of a folder or an archive that is certainly no root file system: nothing in it could run. Does not wait.
---@param spec string that it was made of
---@param image table as from image
---@return true|nil, string?, string? code EINVAL
function M.check_root(spec, image)
  if not image.no_root or not (spec:find "^dir:" or spec:find "^tar:") then return true end
  return errors.fail("EINVAL", "root %s: it is no root file system: %s", spec:sub(1, SHOWN), image.no_root)
end

--- Tells an archive of an image from another one, by its contents. Waits: a compressed one may be unpacked into the cache.
---@param path string
---@param opts? table as for image
---@return "docker-archive"|"oci-archive"|nil kind nil: neither, or no archive
function M.archive_kind(path, opts) return archive_kind.of(path, settle(opts, "rootfs.archive_kind")) end

--- Makes the image of an archive that a function writes, or finds it in the cache. Waits.
---@param key string names the content: another content has another key
---@param write fun(path: string): any, string?, string? writes a tar archive into a file that is to be made
---@param opts? table as for image
---@return table|nil image as from image, without config
---@return string? message, string? code
function M.made(key, write, opts)
  return cache.get("made " .. key, function(build, on_progress) return sources.lay_file(build, write, on_progress) end,
    settle(opts, "rootfs.made"))
end

return M
