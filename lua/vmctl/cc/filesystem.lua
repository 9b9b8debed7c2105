--- The machine's file system, as an object: `instance.fs` (docs/wire/cc-ipc.md#file-system-0x02xx). Each method waits, takes
--- a time-out in seconds as its last argument, and fails as client:call does. Modes are POSIX' here.
local files = require "vmctl.cc.file"
local mode = require "vmctl.base.go_mode"
local options = require "vmctl.base.options"
local request = require "vmctl.cc.request"
local snapshots = require "vmctl.cc.snapshot"
local wire = require "vmctl.cc.wire"

local M = {}

local FILE_MODE, FOLDER_MODE = 420, 493 -- 0644, 0755

---@class vmctl.CcFilesystem
local methods = {}
local mt = { __name = "vmctl.CcFilesystem", __index = methods }

local define = request.define

local calls = {
  open = define("FS_OPEN", "path:word"), create = define("FS_CREATE", "path:word"),
  open_file = define("FS_OPEN_FILE", "path:word flags:i32 mode:mode"), read_file = define("FS_READ_FILE", "path:word", "call_for_bytes"),
  write_file = define("FS_WRITE_FILE", "path:word data:bytes mode:mode"), stat = define("FS_STAT", "path:word"),
  lstat = define("FS_LSTAT", "path:word"), remove = define("FS_REMOVE", "path:word"),
  remove_all = define("FS_REMOVE_ALL", "path:word"), mkdir = define("FS_MKDIR", "path:word mode:mode"),
  mkdir_all = define("FS_MKDIR_ALL", "path:word mode:mode"), rename = define("FS_RENAME", "old:word new:word"),
  symlink = define("FS_SYMLINK", "target:word path:word"), readlink = define("FS_READLINK", "path:word"),
  read_dir = define("FS_READ_DIR", "path:word"), chmod = define("FS_CHMOD", "path:word mode:mode"),
  chown = define("FS_CHOWN", "path:word uid:id gid:id"), chtimes = define("FS_CHTIMES", "path:word atime:time mtime:time"),
}

local done, field = request.done, request.field

-- Opening

local function opened(self, path, d, err, code, more)
  local handle, why, how, what = field("uint64", d, err, code, more)
  if not handle then return nil, why, how, what end
  return files.new(self.client, handle, path)
end

--- Opens a file for reading.
---@param path string
---@return vmctl.CcFile|nil, string?, string?, table?
function methods:open(path, timeout)
  return opened(self, path, calls.open(self.client, timeout, path))
end

--- Opens an empty file for reading and writing; an existing one is emptied. (The reference's helper neither creates nor empties
--- the file: use write_file there.)
---@param path string
---@return vmctl.CcFile|nil, string?, string?, table?
function methods:create(path, timeout)
  return opened(self, path, calls.create(self.client, timeout, path))
end

local access = { r = 0, w = 1, rw = 2 }

--- Opens an existing file.
---@param path string
---@param how "r"|"w"|"rw" helpers differ in all other flags
---@param permissions? integer 0644 by default
---@return vmctl.CcFile|nil, string?, string?, table?
function methods:open_file(path, how, permissions, timeout)
  local flags = access[how]
  if not flags then error("cc fs open_file: 'r', 'w' or 'rw' expected, got " .. tostring(how), 2) end
  return opened(self, path, calls.open_file(self.client, timeout, path, flags, permissions or FILE_MODE))
end

-- Whole files

local ANSWER = 5 -- bytes of an answer in front of a file's

-- Reads to the end, not to the size: a file may grow, and one of /proc has no size.
local function read_pieces(self, path, timeout)
  local file <close>, err, code, more = self:open(path, timeout) -- luacheck: ignore
  if not file then return nil, err, code, more end
  return file:read("a", timeout)
end

-- Reads it by one request, if an answer has room for that. A helper with a smaller limit refuses, and is then asked for pieces.
local function read_content(self, path, size, timeout)
  if size > self.client:max_payload() - ANSWER then return read_pieces(self, path, timeout) end
  local bytes, err, code, more = calls.read_file(self.client, timeout, path)
  if not bytes and code == "EREMOTE" and size > wire.PIECE then return read_pieces(self, path, timeout) end
  return bytes, err, code, more
end

