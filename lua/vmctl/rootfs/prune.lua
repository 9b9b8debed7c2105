--- The contents of the cache of images, and its clean-up.
local cache = require "vmctl.rootfs.cache"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local staged = require "vmctl.base.staged"

local M = {}

local FRESH = 60              -- seconds in which an image that was asked for is opened
local OLD = 30 * 86400        -- seconds without a use

local function image_at(folder, name)
  local path = folder .. "/" .. name
  local info, used = fs.stat(path), fs.stat(path .. ".json")
  if not info or not used then return nil end
  return { kind = "image", path = path, name = "sha256:" .. name:sub(1, 64), size = info.allocated, used = used.mtime,
    created = info.mtime, from = cache.about(path).from }
end

-- A layout that skopeo keeps, so that an image that is pulled again brings new layers alone.
local function layout_at(folder, name)
  local path, size = folder .. "/" .. name, 0
  local used = fs.stat(path .. "/index.json")
  if not used then return nil end
  for _, blob in ipairs(fs.list(path .. "/blobs/sha256") or {}) do
    local info = fs.stat(path .. "/blobs/sha256/" .. blob)
    size = size + (info and info.allocated or 0)
  end
  return { kind = "layout", path = path, name = name, size = size, used = used.mtime }
end

-- An image's unpacked archive, whose layers can be read.
local function archive_at(folder, name)
  local path = folder .. "/" .. name
  local info = fs.stat(path)
  if not info then return nil end
  return { kind = "archive", path = path, name = name:sub(1, 64), size = info.allocated, used = info.mtime }
end

--- The entries of a cache, the one that was used last first. Waits.
---@param folder? string the cache; vmctl in $XDG_CACHE_HOME by default
---@return { kind: string, path: string, name: string, size: integer, used: integer, created: integer?, from: string? }[]
-- entries kind: "image", "layout" for the packed layers of an image that was pulled, or "archive" for one of an image that was packed as a
-- whole; size: bytes on the disk; used: seconds of
-- the epoch; from: what it was made of
function M.list(folder)
  folder = folder or cache.default()
  local entries = {}
  for _, name in ipairs(fs.list(folder .. "/chain") or {}) do
    entries[#entries + 1] = #name == 70 and name:find "^%x+%.erofs$" and image_at(folder .. "/chain", name) or nil
  end
  for _, name in ipairs(fs.list(folder .. "/oci") or {}) do
    entries[#entries + 1] = #name == 64 and layout_at(folder .. "/oci", name) or nil
  end
  for _, name in ipairs(fs.list(folder .. "/unpacked") or {}) do
    entries[#entries + 1] = #name == 68 and name:find "^%x+%.tar$" and archive_at(folder .. "/unpacked", name) or nil
  end
  table.sort(entries, function(a, b) return a.used > b.used or a.used == b.used and a.name < b.name end)
  return entries
end

-- Removes an entry, unless somebody makes it or a guest has it.
local function remove(entry)
  local making <close> = core.lock_file(entry.path .. ".lock")
  if not making then return false end
  if entry.kind == "layout" then
    local above <close> = core.fs.root(entry.path:match "^(.*)/")
    return above ~= nil and above:remove_all(entry.name) and fs.remove(entry.path .. ".lock") ~= nil
  end
  local file <close> = core.fs.open(entry.path)
  if file and not file:lock(true) then return false end
  for _, suffix in ipairs { "", ".json", ".lock" } do fs.remove(entry.path .. suffix) end
  return true
end

--- Removes an image from a cache. Waits.
---@param digest string
---@param folder? string the cache; vmctl in $XDG_CACHE_HOME by default
---@return true|nil, string?, string? code ENOENT; EBUSY: a guest has it, or it is being made
function M.remove(digest, folder)
  folder = (folder or cache.default()) .. "/chain"
  local entry = digest:find "^sha256:%x+$" and image_at(folder, digest:sub(8) .. ".erofs")
  if not entry then return errors.fail("ENOENT", "%s is not in the cache", digest) end
  if remove(entry) then return true end
  return errors.fail("EBUSY", "%s: a guest has it, or it is being made", digest)
end

-- Removes files that belong to no image: staged files and locks of processes that have ended.
local function sweep(folder, ending)
  for _, name in ipairs(fs.list(folder) or {}) do
    local image = name:match("^(%x+" .. ending .. ")%.")
    if image and image:find "%." == 65 and not fs.stat(folder .. "/" .. image) then
      local lock <close> = core.lock_file(folder .. "/" .. image .. ".lock")
      if lock then
        staged.remove_leftovers(folder .. "/" .. image)
        for _, suffix in ipairs { ".json", ".lock" } do fs.remove(folder .. "/" .. image .. suffix) end
      end
    end
  end
end

--- Removes from a cache images that were not used for long, and leftovers of killed processes. An image that a guest has stays, and so
--- does one that was asked for within the last minute. Waits.
---@param opts? { cache: string?, keep_bytes: integer?, unused: number? } keep_bytes: the entries that were used last stay, up to so many
-- bytes in all; unused: entries that were not used for so many seconds are removed (30 days, if neither is given)
---@return { kind: string, path: string, name: string, size: integer }[] removed
function M.prune(opts)
  opts = opts or {}
  local folder = opts.cache or cache.default()
  local entries, removed, total, now = M.list(folder), {}, 0, os.time()
  local unused = opts.unused or not opts.keep_bytes and OLD or math.huge
  for _, each in ipairs(entries) do total = total + each.size end
  for i = #entries, 1, -1 do
    local each = entries[i]
    local idle = now - each.used
    local wanted = idle >= unused or total > (opts.keep_bytes or math.huge)
    if wanted and (idle >= FRESH or unused == 0) and remove(each) then
      removed[#removed + 1] = each
      total = total - each.size
    end
  end
  sweep(folder .. "/chain", "%.erofs")
  sweep(folder .. "/unpacked", "%.tar")
  return removed
end

return M
