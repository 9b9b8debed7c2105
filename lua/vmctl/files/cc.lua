--- The guest's side of a copy by the file calls of a cc helper, which needs no program in the guest.
local core = require "vmctl.core"
local errors = require "vmctl.errors"

local M = {}

local methods = {}
methods.__index = methods

local PIECE = 256 << 10
local MOST_DEPTH = 256

---@param fs vmctl.CcFilesystem
---@param label string
---@param deadline number
function M.new(fs, label, deadline)
  return setmetatable({ _fs = fs, label = label, _deadline = deadline }, methods)
end

local function left(self)
  return math.max(0.001, self._deadline - core.now())
end

--- What is at a path: "directory", "file" (anything else), or "none".
---@return string|nil, string?, string?
function methods:type(path)
  local there, err, code, why = self._fs:lstat(path, left(self))
  if there and there.type == "link" then there = self._fs:stat(path, left(self)) or there end
  if there then return there.is_dir and "directory" or "file" end
  if type(why) == "table" then return "none" end -- the helper's answer: there is nothing that could be looked at
  return nil, err, code
end

local function join(top, path)
  return path == "" and top or top .. "/" .. path
end

-- Into the guest

local sink = {}
sink.__index = sink

local function dress(self, path, entry)
  local guest = self.guest
  local ok, err, code = guest._fs:chmod(path, entry.mode & 4095, left(guest))
  if ok and self._owner == "keep" then ok, err, code = guest._fs:chown(path, entry.uid, entry.gid, left(guest)) end
  if ok and entry.type == "file" then ok, err, code = guest._fs:chtimes(path, entry.mtime, entry.mtime, left(guest)) end
  return ok, err, code
end

local function fill(guest, file, read)
  while true do
    local data, err, code = read(PIECE)
    if not data and err then return nil, err, code end
    if not data or data == "" then return true end
    local ok
    ok, err, code = file:write(data, left(guest))
    if not ok then return nil, err, code end
  end
end

local put = {}

function put.file(self, path, entry, read)
  local guest = self.guest
  local file <close>, err, code = guest._fs:create(path, left(guest)) -- luacheck: ignore
  if not file then return nil, err, code end
  local ok
  ok, err, code = fill(guest, file, read)
  if not ok then return nil, err, code end
  return dress(self, path, entry)
end

function put.directory(self, path, entry)
  local ok, err, code = self.guest._fs:mkdir_all(path, 448, left(self.guest)) -- 0700 until all is in it
  if not ok then return nil, err, code end
  table.insert(self._folders, { path = path, entry = entry })
  return true
end

function put.link(self, path, entry)
  self.guest._fs:remove(path, left(self.guest))
  return self.guest._fs:symlink(entry.link, path, left(self.guest))
end

function sink:put(entry, read)
  return put[entry.type](self, join(self._top, entry.path), entry, read)
end

function sink:finish()
  for i = #self._folders, 1, -1 do
    local ok, err, code = dress(self, self._folders[i].path, self._folders[i].entry)
    if not ok then return nil, err, code end
  end
  return true
end

function sink:close() end

--- A place in the guest that gets files. See vmctl.files.exec.
function methods:sink(folder, name, owner)
  local ok, err, code = self._fs:mkdir_all(folder, 493, left(self)) -- 0755
  if not ok then return nil, err, code end
  return setmetatable({ guest = self, _top = join(folder, name), _owner = owner, _folders = {} }, sink)
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
  return visit(entry, function(n)
    local data, why, how = file:read(math.min(n, PIECE), left(guest))
    if not data and how == "EOF" then return nil end
    return data, why, how
  end)
end

local descend

local function visit_path(self, path, visit, depth)
  local full = join(self._top, path)
  local entry, err, code = describe(self.guest, full)
  if not entry then return nil, err, code end
  entry.path = path
  if entry.type == "file" then return visit_file(self.guest, full, entry, visit) end
  local ok
  ok, err, code = visit(entry)
  if not ok or entry.type ~= "directory" then return ok, err, code end
  return descend(self, path, visit, depth + 1)
end

function descend(self, path, visit, depth)
  if depth > MOST_DEPTH then return errors.fail("ELOOP", "%s: too many folders inside each other", path) end
  local entries, err, code = self.guest._fs:read_dir(join(self._top, path), left(self.guest))
  if not entries then return nil, err, code end
  for _, entry in ipairs(entries) do
    local ok
    ok, err, code = visit_path(self, path == "" and entry.name or path .. "/" .. entry.name, visit, depth)
    if not ok then return nil, err, code end
  end
  return true
end

function source:each(visit)
  return visit_path(self, "", visit, 1)
end

function source:relative(path)
  return path
end

--- Files and folders of the guest.
function methods:source(folder, name)
  return setmetatable({ guest = self, _top = join(folder, name) }, source)
end

--- The SHA-256 sums of files below `top`, which are read once more for that.
---@return string[]|nil, string?, string?
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
    if not ok then return nil, err, code end
    list[i] = hash:hex()
  end
  return list
end

return M