-- The reference's helper hides a failed read, and answers with the bytes that it has got: fewer bytes than a regular file's size before
-- and after are refused.
local function check_whole(self, path, bytes, size, timeout)
  if #bytes >= size then return bytes end
  local now, err, code, more = field("file_info", calls.stat(self.client, timeout, path))
  if not now then return nil, err, code, more end
  if now.size <= #bytes then return bytes end
  return nil, ("cc fs read_file %s: %d of %d bytes came, and the helper does not say why"):format(path, #bytes, now.size), "EIO"
end

--- The content of a file: by one request where the helper's answer has room for it, else piece by piece.
---@param path string
---@return string|nil, string?, string?, table? EIO: the helper gave less than the file has, and hid the reason
function methods:read_file(path, timeout)
  local info, err, code, more = field("file_info", calls.stat(self.client, timeout, path))
  if not info then return nil, err, code, more end
  local bytes
  bytes, err, code, more = read_content(self, path, info.size, timeout)
  if not bytes then return nil, err, code, more end
  local _, kind = mode.to_posix(info.mode)
  if kind ~= "file" then return bytes end
  return check_whole(self, path, bytes, info.size, timeout)
end

local function append(self, path, data, permissions, timeout)
  local file <close>, err, code, more = self:open_file(path, "w", permissions, timeout) -- luacheck: ignore
  if not file then return nil, err, code, more end
  local at
  at, err, code, more = file:seek("end", 0, timeout)
  if not at then return nil, err, code, more end
  return file:write(data, timeout)
end

--- Writes a file, or replaces the content of an existing one. A large one is written piece by piece (to the reference's helper
--- in one piece: it cannot do that).
---@param path string
---@param data string
---@param permissions? integer 0644 by default
---@return true|nil, string?, string?, table?
function methods:write_file(path, data, permissions, timeout)
  permissions = permissions or FILE_MODE
  local first = type(data) == "string" and #data > wire.PIECE and data:sub(1, wire.PIECE) or data
  local ok, err, code, more = done(calls.write_file(self.client, timeout, path, first, permissions))
  if not ok then return nil, err, code, more end
  if #first == #data then return true end
  ok, err, code, more = append(self, path, data:sub(#first + 1), permissions, timeout)
  if ok then return true end
  if code ~= "EREMOTE" or #data > self.client:max_payload() - #path - wire.PIECE then return nil, err, code, more end
  return done(calls.write_file(self.client, timeout, path, data, permissions))
end

-- Looking

--- A file's properties; links are followed.
---@param path string
---@return { name: string, size: integer, mode: integer, type: string, mtime: integer, is_dir: boolean, is_symlink: boolean }|nil
---@return string? message, string? code, table? error mode: permissions with the bits above them; type as core.fs.stat's
function methods:stat(path, timeout)
  local info, err, code, more = field("file_info", calls.stat(self.client, timeout, path))
  if not info then return nil, err, code, more end
  return mode.shown(info)
end

--- As `stat`, of the link itself.
function methods:lstat(path, timeout)
  local info, err, code, more = field("file_info", calls.lstat(self.client, timeout, path))
  if not info then return nil, err, code, more end
  return mode.shown(info)
end

--- The entries of a folder, by name.
---@param path string
---@return { name: string, is_dir: boolean, type: string, mode: integer }[]|nil, string?, string?, table? mode: 0 if the
-- helper does not report it
function methods:read_dir(path, timeout)
  local entries, err, code, more = field("dir_entries", calls.read_dir(self.client, timeout, path))
  if not entries then return nil, err, code, more end
  for _, entry in ipairs(entries) do
    local posix, kind = mode.to_posix(entry.mode)
    entry.mode, entry.type = posix & 4095, kind
  end
  table.sort(entries, function(a, b) return a.name < b.name end)
  return entries
end

---@return string|nil target, string?, string?, table?
function methods:readlink(path, timeout)
  return field("string", calls.readlink(self.client, timeout, path))
end

-- Changes. Each: true|nil, string?, string?, table?

--- Removes a file or an empty folder.
function methods:remove(path, timeout) return done(calls.remove(self.client, timeout, path)) end

--- Removes a file or a folder with everything in it; a missing path is a success.
function methods:remove_all(path, timeout) return done(calls.remove_all(self.client, timeout, path)) end

--- Makes a folder; an existing one is an error.
function methods:mkdir(path, permissions, timeout)
  return done(calls.mkdir(self.client, timeout, path, permissions or FOLDER_MODE))
end

--- Makes a folder and its missing parents.
function methods:mkdir_all(path, permissions, timeout)
  return done(calls.mkdir_all(self.client, timeout, path, permissions or FOLDER_MODE))
end

function methods:rename(old, new, timeout) return done(calls.rename(self.client, timeout, old, new)) end

--- Makes a symbolic link at `path` to `target`.
function methods:symlink(target, path, timeout) return done(calls.symlink(self.client, timeout, target, path)) end

--- Sets the permissions; some helpers ignore all but the lowest nine bits.
function methods:chmod(path, permissions, timeout) return done(calls.chmod(self.client, timeout, path, permissions)) end

--- Sets the owner. Do not pass -1: the reference's helper stores it as 4294967295.
function methods:chown(path, uid, gid, timeout) return done(calls.chown(self.client, timeout, path, uid, gid)) end

--- Sets the times of the last access and change: whole Unix seconds.
function methods:chtimes(path, atime, mtime, timeout) return done(calls.chtimes(self.client, timeout, path, atime, mtime)) end

--- Makes a snapshot of the file system.
---@param opts? { excludes: string[]?, cache_dir: string? } patterns of paths to leave out, such as "/proc/*"
---@return vmctl.CcSnapshot|nil, string?, string?, table?
function methods:snapshot(opts, timeout)
  opts = options.check(opts or {}, { excludes = "table", cache_dir = "string" }, "cc fs snapshot")
  local words = { opts.cache_dir or "", table.unpack(opts.excludes or {}) }
  local ok, err, code = request.check_words(words, "cc fs snapshot", 3)
  if not ok then return nil, err, code end
  return snapshots.take(self.client, opts, timeout)
end

--- The file system of a client's machine.
function M.new(client)
  return setmetatable({ client = client }, mt)
end

return M
