--- Reads files and folders of the guest through the file calls of a cc helper.
local errors = require "vmctl.errors"
local text = require "vmctl.text"

local M = {}

local PIECE = 256 << 10
local MOST_DEPTH = 256

local source = {}
source.__index = source

local function describe(guest, path)
  local entry, err, code = guest.fs:lstat(path, guest:left())
  if not entry then return nil, err, code end
  entry = { type = entry.type, mode = entry.mode, uid = 0, gid = 0, mtime = entry.mtime, size = entry.size }
  if entry.type == "link" then
    entry.link, err, code = guest.fs:readlink(path, guest:left())
    if not entry.link then return nil, err, code end
  end
  return entry
end

--- Opens a file, and hands it to `visit(entry, read)`. Waits.
---@return any ok, string?, string?, integer? count of the bytes that were read
function M.visit_file(guest, path, entry, visit)
  local file <close>, err, code = guest.fs:open(path, guest:left()) -- luacheck: ignore
  if not file then return nil, err, code end
  local count = 0
  local ok
  ok, err, code = visit(entry, function(n)
    local data, why, how = file:read(math.min(n, PIECE), guest:left())
    if not data and how == "EOF" then return "" end
    count = count + #(data or "")
    return data, why, how
  end)
  return ok, err, code, count
end

-- Tells if a path has vanished, by another look at it: a helper's errors have no codes.
local function has_gone(self, full, path, job)
  return path ~= "" and self.guest:type(full) == "none" and job.note("vanished", path)
end

local descend

local function visit_path(self, path, visit, job, depth)
  local full = text.below(self._top, path)
  local entry, err, code = describe(self.guest, full)
  if not entry then
    if has_gone(self, full, path, job) then return true end
    return nil, err, code
  end
  entry.path = path
  local ok, count
  if entry.type == "file" then
    ok, err, code, count = M.visit_file(self.guest, full, entry, visit)
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
  local full = text.below(self._top, path)
  local entries, err, code = self.guest.fs:read_dir(full, self.guest:left())
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

--- The type of the file at its path, as vmctl.files.cc has it. Waits.
function source:type()
  return self.guest:type(self._path)
end

function source:each(visit, job)
  return visit_path(self, "", visit, job, 1)
end

function source:relative(path)
  return path
end

function source:close() end -- luacheck: ignore

--- Makes the source. Does not wait.
---@param guest table of vmctl.files.cc
---@param path string as the user has it
---@param top string the path that is read
function M.new(guest, path, top)
  return setmetatable({ guest = guest, _path = path, _top = top, guess = true }, source)
end

return M
