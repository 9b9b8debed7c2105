--- How an image gets a name: pulled from a registry, built by a Dockerfile, or imported from files of this machine.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local process = require "vmctl.process"
local rootfs = require "vmctl.rootfs"
local text = require "vmctl.text"

local M = {}

local BUILD_LIMIT = 3600 -- seconds
local MOST_ID = 1000     -- bytes of the file with an image's id

local KNOWN = { replace = "boolean", cache = "string", arch = "string" }

local function progress_of(name)
  return function(state) log.progress(("making the image %s: %d MiB"):format(name, state.bytes >> 20)) end
end

local function keep(name, spec, opts, told)
  local ok, err, code = rootfs.check_name(name)
  if not ok then return nil, err, code end
  local image
  image, err, code = rootfs.image(spec, { cache = opts.cache, arch = opts.arch, on_progress = progress_of(name) })
  log.progress(nil)
  if not image then return nil, err, code end
  return rootfs.name(name, image, { from = told or spec, replace = opts.replace })
end

--- Pulls an image of a registry by skopeo, and keeps it under its name. An image that has this name already is replaced by the
--- registry's present one. Waits.
---@param name string as "debian:12" or "localhost:5000/tool:1"
---@param opts? { cache: string?, arch: string? } as for vmctl.rootfs.image
---@return { name: string, digest: string, created: integer }|nil image, string?, string? code ENOENT: no skopeo; EPROTO: its message
function M.pull(name, opts)
  opts = options.check(opts, KNOWN, "instance.pull_image")
  name = name:match "^docker://(.*)$" or name
  return keep(name, "docker://" .. name, { cache = opts.cache, arch = opts.arch, replace = true })
end

local function is_file(path)
  local found = core.fs.stat(path)
  return found and found.type == "file"
end

-- The kind of a file or folder, as a root's text begins.
local function kind_of(path, opts)
  local found, err, code = core.fs.stat(path)
  if not found then return nil, err, code end
  if found.type == "directory" then return is_file(path .. "/oci-layout") and is_file(path .. "/index.json") and "oci" or "dir" end
  if found.type ~= "file" then return errors.fail("EINVAL", "%s is a %s: a file or a folder expected", path, found.type) end
  return rootfs.archive_kind(path, { cache = opts.cache, on_progress = progress_of(path) }) or "tar" -- whose reader reports the mistake
end

-- "./tool-1.tar.gz" is tool-1, "debian/" is debian.
local function name_of(path)
  local last = path:match "([^/]+)/*$" or ""
  for _, ending in ipairs { "%.gz$", "%.xz$", "%.zst$", "%.bz2$", "%.tgz$", "%.tar$" } do last = last:gsub(ending, "") end
  return last
end

--- Imports an OCI layout (a folder or an archive), an archive of `docker save`, a folder or an archive of a root file system, and keeps it
--- under a name. Waits.
---@param path string
---@param name? string that of the file, without its ending, by default
---@param opts? { replace: boolean?, cache: string?, arch: string? } replace: an image that has this name already loses it
---@return { name: string, digest: string, created: integer }|nil image
---@return string?, string? code EEXIST: another image has this name; ENOENT, EINVAL; as vmctl.rootfs.image
function M.import(path, name, opts)
  opts = options.check(opts, KNOWN, "instance.import_image")
  name = name or name_of(fs.real(path) or path)
  local ok, err, code = rootfs.check_name(name)
  local kind
  if ok then kind, err, code = kind_of(path, opts) end
  if not kind then return nil, err, code end
  if not opts.replace then
    local there = rootfs.find(name)
    if there and there.name == name then return rootfs.taken(name) end
  end
  local tagged = kind ~= "dir" and kind ~= "tar" and path:find ":[%w_][%w_.-]*$"
  return keep(name, ("%s:%s%s"):format(kind, path, tagged and ":" or ""), opts)
end

local function run(what, command)
  command.stdin, command.stdout, command.stderr, command.sweep, command.death_signal = "null", 2, "inherit", true, "TERM"
  local child <close>, err, code = process.spawn(command) -- luacheck: ignore
  if not child and code == "ENOENT" then
    return errors.fail("ENOENT", "images are built by buildah, which is not installed (Debian: apt-get install buildah)")
  end
  if not child then return nil, err, code end
  local record
  record, err, code = child:wait(BUILD_LIMIT)
  if not record then return nil, ("%s: %s"):format(what, err), code end
  if record.exit_code == 0 then return true end
  return errors.fail("EREMOTE", "%s: %s ended with %s", what, command[1], record.signal or "exit code " .. tostring(record.exit_code))
end

local function build(folder, context, opts)
  local id_file = folder .. "/id"
  local command = { "buildah", "build", "--iidfile", id_file }
  for _, pair in ipairs { { "--file", opts.file }, { "--arch", opts.arch }, { "--isolation", opts.isolation } } do
    if pair[2] then table.move(pair, 1, 2, #command + 1, command) end
  end
  for _, argument in ipairs(opts.args or {}) do table.move({ "--build-arg", argument }, 1, 2, #command + 1, command) end
  command[#command + 1] = context
  local ok, err, code = run("build " .. context, command)
  if not ok then return nil, err, code end
  local id = (core.fs.read(id_file, MOST_ID) or ""):match "%x+%s*$"
  if not id then return errors.fail("EPROTO", "build %s: buildah named no image", context) end
  return run("build " .. context, { "buildah", "push", "--quiet", id:match "%x+", ("oci:%s/layout:image"):format(folder) })
end

local BUILD = { file = "string", args = "table", isolation = "string", cache = "string", arch = "string" }

--- Builds an image by a Dockerfile with buildah, whose output goes to the standard error, and keeps it under a name. An image that has
--- this name already is replaced. Waits.
---@param context string the folder that the Dockerfile copies from
---@param name string
---@param opts? { file: string?, args: string[]?, isolation: string?, cache: string?, arch: string? } file: the Dockerfile (that of the
-- folder); args: NAME=VALUE for its ARG; isolation: buildah's "oci", "rootless" or "chroot"
---@return { name: string, digest: string, created: integer }|nil image
---@return string?, string? code ENOENT: no buildah, no folder, no Dockerfile; EREMOTE: buildah failed; as vmctl.rootfs.image
function M.build(context, name, opts)
  opts = options.check(opts, BUILD, "instance.build_image")
  local ok, err, code = rootfs.check_name(name)
  if not ok then return nil, err, code end
  local found = core.fs.stat(context)
  if not found or found.type ~= "directory" then return errors.fail("ENOENT", "build: there is no folder %s", context) end
  local file = opts.file
  if file and not is_file(file) then return errors.fail("ENOENT", "build: there is no file %s", file) end
  if not file and not is_file(context .. "/Dockerfile") and not is_file(context .. "/Containerfile") then
    return errors.fail("ENOENT", "build: %s has no Dockerfile: name one (-f)", context)
  end
  local folder
  folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-build")
  if not folder then return nil, err, code end
  local gone <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    local above <close> = core.fs.root(folder:match "^(.*)/")
    if above then above:remove_all("/" .. text.base(folder)) end
  end })
  ok, err, code = build(folder, context, opts)
  if not ok then return nil, err, code end
  return keep(name, ("oci:%s/layout:image"):format(folder), { cache = opts.cache, arch = opts.arch, replace = true },
    "built of " .. (fs.real(context) or context))
end

return M
