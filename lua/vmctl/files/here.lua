--- This machine's side of a copy. What comes from a guest is not trusted: no link leads out of the folder that gets it, what is
--- there is replaced only by something whole, and nobody's privileges come with it.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local walk = require "vmctl.tar.walk"

local M = {}

local PRIVILEGES = 3072 -- mode bits 06000: set-user-id and set-group-id
local PIECE = 256 << 10
local MOST_NAME = 255

--- Splits a path into the folder and the last name.
---@return string folder, string name "" for "/" and what ends in "." or ".."
function M.split(path)
  path = path:gsub("(.)/+$", "%1")
  local folder, name = path:match "^(.*)/([^/]*)$"
  if not folder then folder, name = ".", path end
  if name == "." or name == ".." then return path, "" end
  return folder == "" and "/" or folder, name
end

local function never() return false end

local source = {}
source.__index = source

local function visit_file(self, path, entry, visit)
  local file, err, code = self._root:open(path, "r")
  if not file then return nil, err, code end
  local guard <close> = file -- luacheck: ignore
  return visit(entry, function(n) return file:read(math.min(n, PIECE)) end)
end

local function visit_entry(self, entry, visit)
  local path = entry.path
  entry.path = path:sub(2)
  if entry.type == "file" then return visit_file(self, path, entry, visit) end
  return visit(entry)
end

function source:each(visit)
  local top, err, code = core.fs.stat(self._path)
  if not top then return nil, err, code end
  if top.type ~= "directory" then
    local folder, name = M.split(self._path)
    self._root, err, code = core.fs.root(folder)
    if not self._root then return nil, err, code end
    top.path = ""
    return visit_file(self, "/" .. name, top, visit)
  end
  self._root, err, code = core.fs.root(self._path)
  if not self._root then return nil, err, code end
  top.path = ""
  local ok
  ok, err, code = visit(top)
  if not ok then return nil, err, code end
  return walk.each(self._root, self._skip or never, function(entry) return visit_entry(self, entry, visit) end)
end

--- Files and folders of this machine.
---@param path string
---@param skip? fun(path: string): boolean "/a/b" for what is below the top
function M.source(path, skip)
  return setmetatable({ _path = path, _skip = skip }, source)
end

-- Where things go

local sink = {}
sink.__index = sink

-- Names that lead elsewhere are none.
local function place(self, path)
  for part in path:gmatch "[^/]+" do
    if part == ".." or #part > MOST_NAME then return nil, ("%s: not a name for a file"):format(path), "EINVAL" end
  end
  return "/" .. self._name .. (path ~= "" and "/" .. path or "")
end

local function dress(self, path, entry)
  local root = self._root
  local ok, err, code = true, nil, nil
  if self._owner == "keep" then ok, err, code = root:chown(path, entry.uid, entry.gid, true) end
  if ok and entry.type ~= "link" then ok, err, code = root:chmod(path, entry.mode & 4095 & ~PRIVILEGES) end
  if ok and entry.type == "file" then ok, err, code = root:chtimes(path, entry.mtime, entry.mtime) end
  return ok, err, code
end

local function fill(file, read)
  while true do
    local data, err, code = read(PIECE)
    if not data then
      if err then return nil, err, code end
      return true
    end
    if data == "" then return true end
    local ok
    ok, err, code = file:write(data)
    if not ok then return nil, err, code end
  end
end

-- Under a name of its own until it is whole.
local function put_file(self, path, entry, read)
  local root, unfinished = self._root, ("%s.part-%08x"):format(path:match "^.*/", math.random(0) & 0xffffffff)
  local file, err, code = root:open(unfinished, "wcx", 384) -- 0600
  if not file then return nil, err, code end
  local ok
  ok, err, code = fill(file, read)
  file:close()
  if ok then ok, err, code = dress(self, unfinished, entry) end
  if ok then ok, err, code = root:rename(unfinished, path) end
  if not ok then root:remove(unfinished) end
  return ok, err, code
end

local function put_folder(self, path, entry)
  local there = self._root:stat(path, true)
  if there and there.type ~= "directory" then return errors.fail("EEXIST", "%s is there, and no folder", path) end
  if not there then
    local ok, err, code = self._root:mkdir(path, 448) -- 0700 until all is in it
    if not ok then return nil, err, code end
  end
  table.insert(self._folders, { path = path, entry = entry })
  return true
end

local function put_link(self, path, entry)
  self._root:remove(path)
  local ok, err, code = self._root:symlink(entry.link, path)
  if ok then ok, err, code = dress(self, path, entry) end
  return ok, err, code
end

-- A second name of something that was copied before: a copy of it.
local function put_hard(self, path, entry)
  local target, err, code = place(self, self._relative(entry.link))
  if not target then return nil, err, code end
  local was, file
  was, err, code = self._root:stat(target, true)
  if not was then return nil, err, code end
  if was.type ~= "file" then return errors.fail("EPROTO", "%s: a hard link to what is no file", path) end
  file, err, code = self._root:open(target, "rl")
  if not file then return nil, err, code end
  local guard <close> = file -- luacheck: ignore
  return put_file(self, path, entry, function(n) return file:read(n) end)
end

local put = { file = put_file, directory = put_folder, link = put_link, hard = put_hard }

function sink:put(entry, read)
  local path, err, code = place(self, entry.path)
  if not path then return nil, err, code end
  return put[entry.type](self, path, entry, read)
end

-- Folders get their modes last: one may be read-only.
function sink:finish()
  for i = #self._folders, 1, -1 do
    local folder = self._folders[i]
    local ok, err, code = dress(self, folder.path, folder.entry)
    if not ok then return nil, err, code end
  end
  return true
end

function sink:close()
  if self._root then self._root:close() end
end

--- A place of this machine that gets files.
---@param folder string which is there
---@param name string of the top there
---@param owner "keep"|"mine"
---@param relative? fun(link: string): string from what a hard link says to a path below the top
---@return table|nil, string?, string?
function M.sink(folder, name, owner, relative)
  local root, err, code = core.fs.root(folder)
  if not root then return nil, err, code end
  return setmetatable({ _root = root, _name = name, _owner = owner, _folders = {}, _relative = relative }, sink)
end

return M
