--- Reads files and folders of this machine, and handles those that change or vanish meanwhile.
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local text = require "vmctl.text"
local walk = require "vmctl.tar.walk"

local M = {}

local PIECE = 256 << 10
local MOST_PARTS = 20000 -- of a sparse file; a file with more parts is read as if it had no holes

local source = {}
source.__index = source

local function never() return false end

local function has_gone(code)
  return code == "ENOENT" or code == "ESRCH"
end

-- The data parts of a sparse file, nil for a file without holes.
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

local function describe(entry, info, file)
  for _, name in ipairs { "mode", "uid", "gid", "mtime", "size" } do entry[name] = info[name] end
  entry.nsec = info.changed % 1000000000
  if info.allocated < info.size then
    local map, sum = find_parts(file, info.size)
    if map then entry.map, entry.real_size, entry.size = map, info.size, sum end
  end
end

-- Makes a reader of a file's content, part by part.
local function new_reader(file, entry, state)
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
    if not data and has_gone(code) then
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

local function note_changes(job, entry, file, before, state)
  if state.gone then return job.note("vanished", entry.path) end
  local now, err, code = file:stat()
  if not now then return nil, err, code end
  if now.changed ~= before.changed or now.size ~= before.size or state.read ~= entry.size then job.note("changed", entry.path) end
  return true
end

local function visit_file(self, path, entry, visit, job)
  local file, err, code = self._root:open(path, entry.path == "" and "r" or "rl")
  if not file then
    if has_gone(code) and entry.path ~= "" then return job.note("vanished", entry.path) end
    return nil, err, code
  end
  local guard <close> = file -- luacheck: ignore
  local before
  before, err, code = file:stat()
  if not before then return nil, err, code end
  if before.type ~= "file" then return job.note("changed", entry.path) end -- it was a file when the folder was read
  describe(entry, before, file)
  local state = { read = 0 }
  local ok
  ok, err, code = visit(entry, new_reader(file, entry, state))
  if not ok then return nil, err, code end
  return note_changes(job, entry, file, before, state)
end

-- Visits a file with several names: the first name as a file, each further one as a hard link to it.
local function visit_hard(self, entry, visit, job)
  local key = ("%d:%d"):format(entry.device, entry.inode)
  local first = self._names[key]
  if not first then
    self._names[key] = entry.path
    return visit_file(self, "/" .. entry.path, entry, visit, job)
  end
  entry.type, entry.link, entry.size = "hard", first, 0
  return visit(entry)
end

local function visit_entry(self, entry, visit, job)
  entry.path = entry.path:sub(2)
  if entry.type ~= "file" then return visit(entry) end
  if entry.links > 1 and job.sink.hard then return visit_hard(self, entry, visit, job) end
  return visit_file(self, "/" .. entry.path, entry, visit, job)
end

local function visit_top_file(self, top, visit, job)
  if top.type ~= "file" then return errors.fail("EINVAL", "it is a %s, which is not copied", top.type) end
  local folder, name = text.split(text.strip_slashes(self._path))
  local err, code
  self._root, err, code = fs.root(folder == "" and "/" or folder or ".")
  if not self._root then return nil, err, code end
  return visit_file(self, "/" .. name, top, visit, job)
end

--- Visits all entries. See vmctl.files.copy.
function source:each(visit, job)
  local top, err, code = fs.stat(self._path)
  if not top then return nil, err, code end
  top.path, top.nsec = "", top.changed % 1000000000
  if top.type ~= "directory" then return visit_top_file(self, top, visit, job) end
  self._root, err, code = fs.root(self._path)
  if not self._root then return nil, err, code end
  local ok
  ok, err, code = visit(top)
  if not ok then return nil, err, code end
  return walk.each(self._root, self._skip or never, function(entry) return visit_entry(self, entry, visit, job) end,
    function(path) return job.note("vanished", path:sub(2)) end)
end

--- Makes a source of files and folders of this machine.
---@param path string
---@param skip? fun(path: string): boolean gets "/a/b" for an entry below the top; true leaves it out
function M.source(path, skip)
  return setmetatable({ _path = path, _skip = skip, _names = {} }, source)
end

return M
