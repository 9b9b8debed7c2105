--- The guest's side of a copy through the file calls of a cc helper. The guest needs no program for it.
local content = require "vmctl.files.content"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local text = require "vmctl.text"

local M = {}

local methods = {}
methods.__index = methods

local PIECE = 256 << 10
local MOST_DEPTH = 256
local MOST_OWNER = 0x7fffffff
local CLEANUP = 10 -- seconds

local shown = { directory = "directory", file = "file", link = "link" }

---@param fs vmctl.CcFilesystem
---@param label string
---@param deadline number
function M.new(fs, label, deadline)
  return setmetatable({ _fs = fs, label = label, _deadline = deadline }, methods)
end

local function left(self)
  return math.max(0.001, self._deadline - core.now())
end

--- The type of the file at a path: "directory", "file", "link", "other", or "none".
---@param path string
---@param follow? boolean follow a link
---@return string|nil, string?, string?
function methods:type(path, follow)
  local there, err, code, why = self._fs:lstat(path, left(self))
  if there and there.type == "link" and follow then there = self._fs:stat(path, left(self)) or there end
  if there then return shown[there.type] or "other" end
  if type(why) == "table" then return "none" end -- the helper has answered that the path does not exist
  return nil, err, code
end

local function join(top, path)
  return path == "" and top or top .. "/" .. path
end

-- Into the guest. The protocol has no hard links (they become separate files), no fractions of seconds, and no times of links.

local sink = { holes = true, hard = false }
sink.__index = sink

local function set_attributes(self, path, entry)
  local guest = self.guest
  local ok, err, code = true, nil, nil
  if self._owner == "keep" then ok, err, code = guest._fs:chown(path, entry.uid, entry.gid, left(guest)) end
  local mode = entry.mode & (self._owner == "keep" and 4095 or 1023) -- without set-user-id and set-group-id when the owner changes
  if ok then ok, err, code = guest._fs:chmod(path, mode, left(guest)) end
  if ok then ok, err, code = guest._fs:chtimes(path, entry.mtime, entry.mtime, left(guest)) end
  return ok, err, code
end

-- Makes an entry under a temporary name, and renames it when it is complete. A device, a FIFO or a socket is not replaced.
local function stage(self, path, make)
  local guest = self.guest
  local folder = text.split(path)
  local unfinished = ("%s/.vmctl-%08x"):format(folder, math.random(0) & 0xffffffff)
  local there, err, code = guest:type(path)
  if not there then return nil, err, code end
  if there == "other" then return errors.fail("EEXIST", "%s is there, and no regular file", path) end
  local ok
  ok, err, code = make(unfinished)
  if ok then ok, err, code = guest._fs:rename(unfinished, path, left(guest)) end
  if not ok then guest._fs:remove(unfinished, math.max(left(guest), CLEANUP)) end
  return ok, err, code
end

local put = {}

function put.file(self, path, entry, read)
  local guest = self.guest
  return stage(self, path, function(unfinished)
    local ok, err, code = guest._fs:write_file(unfinished, "", 384, left(guest)) -- 0600; not every helper's `create` makes the file
    if not ok then return nil, err, code end
    local file
    file, err, code = guest._fs:open_file(unfinished, "w", 384, left(guest))
    if not file then return nil, err, code end
    ok, err, code = content.write({
      write = function(data) return file:write(data, left(guest)) end,
      seek = function(at) return file:seek("set", at, left(guest)) end,
      truncate = function(size) return file:truncate(size, left(guest)) end,
    }, entry, read)
    local closed, why, how = file:close(left(guest))
    if ok and not closed then ok, err, code = nil, why, how end
    if ok then ok, err, code = set_attributes(self, unfinished, entry) end
    return ok, err, code
  end)
end

function put.directory(self, path, entry)
  local ok, err, code = self.guest._fs:mkdir_all(path, 448, left(self.guest)) -- 0700 until it is filled
  if not ok then return nil, err, code end
  table.insert(self._folders, { path = path, entry = entry })
  return true
end

function put.link(self, path, entry)
  local guest = self.guest
  return stage(self, path, function(unfinished) return guest._fs:symlink(entry.link, unfinished, left(guest)) end)
end

function sink:put(entry, read)
  if self._owner == "keep" and (entry.uid > MOST_OWNER or entry.gid > MOST_OWNER) then
    return errors.fail("EOVERFLOW", "%s: the protocol has no room for the owner %d:%d", entry.path, entry.uid, entry.gid)
  end
  return put[entry.type](self, join(self._top, entry.path), entry, read)
end

