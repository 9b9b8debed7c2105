--- FsOpen to FsChtimes: files below the folder that is the instance's "/". Worker threads make calls that may block.
local blocker = require "vmctl.cc.backend.blocker"
local failure = require "vmctl.cc.backend.failure"
local fields = require "vmctl.cc.backend.fields"
local file = require "vmctl.cc.backend.file"
local mode = require "vmctl.base.go_mode"
local response = require "vmctl.cc.response"
local text = require "vmctl.text"
local wire = require "vmctl.cc.wire"

local M = {}

local pack = string.pack

local WHOLE = wire.MAX - 5      -- bytes of a file that an answer can carry
local CHUNK = 1 << 20
local PERMISSIONS = 0x1ff       -- of a mode on the wire; other bits of an argument are ignored
-- Linux' open flags that are supported beside the access mode, as letters of core.fs.root.
local FLAGS = { [0x40] = "c", [0x80] = "x", [0x200] = "t", [0x400] = "a", [0x10000] = "d", [0x20000] = "l" }
local ACCESS = { [0] = "r", "w", "+" }

local requests = {}

-- Opens a file. A new one gets its mode exactly: no umask.
local function open_exactly(b, path, letters, perm)
  if not letters:find "c" then return b.root:open(path, letters) end
  local without, opened, err, code = letters:gsub("[cx]", ""), nil, nil, "ENOENT"
  if not letters:find "x" then opened, err, code = b.root:open(path, without) end
  if opened or code ~= "ENOENT" then return opened, err, code end
  opened, err, code = b.root:open(path, without .. "cx", perm)
  if not opened and code == "EEXIST" and not letters:find "x" then return b.root:open(path, letters, perm) end -- by way of a link
  if not opened then return nil, err, code end
  local ok
  ok, err, code = opened:chmod(perm)
  if ok then return opened end
  opened:close()
  return nil, err, code
end

local function open(b, path, letters, perm)
  local ok, err, code = b.handles:room "file"
  if not ok then return nil, err, code end
  local opened
  opened, err, code = open_exactly(b, path, letters, perm)
  if not opened then return failure.of("open", path, err, code) end
  return pack(">I1I8", 0, assert(b.handles:add("file", file.new(opened, path))))
end

function requests.FS_OPEN(b, path)
  return open(b, path, "r")
end

-- Creates the file, unlike the reference, where it has to exist.
function requests.FS_CREATE(b, path)
  return open(b, path, "+ct", 420)
end

function requests.FS_OPEN_FILE(b, path, flags, perm)
  local letters = ACCESS[flags & 3]
  if not letters then return failure.argument("open %s: no access mode 3", path) end
  for bit, letter in pairs(FLAGS) do
    if flags & bit ~= 0 then letters = letters .. letter end
  end
  return open(b, path, letters, perm & PERMISSIONS)
end

-- Reads a whole file, if an answer can carry it. Files of the kernel report size 0, so the size is not used.
local function read_whole(opened)
  local parts, size = {}, 0
  repeat
    local data, err, code = opened:read(CHUNK)
    if not data then return nil, err, code end
    size = size + #data
    if size > WHOLE then return nil, "read: file too large for one answer", "EFBIG" end
    parts[#parts + 1] = data
  until data == ""
  return table.concat(parts)
end

function requests.FS_READ_FILE(b, path)
  local opened <close>, err, code = b.root:open(path, "r")
  if not opened then return failure.of("open", path, err, code) end
  local info = opened:stat()
  if info and info.type ~= "file" then return failure.say("read", path, "not a regular file") end
  local answer, data
  if info and info.size > 0 and info.size < WHOLE then
    answer, err, code = opened:read_counted(info.size + 1)
    if answer and #answer == info.size + 5 then return answer end -- else it has grown, or more comes with the next read
    if answer then answer, err, code = opened:seek(0, 0) end
    if not answer then return failure.of("read", path, err, code) end
  end
  data, err, code = read_whole(opened)
  if not data then return failure.of("read", path, err, code) end
  return pack(">I1s4", 0, data)
end

function requests.FS_WRITE_FILE(b, path, data, perm)
  local opened <close>, err, code = open_exactly(b, path, "wct", perm & PERMISSIONS)
  if not opened then return failure.of("open", path, err, code) end
  local ok
  ok, err, code = opened:write(data)
  if ok then ok, err, code = opened:close() end
  if not ok then return failure.of("write", path, err, code) end
end

local function stat(op, last_link)
  return function(b, path)
    local info, err, code = b.root:stat(path, last_link)
    if not info then return failure.of(op, path, err, code) end
    return file.info(path, info)
  end
end

requests.FS_STAT, requests.FS_LSTAT = stat("stat", false), stat("lstat", true)

function requests.FS_MKDIR_ALL(b, path, perm)
  local function make(at)
    local ok, err, code = b.root:mkdir(at, perm & PERMISSIONS)
    if ok then return true end
    local above = text.strip_slashes(text.split(text.strip_slashes(at)) or "")
    if code == "ENOENT" and above ~= "" and make(above) then return b.root:mkdir(at, perm & PERMISSIONS) end
    local there = b.root:stat(at)
    if there and there.type == "directory" then return true end
    return nil, err, code
  end
  local ok, err, code = make(path)
  if ok then return end
  local at, why, message = blocker.find(b.root, path)
  if at and why == "ENOTDIR" then return failure.of("mkdir", at, message, why) end
  return failure.of("mkdir", path, err, code)
end

function requests.FS_READLINK(b, path)
  local target, err, code = b.root:readlink(path)
  if not target then return failure.of("readlink", path, err, code) end
  return pack(">I1s4", 0, target)
end

function requests.FS_READ_DIR(b, path)
  local names, types, code = b.root:list(path)
  if not names then return failure.of("readdir", path, types, code) end
  local entries = {}
  for i, name in ipairs(names) do
    entries[i] = { name = name, is_dir = types[i] == "directory", mode = mode.from_posix(0, types[i]) }
  end
  table.sort(entries, function(x, y) return x.name < y.name end)
  return response.new():success():dir_entries(entries)
end

-- Requests without a result: the request, the method of vmctl.Root, the operation's name, a conversion of the arguments.
local function plain(kind, method, op, prepare)
  requests[kind] = function(b, path, second, third)
    if prepare then second, third = prepare(second, third) end
    local ok, err, code = b.root[method](b.root, path, second, third)
    if not ok then return failure.of(op, path, err, code) end
  end
end

local function permissions(perm) return perm & PERMISSIONS end

plain("FS_REMOVE", "remove", "remove")
plain("FS_REMOVE_ALL", "remove_all", "remove")
plain("FS_MKDIR", "mkdir", "mkdir", permissions)
plain("FS_RENAME", "rename", "rename")
plain("FS_CHMOD", "chmod", "chmod", permissions)
plain("FS_CHOWN", "chown", "chown")
plain("FS_CHTIMES", "chtimes", "chtimes")

function requests.FS_SYMLINK(b, target, path)
  local ok, err, code = b.root:symlink(target, path)
  if not ok then return failure.of("symlink", path, err, code) end
end

--- Registers the handlers.
---@param router vmctl.CcRouter
---@param b vmctl.CcBackend
function M.install(router, b)
  local function guard(path)
    local ok, err, code = b:present()
    if not ok then return nil, err, code end
    return path
  end
  for kind, fn in pairs(requests) do
    fields.on(router, kind, guard, function(...) return fn(b, ...) end)
  end
end

return M
