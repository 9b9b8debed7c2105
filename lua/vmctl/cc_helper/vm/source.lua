--- The sources of an instance: an image's archive or layout, a folder, a snapshot. Each becomes an image of a root file system, which is
--- kept beside the snapshots.
local archive = require "vmctl.tar.write"
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local rootfs = require "vmctl.rootfs"
local slice = require "vmctl.rootfs.slice"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"
local text = require "vmctl.text"

local M = {}

-- The helper's names for an image's settings.
local function describe(config)
  local environment = {}
  for name, value in pairs(config.env) do environment[#environment + 1] = name .. "=" .. value end
  table.sort(environment)
  return { entrypoint = config.entrypoint, command = config.cmd, environment = environment, user = config.user, work_dir = config.cwd }
end

--- The image of a root as vmctl.rootfs.image takes it, in a cache. Waits.
---@return { path: string, digest: string }|nil image
---@return table|string about entrypoint, command, environment, user, work_dir; or a message
---@return string? code
function M.image(root, cache)
  local image, err, code = rootfs.image(root, { cache = cache })
  if not image then return nil, err, code end
  return image, describe(image.config)
end

-- An entry of a snapshot, written with its content.
local function write_entry(write, entry)
  if not entry.content then return archive.entry(write, entry, nil, "pax") end
  local reader <close>, err, code = slice.open(entry.content)
  if not reader then return nil, err, code end
  entry.size = reader.size
  return archive.entry(write, entry, function(n) return reader:read(n) end, "pax")
end

local function write_archive(folder, path)
  local file, err, code = fs.open(path, "wct", 384)
  if not file then return nil, err, code end
  local function write(bytes) return file:write(bytes) end
  local ok
  ok, err, code = snapshot_store.each(folder, function(entry)
    core.yield()
    return write_entry(write, entry)
  end)
  if ok then ok, err, code = archive.finish(write) end
  local closed, why, how = file:close()
  if not ok then return nil, err, code end
  if not closed then return nil, why, how end
  return true
end

local function from_snapshot(folder)
  local about, err, code = snapshot_store.describe(folder)
  if not about then return nil, err, code end
  local cache = text.split(text.strip_slashes(folder)) or "."
  if about.root then
    local path = ("%s/chain/%s.erofs"):format(cache, about.root)
    if not fs.stat(path) then return nil, ("%s: its image has gone from the cache (%s)"):format(folder, path), "ENOENT" end
    return { path = path, digest = "sha256:" .. about.root }, about.image
  end
  local image
  image, err, code = rootfs.made("snapshot " .. about.key, function(path) return write_archive(folder, path) end, { cache = cache })
  if not image then return nil, err, code end
  return image, about.image
end

local function from_folder(folder, cache)
  if snapshot_store.is_snapshot(folder) then return from_snapshot(folder) end
  if fs.stat(folder .. "/oci-layout") and fs.stat(folder .. "/index.json") then return M.image("oci:" .. folder .. ":", cache) end
  return M.image("dir:" .. folder, cache)
end

-- An image that a user has put into the cache: `<name>.tar`, where "_" replaces all but letters, digits, "." and "-", or a snapshot's key.
local function from_cache(reference, cache)
  local name = reference:gsub("[^%w.-]", "_")
  if reference:find "^%x+$" and snapshot_store.is_snapshot(cache .. "/" .. reference) then
    return from_snapshot(cache .. "/" .. reference)
  end
  local path = ("%s/%s.tar"):format(cache, name)
  if fs.stat(path) then return M.image("docker-archive:" .. path .. ":", cache) end
  return nil, ("the image %s is not in the cache (as %s), and images are not pulled here"):format(reference, path), "ENOENT"
end

--- Finds or makes the image of the source that InstanceNew names. Waits.
---@param source { type: integer, path: string, reference: string }
---@param cache string where images and snapshots are
---@return { path: string, digest: string }|nil image
---@return table|string about how the image is to be run, or a message
---@return string? code
function M.find(source, cache)
  if source.type == 0 then return M.image("docker-archive:" .. source.path .. ":", cache) end
  if source.type == 1 then return from_folder(source.path, cache) end
  return from_cache(source.reference, cache)
end

return M
