--- Reads files and folders of this machine, and handles those that change or vanish meanwhile.
local content = require "vmctl.tar.content"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local links = require "vmctl.tar.links"
local text = require "vmctl.text"
local walk = require "vmctl.tar.walk"

local M = {}

local source = {}
source.__index = source

local function never() return false end

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
    if not content.has_gone(code) or entry.path == "" then return nil, err, code end
    entry.links = 1 -- it has vanished: a further name cannot be a link to it
    return job.note("vanished", entry.path)
  end
  local guard <close> = file -- luacheck: ignore
  local before
  before, err, code = file:stat()
  if not before then return nil, err, code end
  if before.type ~= "file" then -- it was a file when the folder was read
    entry.links = 1
    return job.note("changed", entry.path)
  end
  content.describe(entry, before, file)
  local state = { read = 0 }
  local ok
  ok, err, code = visit(entry, content.reader(file, entry, state))
  if not ok then return nil, err, code end
  return note_changes(job, entry, file, before, state)
end

-- Visits a file with several names: the first name as a file, each further one as a hard link to it.
local function visit_hard(self, entry, visit, job)
  local first = self._links:find(entry)
  if not first then
    local ok, err, code = visit_file(self, "/" .. entry.path, entry, visit, job)
    if not ok then return nil, err, code end
    return self._links:keep(entry)
  end
  entry.type, entry.link, entry.size = "hard", first, 0
  return visit(entry)
end

-- Puts an entry's extended attributes into it; false if it has gone.
local function take_xattrs(self, path, entry)
  if not self._xattrs then return true end
  local found, err, code = self._root:xattrs(path)
  if not found and content.has_gone(code) then return false end
  if not found then return nil, err, code end
  entry.xattrs = next(found) and found or nil
  return true
end

local function visit_entry(self, entry, visit, job)
  local there, err, code = take_xattrs(self, entry.path, entry)
  if there == nil then return nil, err, code end
  entry.path = entry.path:sub(2)
  if not there then return job.note("vanished", entry.path) end
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
  local ok
  ok, err, code = take_xattrs(self, "/" .. name, top)
  if ok == nil then return nil, err, code end
  return visit_file(self, "/" .. name, top, visit, job)
end

--- Visits all entries. See vmctl.files.copy.
function source:each(visit, job)
  local top, err, code = fs.stat(self._path)
  if top and self._xattrs then self._path, err, code = fs.real(self._path) end
  if not top or not self._path then return nil, err, code end
  top.path = ""
  if top.type ~= "directory" then return visit_top_file(self, top, visit, job) end
  self._root, err, code = fs.root(self._path)
  if not self._root then return nil, err, code end
  local ok
  ok, err, code = take_xattrs(self, "/", top)
  if ok then ok, err, code = visit(top) end
  if not ok then return nil, err, code end
  return walk.each(self._root, self._skip or never, function(entry) return visit_entry(self, entry, visit, job) end,
    function(path) return job.note("vanished", path:sub(2)) end)
end

--- Makes a source of files and folders of this machine.
---@param path string
---@param skip? fun(path: string): boolean gets "/a/b" for an entry below the top; true leaves it out
---@param xattrs? boolean their extended attributes as well
function M.source(path, skip, xattrs)
  return setmetatable({ _path = path, _skip = skip, _xattrs = xattrs, _links = links.new() }, source)
end

return M
