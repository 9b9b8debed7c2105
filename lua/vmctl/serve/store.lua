--- The files that scripts of other machines have sent: each under its SHA-256, so that it is sent once. The files that were used last
--- stay, up to a number of bytes.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local pieces = require "vmctl.remote.pieces"
local staged = require "vmctl.base.staged"
local user_folders = require "vmctl.base.user_folders"

local M = {}

local MOST = 20 << 30   -- bytes that are kept
local STALLED = 60      -- seconds in which a piece must come
local FRESH = 3600      -- seconds in which a sent file is used
local READ_ONLY = 256   -- mode 0400

---@class vmctl.ServeStore
local methods = {}
local mt = { __name = "vmctl.ServeStore", __index = methods }

--- Opens the folder. Does not wait, but for the file system.
---@param folder? string (vmctl/files in the user's folder of caches)
---@param most? integer bytes that are kept (20 GiB)
---@return vmctl.ServeStore|nil, string?, string?
function M.open(folder, most)
  folder = folder or user_folders.cache() .. "/vmctl/files"
  local ok, err, code = core.fs.folders("/", folder, { folder_mode = 448 })
  if not ok then return nil, err, code end
  return setmetatable({ _folder = folder, _most = most or MOST }, mt)
end

--- The path of a file that is there. Does not wait.
---@param digest any
---@return string|nil, string?, string? code EINVAL, ENOENT
function methods:path(digest)
  if type(digest) ~= "string" or #digest ~= 64 or digest:find "[^%da-f]" then return errors.fail("EINVAL", "no digest of a file") end
  local path = self._folder .. "/" .. digest
  if core.fs.stat(path) then return path end
  return errors.fail("ENOENT", "no file with the digest %s was sent", digest)
end

-- A file in use is locked by its guest, as vmctl.machine.root_disk does it.
local function remove(path)
  local file <close> = core.fs.open(path) -- luacheck: ignore
  return file ~= nil and file:lock(true) ~= nil and core.fs.remove(path) ~= nil
end

local function entries(self)
  local list, total = {}, 0
  for _, name in ipairs(core.fs.list(self._folder) or {}) do
    local info = core.fs.stat(self._folder .. "/" .. name)
    if info then
      list[#list + 1] = {
        path = self._folder .. "/" .. name, size = math.min(info.size, info.allocated), used = info.mtime, whole = #name == 64,
      }
      total = total + list[#list].size
    end
  end
  table.sort(list, function(a, b) return a.used < b.used end)
  return list, total
end

-- Makes room: removes the files that were used least recently, and leftovers of killed processes.
local function make_room(self, size)
  if size > self._most then return false end
  local list, total = entries(self)
  local now = os.time()
  for _, each in ipairs(list) do
    local wanted = not each.whole or total + size > self._most
    if wanted and now - each.used >= FRESH and remove(each.path) then total = total - each.size end
  end
  return total + size <= self._most
end

--- Tells if a file is there, and that it is used now. Does not wait.
---@return boolean|nil, string?, string? code EINVAL
function methods:has(digest, size)
  if math.type(size) ~= "integer" or size < 0 then return errors.fail("EINVAL", "no size of a file") end
  local path, err, code = self:path(digest)
  if code == "ENOENT" then return false end
  if not path then return nil, err, code end
  local info = core.fs.stat(path)
  if not info or info.size ~= size then return false end
  local folder <close> = core.fs.root(self._folder) -- luacheck: ignore
  local now = os.time()
  if folder then folder:chtimes("/" .. digest, now, now) end
  return true
end

-- Adds a piece to a file that ends at `at`: zeros become holes. Returns the new end.
local function add(file, hash, piece, at)
  local ok, err, code
  if math.type(piece) == "integer" then
    pieces.add_zeros(hash, piece)
    at = at + piece
    ok, err, code = file:truncate(at)
    if ok then ok, err, code = file:seek(at, 0) end
  else
    hash:update(piece)
    at = at + #piece
    ok, err, code = file:write(piece)
  end
  if not ok then return nil, err, code end
  return at
end

local function receive(stream, name, digest, size)
  local file <close>, err, code = core.fs.private(name, true) -- luacheck: ignore
  if not file then return nil, err, code end
  local hash, at = core.sha256(), 0
  while at < size do
    local piece
    piece, err, code = pieces.read(stream, size - at, STALLED)
    if not piece then return nil, err, code end
    at, err, code = add(file, hash, piece, at)
    if not at then return nil, err, code end
  end
  if hash:hex() ~= digest then return errors.fail("EPROTO", "the bytes are not those of the digest") end
  return file:chmod(READ_ONLY)
end

--- Makes room for a file. Does not wait, but for the file system.
---@param size integer
---@return true|nil, string?, string? code EFBIG: more than is kept
function methods:reserve(size)
  if make_room(self, size) then return true end
  return errors.fail("EFBIG", "a file of %d bytes: %d are kept here, and what is there is in use", size, self._most)
end

--- Takes a file from a stream. Waits.
---@param stream vmctl.Stream
---@param digest string which `has` has checked
---@param size integer
---@return true|nil, string?, string? code EPROTO: another digest; ENOSPC …
function methods:take(stream, digest, size)
  return staged.make(self._folder .. "/" .. digest, function(name) return receive(stream, name, digest, size) end)
end

return M
