--- The sources of an instance: an image's archive, a folder, a snapshot; each becomes a tree.
local fs = require "vmctl.base.fs"
local image = require "vmctl.cc_helper.vm.image"
local slice = require "vmctl.cc_helper.vm.slice"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"
local tree = require "vmctl.cc_helper.vm.tree"
local walk = require "vmctl.tar.walk"

local M = {}

local function nothing() return false end

--- Puts a folder of this machine, as it is now, into a tree.
---@param onto vmctl.CcTree
---@param folder string
---@param at string where in the tree; "" is its top
---@return true|nil, string?, string?
function M.graft(onto, folder, at)
  local root <close>, err, code = fs.root(folder)
  if not root then return nil, err, code end
  return walk.each(root, nothing, function(entry)
    local path = entry.path
    if entry.type == "file" then entry.content = slice.new(folder .. path, 0, entry.size) end
    if entry.type == "socket" or entry.type == "other" then return true end
    return onto:put(at .. path, entry)
  end)
end

local function from_snapshot(folder)
  local onto = tree.new()
  local about, err, code = snapshot_store.each(folder, function(entry) return onto:put(entry.path, entry) end)
  if not about then return nil, err, code end
  return onto, about
end

local function from_folder(folder)
  if snapshot_store.is_snapshot(folder) then return from_snapshot(folder) end
  local onto = tree.new()
  local ok, err, code = M.graft(onto, folder, "")
  if not ok then return nil, err, code end
  return onto, {}
end

-- An image that somebody has put into the cache: `<name>.tar` with what is no letter or digit as "_", or a snapshot's key.
local function from_cache(reference, cache, folder)
  local name = reference:gsub("[^%w.-]", "_")
  if reference:find "^%x+$" and snapshot_store.is_snapshot(cache .. "/" .. reference) then
    return from_snapshot(cache .. "/" .. reference)
  end
  local path = ("%s/%s.tar"):format(cache, name)
  if fs.stat(path) then return image.load(path, folder) end
  return nil, ("the image %s is not in the cache (as %s), and images are not pulled here"):format(reference, path), "ENOENT"
end

--- Loads the source that InstanceNew names.
---@param source { type: integer, path: string, reference: string, cache_dir: string }
---@param cache string where images and snapshots are
---@param folder string for what has to be unpacked; it must stay as long as the tree is used
---@return vmctl.CcTree|nil, table|string about how the image is to be run, string?
function M.load(source, cache, folder)
  if source.type == 0 then return image.load(source.path, folder) end
  if source.type == 1 then return from_folder(source.path) end
  return from_cache(source.reference, cache, folder)
end

--- Hands over all that a tree has, as a snapshot takes it.
---@param from vmctl.CcTree
---@param add fun(entry: vmctl.TarEntry, read: function?): true|nil, string?, string?
---@return true|nil, string?, string?
function M.each(from, add)
  return from:each(function(path, node)
    local entry = { path = path, type = node.type, mode = node.mode, uid = node.uid, gid = node.gid, mtime = node.mtime,
      link = node.link, major = node.major, minor = node.minor }
    if node.type ~= "file" then return add(entry) end
    if node.bytes then
      local rest = node.bytes
      return add(entry, function() local data = rest rest = nil return data end)
    end
    local reader <close>, err, code = slice.open(node.content)
    if not reader then return nil, err, code end
    return add(entry, function(n) return reader:read(n) end)
  end)
end

return M