function sink:finish()
  for i = #self._folders, 1, -1 do
    local ok, err, code = set_attributes(self, self._folders[i].path, self._folders[i].entry)
    if not ok then return nil, err, code end
  end
  return true
end

function sink:close() end

--- Makes a sink for files in the guest. See vmctl.files.exec.
function methods:sink(folder, name, owner)
  local ok, err, code = self._fs:mkdir_all(folder, 493, left(self)) -- 0755
  if not ok then return nil, err, code end
  return setmetatable({ guest = self, _top = join(folder == "/" and "" or folder, name), _owner = owner, _folders = {} }, sink)
end

-- Out of the guest

local source = {}
source.__index = source

local function describe(guest, path)
  local entry, err, code = guest._fs:lstat(path, left(guest))
  if not entry then return nil, err, code end
  entry = { type = entry.type, mode = entry.mode, uid = 0, gid = 0, mtime = entry.mtime, size = entry.size }
  if entry.type == "link" then
    entry.link, err, code = guest._fs:readlink(path, left(guest))
    if not entry.link then return nil, err, code end
  end
  return entry
end

local function visit_file(guest, path, entry, visit)
  local file <close>, err, code = guest._fs:open(path, left(guest)) -- luacheck: ignore
  if not file then return nil, err, code end
  local count = 0
  local ok
  ok, err, code = visit(entry, function(n)
    local data, why, how = file:read(math.min(n, PIECE), left(guest))
    if not data and how == "EOF" then return "" end
    count = count + #(data or "")
    return data, why, how
  end)
  return ok, err, code, count
end

-- A helper's errors have no codes, so a look at the path shows if it has vanished.
local function has_gone(self, full, path, job)
  return path ~= "" and self.guest:type(full) == "none" and job.note("vanished", path)
end

local descend

local function visit_path(self, path, visit, job, depth)
  local full = join(self._top, path)
  local entry, err, code = describe(self.guest, full)
  if not entry then
    if has_gone(self, full, path, job) then return true end
    return nil, err, code
  end
  entry.path = path
  local ok, count
  if entry.type == "file" then
    ok, err, code, count = visit_file(self.guest, full, entry, visit)
    if not ok and count == nil and has_gone(self, full, path, job) then return true end
    if ok and count ~= entry.size then job.note("changed", path) end
    return ok, err, code
  end
  ok, err, code = visit(entry)
  if not ok or entry.type ~= "directory" then return ok, err, code end
  return descend(self, path, visit, job, depth + 1)
end

function descend(self, path, visit, job, depth)
  if depth > MOST_DEPTH then return errors.fail("ELOOP", "%s: too many folders inside each other", path) end
  local full = join(self._top, path)
  local entries, err, code = self.guest._fs:read_dir(full, left(self.guest))
  if not entries then
    if has_gone(self, full, path, job) then return true end
    return nil, err, code
  end
  for _, entry in ipairs(entries) do
    if entry.name == "" or entry.name == "." or entry.name:find("/", 1, true) then
      return errors.fail("EPROTO", "%s: a name that is none", full)
    end
    local ok
    ok, err, code = visit_path(self, path == "" and entry.name or path .. "/" .. entry.name, visit, job, depth)
    if not ok then return nil, err, code end
  end
  return true
end

function source:each(visit, job)
  return visit_path(self, "", visit, job, 1)
end

function source:relative(path)
  return path
end

--- Makes a source of files and folders of the guest.
function methods:source(folder, name)
  return setmetatable({ guest = self, _top = join(folder == "/" and "" or folder, name), guess = true }, source)
end

--- Reads files below `top` again for their SHA-256 sums; false for a file that no longer exists. Waits.
---@return (string|false)[]|nil, string?, string?
function methods:hashes(top, paths)
  local list = {}
  for i, path in ipairs(paths) do
    local hash = core.sha256()
    local ok, err, code = visit_file(self, join(top, path), {}, function(_, read)
      while true do
        local data, why, how = read(PIECE)
        if not data or data == "" then return not why or nil, why, how end
        hash:update(data)
      end
    end)
    if not ok and self:type(join(top, path)) ~= "none" then return nil, err, code end
    list[i] = ok and hash:hex() or false
  end
  return list
end

--- The current sizes and times of files below `top`. Waits.
---@param files { path: string }[]
---@return { size: integer, mtime: integer }[] false for a file whose state could not be read
function methods:states(top, files)
  local list = {}
  for i, file in ipairs(files) do
    local info = self._fs:stat(join(top, file.path), left(self))
    list[i] = info and { size = info.size, mtime = info.mtime } or false
  end
  return list
end

return M
