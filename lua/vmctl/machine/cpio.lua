--- Archives in cpio's "newc" form, which a Linux kernel unpacks as its first root file system.
-- The same entries give the same bytes: by default an entry belongs to root and dates from second 0, and entries are numbered in the
-- order in which they are added.
-- A folder has to be added before its contents.
local texts = require "vmctl.text"

local M = {}

---@class vmctl.Cpio
local methods = {}
local mt = { __name = "vmctl.Cpio", __index = methods }

local CHUNK = 64 * 1024                 -- bytes of a file that are in memory at a time
local MAX_SIZE = 0xffffffff             -- the size field has eight hexadecimal digits

-- The file's kind, as in the upper bits of st_mode.
local DIRECTORY, FILE, SYMLINK = 0x4000, 0x8000, 0xa000
local NODES = { c = 0x2000, b = 0x6000, p = 0x1000 }

local function padding(size)
  return ("\0"):rep(-size % 4)
end

local function clean_path(path)
  path = texts.bare(path)
  if path:find "\0" then error(("%q is no path for an archive"):format(path), 3) end
  return path == "" and "." or path
end

--- Starts an archive.
---@param write fun(bytes: string): any, string?, any  takes the next bytes; nil, message, code stops the archive
---@return vmctl.Cpio
function M.new(write)
  return setmetatable({ _write = write, _count = 0, _owner = {} }, mt)
end

local function write_header(self, path, mode, size, major, minor)
  self._count = self._count + 1
  local links, own = mode & 0xf000 == DIRECTORY and 2 or 1, self._owner
  -- magic; inode, mode, uid, gid, links, time, size, device (2), node's device (2), length of name and NUL, check
  local header = ("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X"):format(
    self._count, mode, own.uid or 0, own.gid or 0, links, own.mtime or 0, size, 0, 0, major or 0, minor or 0, #path + 1, 0)
  local head = header .. path .. "\0"
  return self._write(head .. padding(#head))
end

local function write_string(self, path, mode, bytes)
  local ok, err, code = write_header(self, path, mode, #bytes)
  if not ok then return nil, err, code end
  return self._write(bytes .. padding(#bytes))
end

local function write_handle(self, path, mode, handle)
  local size, why = handle:seek "end"
  if not size or not handle:seek "set" then
    return nil, ("size of %s: %s"):format(path, why or "cannot seek"), "ESPIPE"
  end
  if size > MAX_SIZE then return nil, ("%s is too big for an archive"):format(path), "EFBIG" end
  local ok, err, code = write_header(self, path, mode, size)
  if not ok then return nil, err, code end
  local left = size
  while left > 0 do
    local bytes, failed = handle:read(math.min(left, CHUNK))
    if not bytes then return nil, ("read %s: %s"):format(path, failed or "it became shorter meanwhile"), "EIO" end
    left = left - #bytes
    ok, err, code = self._write(bytes)
    if not ok then return nil, err, code end
  end
  return self._write(padding(size))
end

--- Sets the owner and the time of the entries that are added from now on.
---@param owner { uid: integer?, gid: integer?, mtime: integer? }  all 0 by default
function methods:owner(owner)
  self._owner = owner
end

--- Adds a folder.
---@param path string  a leading "/" is dropped, here and in the other calls; "/" is the root itself
---@param mode? integer  permissions (0755)
---@return any, string?, any  true, or nil, message, code, as in the other calls
function methods:directory(path, mode)
  return write_header(self, clean_path(path), DIRECTORY | (mode or 493), 0)
end

--- Adds a file.
---@param path string
---@param mode? integer  permissions (0644)
---@param content string|userdata  the bytes, or an open file that is copied from its start
function methods:file(path, mode, content)
  path, mode = clean_path(path), FILE | (mode or 420)
  if type(content) == "string" then return write_string(self, path, mode, content) end
  return write_handle(self, path, mode, content)
end

--- Adds a symbolic link.
---@param path string
---@param target string
function methods:symlink(path, target)
  return write_string(self, clean_path(path), SYMLINK | 511, target)
end

--- Adds a device node, or a FIFO.
---@param path string
---@param mode? integer  permissions (0600)
---@param kind "c"|"b"|"p"  character or block device, FIFO
---@param major integer
---@param minor integer
function methods:node(path, mode, kind, major, minor)
  local bits = NODES[kind] or error(("'c', 'b' or 'p' expected, got %q"):format(tostring(kind)), 2)
  return write_header(self, clean_path(path), bits | (mode or 384), 0, major, minor)
end

--- Ends the archive. Nothing can be added after it.
function methods:finish()
  self._count, self._owner = -1, {}     -- the trailer's inode is 0, as cpio itself has it
  return write_header(self, "TRAILER!!!", 0, 0)
end

local function add_copy(archive, path, entry, open)
  local handle, why, code = open(entry.from)
  if not handle then return nil, why, code end
  local start = handle:read(4) or ""
  local program = start == "\127ELF" or start:sub(1, 2) == "#!"
  local ok
  ok, why, code = archive:file(path, entry.mode or program and 493 or nil, handle)
  handle:close()
  return ok, why, code
end

local function add_entry(archive, path, entry, open)
  archive:owner(entry)
  if entry.folder then return archive:directory(path, entry.mode) end
  if entry.link then return archive:symlink(path, entry.link) end
  if entry.node then return archive:node(path, entry.mode, table.unpack(entry.node)) end
  if entry.from then return add_copy(archive, path, entry, open) end
  return archive:file(path, entry.mode, entry.content)
end

---@class vmctl.CpioEntry  one of content, from, link, folder, node
---@field content? string  the bytes
---@field from? string  a file of this machine, or another name that `open` understands
---@field link? string  target of a symbolic link
---@field folder? boolean
---@field node? { [1]: "c"|"b", [2]: integer, [3]: integer }  kind, major, minor
---@field placed? boolean  its folders are there already: a folder of the archive would replace a link on the way to it
---@field mode? integer  permissions; else 0755 for folders and programs copied from this machine, 0644
---@field uid? integer
---@field gid? integer
---@field mtime? integer  seconds

-- A sorted list of all paths, with the folders that lie on the way to them.
local function all_paths(tree)
  local seen, paths = {}, {}
  for path, entry in pairs(tree) do
    local placed = entry.placed
    while path and not seen[path] do
      seen[path] = true
      table.insert(paths, path)
      path = not placed and path:match "^(.+)/[^/]+$" or nil
    end
  end
  table.sort(paths)                     -- puts a folder before its contents
  return paths
end

--- Writes a whole archive; folders that lie on the way to an entry need none of their own.
---@param tree table<string, vmctl.CpioEntry>  by path
---@param write fun(bytes: string): any, string?, any  as for M.new
---@param open? fun(path: string): userdata?, string?, string?  opens a file to copy, or gives nil, message, code
---@return any, string?, any
function M.pack(tree, write, open)
  local archive, folder = M.new(write), { folder = true }
  for _, path in ipairs(all_paths(tree)) do
    local ok, why, code = add_entry(archive, path, tree[path] or folder, open)
    if not ok then return nil, why, code end
  end
  return archive:finish()
end

return M
