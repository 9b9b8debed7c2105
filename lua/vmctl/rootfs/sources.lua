--- The sources that an image can be made of. Each gives { key = a text that names its content, config = an image's settings for commands,
--- build = function(build, on_progress), which adds its layers, held = an object that the caller closes when it needs no more layers }.
local cache = require "vmctl.rootfs.cache"
local core = require "vmctl.core"
local docker = require "vmctl.rootfs.docker"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local layer = require "vmctl.rootfs.layer"
local oci = require "vmctl.rootfs.oci"
local pieces = require "vmctl.base.pieces"
local process = require "vmctl.process"
local said = require "vmctl.rootfs.said"
local store = require "vmctl.rootfs.store"
local unpacked = require "vmctl.rootfs.unpacked"

local M = {}

local PULL_LIMIT = 3600       -- seconds
local LISTING = 64 << 20      -- bytes

--- A command's output; its exit code must be 0. Waits.
---@param command string[]
---@param most integer bytes
---@return string|nil, string?, string?
function M.output_of(command, most)
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

-- Checks the digest of a packed layer before it is used.
local function check_packed(build, i, each)
  local found, err, code = layer.digest(build, each.part)
  if not found then return nil, ("layer %d: %s"):format(i, err), code end
  if found == each.hex then return true end
  return errors.fail("EPROTO", "layer %d: its digest is sha256:%s, not sha256:%s", i, found, each.hex)
end

local function build_layers(image)
  return function(build, on_progress)
    for i, each in ipairs(image.layers) do
      local ok, err, code = true, nil, nil
      if each.hex and "sha256:" .. each.hex ~= each.diff_id then ok, err, code = check_packed(build, i, each) end
      if not ok then return nil, err, code end
      local id
      id, err, code = layer.from_part(build, each.part, on_progress)
      if not id then return nil, ("layer %d: %s"):format(i, err), code end
      if "sha256:" .. id ~= each.diff_id then
        return errors.fail("EPROTO", "layer %d: unpacked, its digest is sha256:%s, not %s", i, id, each.diff_id)
      end
    end
    return true
  end
end

local function of_image(image, err, code)
  if not image then return nil, err, code end
  local ids = {}
  for i, each in ipairs(image.layers) do ids[i] = each.diff_id end
  return { key = "oci " .. table.concat(ids, " "), config = oci.describe(image.config), build = build_layers(image) }
end

function M.oci(what, opts) return of_image(oci.open(store.folder(what.path), what.tag, opts.arch)) end

local function of_archive(what, path, opts)
  local archive, err, code = store.archive(path)
  if not archive then return nil, err, code end
  local is_docker = what.kind == "docker-archive" and archive:find "manifest.json"
  if not is_docker and not archive:find "index.json" then
    return errors.fail("ENOENT", "neither manifest.json nor index.json is in it, and so no image: a root file system is tar:FILE")
  end
  return of_image((is_docker and docker or oci).open(archive, what.tag, opts.arch))
end

-- Archives that `docker save` writes today are layouts as well.
M["docker-archive"] = function(what, opts)
  local path, held, code = unpacked.find(what.path, opts)
  if not path then return nil, held, code end
  local source, err
  source, err, code = of_archive(what, path, opts)
  if source then
    source.held = held
    return source
  end
  if held then held:close() end
  return nil, err, code
end

M["oci-archive"] = M["docker-archive"]

-- skopeo's message without the time and the level that it puts before it.
local function plain(message)
  local before, words = message:match '^(.-)time="[^"]*" level=%a+ msg="(.*)"$'
  return words and before .. words:gsub("\\(.)", "%1") or message
end

-- A registry's messages about a name that it does not have, or not for everybody.
local UNKNOWN = { "manifest unknown", "name unknown", "not found", "denied", "unauthorized" }

local function next_step(name, message)
  for _, words in ipairs(UNKNOWN) do
    if message:find(words, 1, true) then
      return (": is the name right? skopeo list-tags docker://%s shows its tags"):format((name:gsub("[:@][^/]*$", "")))
    end
  end
  return ""
end

