--- The images of this user: those that have a name, those in the cache alone, and the instances that were made of them.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local rootfs = require "vmctl.rootfs"
local store = require "vmctl.instance.store"

local M = {}

-- Lists the instances that were made of each image, by digest.
local function users_by_digest()
  local users = {}
  for _, name in ipairs(store.names()) do
    local spec = store.read(name)
    local digest = spec and spec.image and spec.image.digest
    if digest then
      users[digest] = users[digest] or {}
      table.insert(users[digest], name)
    end
  end
  return users
end

local function size_of(path)
  local info = core.fs.stat(path)
  return info and info.allocated or 0
end

--- The images of this user, those with a name first. Waits for the file system alone.
---@return { name: string?, digest: string, size: integer, created: integer, from: string, used_by: string[], path: string }[]|nil
-- name: nil of an image that only the cache has, which may be made anew from `from`; size: bytes on the disk; created: seconds of the
-- epoch; used_by: instances
---@return string?, string?
function M.list()
  local named, err, code = rootfs.named()
  if not named then return nil, err, code end
  local users, list, has_name = users_by_digest(), {}, {}
  for _, each in ipairs(named) do
    has_name[each.digest] = true
    list[#list + 1] = { name = each.name, digest = each.digest, size = size_of(each.path), created = each.created, from = each.from,
      used_by = users[each.digest] or {}, path = each.path }
  end
  for _, each in ipairs(rootfs.list()) do
    if each.kind == "image" and not has_name[each.name] then
      list[#list + 1] = { digest = each.name, size = each.size, created = each.created, from = each.from or "", used_by = users[each.name]
        or {}, path = each.path }
    end
  end
  return list
end

-- Finds an image by its name, else by its digest or the beginning of that, else by its source.
local function find(list, reference)
  local by_digest = reference:match "^sha256:(%x+)$" or reference:match "^%x+$"
  local found
  for _, each in ipairs(list) do
    if each.name == reference then return each end
    local is_it = not each.name and each.from == reference
      or by_digest and #by_digest >= 6 and each.digest:sub(8, 7 + #by_digest) == by_digest
    if is_it and found then return errors.fail("EINVAL", "several images are '%s': name one, or its whole digest", reference) end
    if is_it then found = each end
  end
  if found then return found end
  return errors.fail("ENOENT", "there is no image '%s' here%s", reference, store.guess(reference, M.names(list)))
end

--- The names of images. Does not wait.
---@param list table[] as from `list`
---@return string[]
function M.names(list)
  local names = {}
  for _, each in ipairs(list) do names[#names + 1] = each.name end
  return names
end

local function count_names(list, digest)
  local count = 0
  for _, each in ipairs(list) do
    if each.name and each.digest == digest then count = count + 1 end
  end
  return count
end

local function check_unused(entry)
  if #entry.used_by > 0 then
    return errors.fail("EBUSY", "the image '%s' is used by the instance%s %s", entry.name or entry.digest:sub(1, 19),
      #entry.used_by > 1 and "s" or "", table.concat(entry.used_by, ", "))
  end
  local file <close> = core.fs.open(entry.path)
  if file and not file:lock(true) then
    return errors.fail("EBUSY", "the image '%s' is used by a guest that runs", entry.name or entry.digest:sub(1, 19))
  end
  return true
end

--- Removes an image: its name, and with its last name the image itself, also from the cache. One that an instance was made of, or that a
--- guest runs with, stays. Waits.
---@param reference string its name, its digest or six digits of it, or what an image without a name was made of
---@return { name: string?, digest: string, freed: boolean }|nil removed freed: the image has gone, and not only one of its names
---@return string? message, string? code ENOENT, EBUSY (the message names the instances), EINVAL: several are meant
function M.remove(reference)
  local list, err, code = M.list()
  if not list then return nil, err, code end
  local entry, ok
  entry, err, code = find(list, reference)
  if not entry then return nil, err, code end
  local is_last = not entry.name or count_names(list, entry.digest) == 1
  if is_last then
    ok, err, code = check_unused(entry)
    if not ok then return nil, err, code end
  end
  if is_last then
    ok, err, code = rootfs.remove(entry.digest)
    if not ok and not (entry.name and code == "ENOENT") then return nil, err, code end
  end
  if entry.name then
    ok, err, code = rootfs.forget(entry.name)
    if not ok then return nil, err, code end
  end
  return { name = entry.name, digest = entry.digest, freed = is_last }
end

return M
