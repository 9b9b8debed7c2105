--- The content of a regular file for an archive: of a file with holes its parts alone.
local M = {}

local PIECE = 256 << 10
local MOST_PARTS = 20000 -- of a file with holes; one with more is read as if it had none

-- The parts of a file that are no holes, nil for a file without holes.
local function find_parts(file, size)
  local map, at, sum = {}, 0, 0
  while at < size do
    local from, to = file:extent(at)
    if not from or #map == MOST_PARTS then return nil end
    if not to or from >= size then break end
    to = math.min(to, size)
    map[#map + 1] = { offset = from, size = to - from }
    at, sum = to, sum + to - from
  end
  return sum < size and map or nil, sum
end

--- Adds the properties of an open file to its entry. Waits for the file system.
---@param entry vmctl.TarEntry
---@param info table of file:stat()
---@param file vmctl.File
function M.describe(entry, info, file)
  for _, name in ipairs { "mode", "uid", "gid", "mtime", "nsec", "size", "device", "inode", "links" } do entry[name] = info[name] end
  if info.allocated < info.size then
    local map, sum = find_parts(file, info.size)
    if map then entry.map, entry.real_size, entry.size = map, info.size, sum end
  end
end

--- Tells if a failure means that a file is no longer there (ESRCH: of a process that has ended).
---@param code string?
function M.has_gone(code) return code == "ENOENT" or code == "ESRCH" end

--- A reader of an open file's content, part by part.
---@param file vmctl.File
---@param entry vmctl.TarEntry
---@param state { read: integer, gone: boolean? } read: the bytes so far, 0 at first; gone: it has gone while it was read
---@return fun(n: integer): string?, string?, string? read "" at the end
---@return fun(): function again begins anew, without holes
function M.reader(file, entry, state)
  local map, i, at = entry.map, 1, 0 -- bytes of the part that have been read
  local function read(n)
    n = math.min(n, PIECE)
    if map then
      while map[i] and at == map[i].size do i, at = i + 1, 0 end
      if not map[i] then return "" end
      n = math.min(n, map[i].size - at)
    end
    local data, err, code
    if map then data, err, code = file:read(n, map[i].offset + at) else data, err, code = file:read(n) end
    if not data and M.has_gone(code) then
      state.gone = true
      return ""
    end
    if not data then return nil, err, code end
    at, state.read = at + #data, state.read + #data
    return data
  end
  return read, function()
    state.read, map = 0, nil
    local ok, err, code = file:seek(0, 0)
    return ok and read or function() return nil, err, code end
  end
end

return M