local function pull(name, folder, opts)
  local host = name:match "^([^/:]+)"
  local command = { "skopeo", "copy", "--quiet", "--override-arch", opts.arch, "--override-os", "linux" }
  if host == "127.0.0.1" or host == "localhost" then command[#command + 1] = "--src-tls-verify=false" end
  command[#command + 1] = "docker://" .. name
  command[#command + 1] = "oci:" .. folder .. ":image"
  local ok, err, code = M.output_of(command, 1 << 20)
  if not ok and code == "ENOENT" then return errors.fail("ENOENT", "images of registries are pulled by skopeo, which is not installed") end
  if not ok then return nil, plain(err) .. next_step(name, err), code end
  return true
end

-- A name with a digest means one image for ever. Two processes do not pull the same one at a time.
function M.docker(what, opts)
  local folder = opts.cache .. "/oci/" .. core.sha256(opts.arch .. " " .. what.name):hex()
  local ok, err, code = fs.folders("/", folder, { folder_mode = 448 })
  if not ok then return nil, err, code end
  local lock <close>, why, how = cache.lock(folder .. ".lock")
  if not lock then return nil, why, how end
  local is_there = what.name:find("@sha256:", 1, true) and fs.stat(folder .. "/index.json")
  if not is_there then ok, err, code = pull(what.name, folder, opts) end
  if not ok then return nil, err, code end
  return M.oci({ path = folder, tag = "image" }, opts)
end

-- Of archives as they are made today; asked for one that cannot be read.
local function is_tar(path)
  local head = unpacked.head(path, 512) or ""
  return head:sub(258, 262) == "ustar"
end

function M.tar(what)
  local info, err, code = fs.stat(what.path)
  if not info then return nil, err, code end
  if info.type == "directory" then return errors.fail("EINVAL", "%s: a folder, and no archive: dir:%s", what.path, what.path) end
  if info.type ~= "file" then return errors.fail("EINVAL", "%s: not a regular file", what.path) end
  local told
  told, err, code = M.output_of({ "sha256sum", "--", what.path }, 1 << 16)
  if not told then return nil, err, code end
  local function build(made, on_progress)
    local ok, why, number = layer.from_file(made, what.path, on_progress)
    if not ok and number == "EPROTO" and not is_tar(what.path) then
      return errors.fail(number, "it is no tar archive (a disk is disk:%s): %s", what.path, why)
    end
    return ok, why, number
  end
  return { key = ("tar %s"):format(told:match "%x+"), build = build }
end

--- Adds an archive that a function writes, by a temporary file. Waits.
---@param write fun(path: string): any, string?, string?
function M.lay_file(build, write, on_progress)
  local folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-rootfs")
  if not folder then return nil, err, code end
  local path = folder .. "/layer.tar"
  local gone <close> = setmetatable({}, { __close = function() os.remove(path) os.remove(folder) end }) -- luacheck: ignore
  local ok
  ok, err, code = write(path)
  if not ok then return nil, err, code end
  return layer.from_file(build, path, on_progress)
end

local LIST = "LC_ALL=C; export LC_ALL; cd -- \"$1\" && find . -printf '%p\\0%y %i %m %U %G %s %T@ %C@ %l\\0'"

function M.dir(what)
  local info, err, code = fs.stat(what.path)
  if not info then return nil, err, code end
  if info.type ~= "directory" then
    return errors.fail("ENOTDIR", "%s: not a folder: an archive is tar:FILE, a disk disk:FILE", what.path)
  end
  local path = assert(fs.real(what.path))
  local listing
  listing, err, code = M.output_of({ "sh", "-c", LIST, "sh", path }, LISTING)
  if not listing then return nil, err, code end
  local function build(made, on_progress)
    return layer.from_command(made, { "tar", "--create", "--format=posix", "--sort=name", "--numeric-owner", "--sparse", "--xattrs",
      "--xattrs-include=*", "--pax-option=delete=atime,delete=ctime", "--directory", path, ".", stdin = "null" }, on_progress)
  end
  return { key = ("dir %s %s"):format(path, core.sha256(listing):hex()), build = build }
end

return M
