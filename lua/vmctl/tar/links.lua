--- The files with several names that a walk has met: the first name stands for the file, each further one is a hard link to it. A
--- file is forgotten once all of its names have come.
local errors = require "vmctl.errors"

local M = {}

local MOST = 200000        -- files whose further names have not come
local MOST_NAMES = 32 << 20 -- bytes of their first names

---@class vmctl.TarLinks
local methods = {}
local mt = { __name = "vmctl.TarLinks", __index = methods }

--- An empty table.
---@param most? integer files (200,000)
---@return vmctl.TarLinks
function M.new(most)
  return setmetatable({ _names = {}, _left = {}, _count = 0, _bytes = 0, _most = most or MOST }, mt)
end

local function key_of(entry) return ("%d:%d"):format(entry.device, entry.inode) end

--- The first name of an entry's file, nil where this is the first.
---@param entry vmctl.TarEntry
---@return string?
function methods:find(entry)
  if entry.links < 2 or entry.type == "directory" then return nil end
  local key = key_of(entry)
  local name = self._names[key]
  if not name then return nil end
  self._left[key] = self._left[key] - 1
  if self._left[key] == 0 then
    self._names[key], self._left[key] = nil, nil
    self._count, self._bytes = self._count - 1, self._bytes - #name
  end
  return name
end

--- Keeps an entry's path as its file's first name, once it has been written.
---@param entry vmctl.TarEntry
---@return true|nil, string?, string? code ETOOBIG: more files than there is room for
function methods:keep(entry)
  if entry.links < 2 or entry.type == "directory" then return true end
  if self._count >= self._most or self._bytes + #entry.path > MOST_NAMES then
    return errors.fail("ETOOBIG", "%s: more than %d files with further names that have not come", entry.path, self._count)
  end
  local key = key_of(entry)
  self._names[key], self._left[key] = entry.path, entry.links - 1
  self._count, self._bytes = self._count + 1, self._bytes + #entry.path
  return true
end

return M
