--- The lines of a snapshot's manifest: one describes a path, and before it are the path's extended attributes, one a line.
---
---     xattr NAME VALUE           the value in base64
---     TYPE MODE UID GID MTIME PATH WHAT
---
--- MTIME is seconds and nanoseconds, which count upwards also before 1970. WHAT: of a file the digest and size of its content, and if it
--- has holes its real size and the parts that have content (OFFSET:SIZE, with commas); of a link its target; of a hard link an earlier
--- path of the same file; of a device its numbers.
local core = require "vmctl.core"

local M = {}

local function escape(text)
  return (text:gsub("[%c%s%%\127-\255]", function(char) return ("%%%02x"):format(char:byte()) end))
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

M.escape, M.unescape = escape, unescape

local function put_map(entry)
  local parts = {}
  for i, part in ipairs(entry.map) do parts[i] = ("%d:%d"):format(part.offset, part.size) end
  return (" %d %s"):format(entry.real_size, table.concat(parts, ","))
end

local put = {}

function put.file(entry, blob) return ("%s %d"):format(blob.hex, blob.size) .. (entry.map and put_map(entry) or "") end

function put.link(entry) return escape(entry.link) end

put.hard = put.link

function put.char(entry) return ("%d %d"):format(entry.major, entry.minor) end

put.block = put.char

function put.directory() return "" end

put.fifo = put.directory

local function put_xattrs(xattrs)
  local names, lines = {}, {}
  for name in pairs(xattrs) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do lines[i] = ("xattr %s %s\n"):format(escape(name), core.base64_encode(xattrs[name])) end
  return table.concat(lines)
end

--- Tells if a manifest has lines for that type.
---@param kind string
function M.knows(kind) return put[kind] ~= nil end

--- The lines of an entry.
---@param entry vmctl.TarEntry of a type that `knows` knows
---@param blob? { hex: string, size: integer } of a file: its content
---@return string
function M.lines(entry, blob)
  return (entry.xattrs and put_xattrs(entry.xattrs) or "") .. ("%s %o %d %d %d.%09d %s %s\n"):format(entry.type, entry.mode, entry.uid,
    entry.gid, entry.mtime, entry.nsec or 0, escape(entry.path), put[entry.type](entry, blob))
end

local function take_map(entry, real_size, text, size)
  entry.map, entry.real_size = {}, math.tointeger(real_size)
  if not entry.real_size then return nil end -- beyond all integers
  local past, sum = 0, 0
  for offset, length in text:gmatch "(%d+):(%d+)" do
    offset, length = math.tointeger(offset), math.tointeger(length)
    if not offset or not length or offset < past or length > entry.real_size - offset then return nil end
    past, sum = offset + length, sum + length
    entry.map[#entry.map + 1] = { offset = offset, size = length }
  end
  return sum == size
end

local take = {}

function take.file(entry, what)
  local hex, size, rest = what:match "^(%x+) (%d+)(.*)$"
  if not hex or #hex ~= 64 then return nil end
  size = math.tointeger(size)
  entry.content = { hex = hex, size = size }
  if rest == "" then return size end
  local real_size, parts = rest:match "^ (%d+) ([%d:,]*)$"
  return real_size and size and take_map(entry, real_size, parts, size)
end

function take.link(entry, what)
  entry.link = unescape(what)
  return true
end

take.hard = take.link

function take.char(entry, what)
  local major, minor = what:match "^(%d+) (%d+)$"
  entry.major, entry.minor = math.tointeger(major), math.tointeger(minor)
  return entry.major and entry.minor
end

take.block = take.char

function take.directory() return true end

take.fifo = take.directory

--- Reads one line.
---@param line string without its line feed
---@param xattrs table<string, string> those of the lines before it; gets one more
---@return table|boolean|nil entry false for a line that says one of its extended attributes; nil for none at all. A file's
--- `content` is { hex =, size = }
function M.read(line, xattrs)
  local name, value = line:match "^xattr (%S+) (%S*)$"
  if name then
    xattrs[unescape(name)] = core.base64_decode(value)
    return xattrs[unescape(name)] and false
  end
  local kind, mode, uid, gid, mtime, rest = line:match "^(%l+) ([0-7]+) (%d+) (%d+) (-?%d+)(.*)$"
  local nsec, path, what = (rest or ""):match "^%.?(%d*) (%S+) (.*)$" -- a first version has no nanoseconds
  if not path or not take[kind] or #nsec > 9 then return nil end
  local entry = { type = kind, mode = tonumber(mode, 8) & 4095, uid = math.tointeger(uid), gid = math.tointeger(gid),
    mtime = math.tointeger(mtime), nsec = math.tointeger(nsec) or 0, path = unescape(path), xattrs = next(xattrs) and xattrs or nil }
  if not entry.uid or not entry.gid or not entry.mtime or not take[kind](entry, what) then return nil end
  return entry
end

return M
