--- The sink on this machine for a copy from a guest, which is not trusted: it follows no link below the destination folder, replaces
--- files as a whole, and drops set-user-id bits.
local content = require "vmctl.files.content"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local text = require "vmctl.text"

local M = {}

local PRIVILEGES = content.PRIVILEGES
local MOST_NAME = 255
local REPLACED = { file = true, link = true }

--- Splits a path into folder and last name.
---@param path string
---@return string folder, string name "" for "/" and paths that end in "." or ".."
function M.split(path)
  path = text.strip_folder(path)
  local folder, name = text.split(path)
  if name == "." or name == ".." then return path, "" end
  return folder == "" and "/" or folder or ".", name
end

-- Tells if a link is the system's, such as /home or /var/run: it is root's, at the top, where nobody else can make one.
local function is_of_system(path, link)
  local folder = path:match "^(/[^/]*)/[^/]*$" or path:match "^/[^/]*$" and "/"
  local above = folder and link.uid == 0 and fs.stat(folder, true)
  return above and above.type == "directory" and above.uid == 0 and above.mode & 18 == 0 -- 0022
end

--- The first link of a path that is not the system's: it may have come with an earlier copy.
---@param path string
---@return string? path of the link
function M.link_in(path)
  local at = path:sub(1, 1) == "/" and "" or nil
  for part in path:gmatch "[^/]+" do
    at = at and at .. "/" .. part or part
    local there = fs.stat(at, true)
    if not there then return nil end
    if there.type == "link" and not is_of_system(at, there) then return at end
  end
end

--- Makes a folder of this machine, and its missing parents.
---@param path string
---@return true|nil, string?, string?
function M.make_folders(path)
  if fs.stat(path) then return true end
  local above = text.split(text.strip_folder(path))
  if above and above ~= "" then
    local ok, err, code = M.make_folders(above)
    if not ok then return nil, err, code end
  end
  local ok, err, code = fs.mkdir(path, 493)
  if ok or code == "EEXIST" then return true end
  return nil, err, code
end

local sink = { holes = true, hard = true }
sink.__index = sink

-- Refuses names that lead out of the folder.
local function place(self, path)
  for part in path:gmatch "[^/]+" do
    if part == ".." or #part > MOST_NAME then return errors.fail("EINVAL", "%s: not a name for a file", path:sub(1, 300)) end
  end
  return "/" .. self._name .. (path ~= "" and "/" .. path or "")
end

-- Sets an entry's owner, mode, times and attributes; of an open `file` without looking its path up again.
local function set_attributes(self, path, entry, file)
  local root, is_link = self._root, entry.type == "link"
  local ok, err, code = true, nil, nil
  if self._owner == "keep" then
    if file then ok, err, code = file:chown(entry.uid, entry.gid) else ok, err, code = root:chown(path, entry.uid, entry.gid, true) end
  end
  for name, value in pairs(ok and not is_link and entry.xattrs or {}) do
    if ok and name:find "^user%." then ok, err, code = root:set_xattr(path, name, value) end
  end
  local mode, nsec = entry.mode & 4095 & ~PRIVILEGES, entry.nsec or 0
  if ok and not is_link then
    if file then ok, err, code = file:chmod(mode) else ok, err, code = root:chmod(path, mode) end
  end
  if not ok then return nil, err, code end
  if file then return file:chtimes(entry.mtime, entry.mtime, nsec) end
  return root:chtimes(path, entry.mtime, entry.mtime, nsec, is_link)
end

local function staged(path)
  return ("%s.part-%08x"):format(path:match "^.*/", math.random(0) & 0xffffffff)
end

-- Makes an entry under a temporary name, and renames it when it is complete. `is_link`: the rename of a hard link may leave that name.
local function stage(self, path, make, is_link)
  local root, unfinished = self._root, staged(path)
  local there = root:stat(path, true)
  if there and not REPLACED[there.type] then return errors.fail("EEXIST", "%s is there, and no regular file", path) end
  local ok, err, code = make(unfinished)
  if ok then ok, err, code = root:rename(unfinished, path) end
  if not ok or is_link then root:remove(unfinished) end
  return ok, err, code
end

local function put_file(self, path, entry, read)
  return stage(self, path, function(unfinished)
    local file, err, code = self._root:open(unfinished, "wcx", 384) -- 0600
    if not file then return nil, err, code end
    local ok
    ok, err, code = content.write({
      write = function(data) return file:write(data) end, seek = function(at) return file:seek(at, 0) end,
      truncate = function(size) return file:truncate(size) end,
    }, entry, read, self._guess)
    if ok then ok, err, code = set_attributes(self, unfinished, entry, file) end
    local closed, why, how = file:close()
    if ok and not closed then ok, err, code = nil, why, how end
    return ok, err, code
  end)
end

local function put_folder(self, path, entry)
  local there = self._root:stat(path, true)
  if there and there.type ~= "directory" then return errors.fail("EEXIST", "%s is there, and no folder", path) end
  if not there then
    local ok, err, code = self._root:mkdir(path, 448) -- 0700 until it is filled
    if not ok then return nil, err, code end
  end
  local at = self._folder_at[path] or #self._folders + 1 -- an archive may name one again
  self._folder_at[path], self._folders[at] = at, { path, entry }
  return true
end

local function put_link(self, path, entry)
  return stage(self, path, function(unfinished)
    local ok, err, code = self._root:symlink(entry.link, unfinished)
    if ok then ok, err, code = set_attributes(self, unfinished, entry) end
    return ok, err, code
  end)
end

-- Makes a hard link to an entry that was copied before. (Renaming one name of a file to another of its names does nothing.)
local function put_hard(self, path, entry)
  local target, err, code = place(self, self._relative(entry.link))
  if not target then return nil, err, code end
  local was
  was, err, code = self._root:stat(target, true)
  if not was then return nil, err, code end
  if was.type ~= "file" then return errors.fail("EPROTO", "%s: a hard link to what is no file", path) end
  return stage(self, path, function(unfinished)
    return self._root:link(target, unfinished)
  end, true)
end

local put = { file = put_file, directory = put_folder, link = put_link, hard = put_hard }

function sink:put(entry, read)
  local path, err, code = place(self, entry.path)
  if not path then return nil, err, code end
  local ok
  ok, err, code = put[entry.type](self, path, entry, read)
  if ok then return true end
  if code == "EOVERFLOW" then
    return errors.fail(code, "%s: the owner %d:%d is none on this machine", entry.path, entry.uid, entry.gid)
  end
  return nil, err, code
end

-- Sets the modes and times of folders last: a folder may be read-only, and each file that is put into it changes its time.
function sink:finish()
  for i = #self._folders, 1, -1 do
    local ok, err, code = set_attributes(self, self._folders[i][1], self._folders[i][2])
    if not ok then return nil, err, code end
  end
  return true
end

function sink:close()
  if self._root then self._root:close() end
end

--- Makes a sink for files on this machine.
---@param folder string which exists
---@param name string of the top in that folder
---@param opts { owner: "keep"|"mine", relative: (fun(link: string): string), guess: boolean? } relative: turns a
-- hard link's target into a path below the top; guess: zeros become holes
---@return table|nil, string?, string?
function M.sink(folder, name, opts)
  local root, err, code = fs.root(folder, true)
  if not root then return nil, err, code end
  return setmetatable({ _root = root, _name = name, _owner = opts.owner, _folders = {}, _folder_at = {}, _relative = opts.relative,
    _guess = opts.guess }, sink)
end

return M
