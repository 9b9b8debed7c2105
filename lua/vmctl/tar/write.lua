--- Writes tar archives: ustar with GNU's long names, and base-256 where a number has no room, which all of today's readers know;
--- and for those that know pax headers, parts of seconds, holes and extended attributes (as SCHILY.xattr.NAME, which GNU tar and images
--- of containers have).
local sparse = require "vmctl.tar.sparse"

local M = {}

local BLOCK = 512
local CHUNK = 256 * 1024 -- bytes of a file that are in memory at a time
local TYPES = { file = "0", hard = "1", link = "2", char = "3", block = "4", directory = "5", fifo = "6" }
local NAME = 100
local ZEROS = ("\0"):rep(CHUNK)

local function padding(size)
  return ("\0"):rep(-size % BLOCK)
end

-- Octal digits and a NUL, or a binary number behind a first byte of 0x80 (0xff when it is negative).
local function number(value, width)
  if value >= 0 and value < 1 << 3 * (width - 1) then return ("%0" .. width - 1 .. "o\0"):format(value) end
  local bytes = (">i" .. math.min(width, 8)):pack(value)
  local fill = value < 0 and "\xff" or "\0"
  bytes = fill:rep(width - #bytes) .. bytes
  return (value < 0 and "\xff" or "\x80") .. bytes:sub(2)
end

local UNUSED = ("\0"):rep(12)

local function header(name, kind, entry, size, link, unused)
  local before = string.pack("c100", name:sub(1, NAME)) .. number(entry.mode & 4095, 8) .. number(entry.uid, 8) ..
    number(entry.gid, 8) .. number(size, 12) .. number(entry.mtime, 12)
  local after = kind .. string.pack("c100", (link or ""):sub(1, NAME)) .. "ustar\00000" .. ("\0"):rep(64) ..
    number(entry.major or 0, 8) .. number(entry.minor or 0, 8) .. ("\0"):rep(155) .. (unused or UNUSED)
  local bytes, sum = { (before .. after):gsub("%z+", ""):byte(1, -1) }, 8 * 32 -- zeros count for nothing
  for i = 1, #bytes do sum = sum + bytes[i] end
  return before .. ("%06o\0 "):format(sum) .. after
end

local OURS = { mode = 420, uid = 0, gid = 0, mtime = 0 }

-- A header about the next entry: "x", "L" or "K".
local function special(name, kind, body)
  return header(name, kind, OURS, #body) .. body .. padding(#body)
end

-- "LENGTH key=value\n", where the length counts itself.
local function record(key, value)
  local body = (" %s=%s\n"):format(key, value)
  local length = #body + #tostring(#body)
  if #tostring(length) + #body ~= length then length = #body + #tostring(length) end
  return length .. body
end

local function decimal_time(entry)
  local seconds, nsec = entry.mtime, entry.nsec
  if seconds < 0 and nsec > 0 then return ("-%d.%09d"):format(-seconds - 1, 1000000000 - nsec) end
  return ("%d.%09d"):format(seconds, nsec)
end

-- A name in a keyword, as GNU tar has it: "=" would end it.
local function keyword(name) return (name:gsub("[%%=]", { ["%"] = "%25", ["="] = "%3D" })) end

-- Our agent finds them in the header (docs/wire/exec.md): a small file needs no other one.
local function own_time(entry, knows)
  return knows == "vmctl" and (entry.nsec or 0) ~= 0 and ("vn%09d\0"):format(entry.nsec) or nil
end

local function add_xattrs(records, xattrs)
  local names = {}
  for name in pairs(xattrs) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do records[#records + 1] = record("SCHILY.xattr." .. keyword(name), xattrs[name]) end
end

local function extended(entry, name, knows)
  local records = {}
  if entry.xattrs then add_xattrs(records, entry.xattrs) end
  if knows == "pax" and (entry.nsec or 0) ~= 0 then records[#records + 1] = record("mtime", decimal_time(entry)) end
  if entry.map then
    records[#records + 1] = record("GNU.sparse.major", 1) .. record("GNU.sparse.minor", 0) .. record("GNU.sparse.name", name) ..
      record("GNU.sparse.realsize", entry.real_size)
  end
  return #records > 0 and special("pax", "x", table.concat(records)) or ""
end

local function long_names(link, name)
  return (#link > NAME and special("././@LongLink", "K", link .. "\0") or "") ..
    (#name > NAME and special("././@LongLink", "L", name .. "\0") or "")
end

local function fill(write, left)
  while left > 0 do
    local ok, err, code = write(left < CHUNK and ZEROS:sub(1, left) or ZEROS)
    if not ok then return nil, err, code end
    left = left - CHUNK
  end
  return true
end

-- Copies exactly as many bytes as were announced: the rest of a file that has shrunk is zeros, and reported; further bytes of one that has
-- grown are left out.
local function copy(write, read, size, stored, name)
  local left, short = size, false
  while left > 0 do
    local data, err, code = read(math.min(left, CHUNK))
    if not data and err then return nil, err, code end
    local ok
    if not data or data == "" then
      short = true
      ok, err, code = fill(write, left)
      left = 0
    else
      ok, err, code = write(data)
      left = left - #data
    end
    if not ok then return nil, err, code end
  end
  local ok, err, code = write(padding(stored))
  if not ok then return nil, err, code end
  if short then return nil, name .. ": it has become shorter while it was read", "ESHRUNK" end
  return true
end

--- Writes an entry; sockets are left out. Waits as `write` does.
---@param write fun(bytes: string): any, string?, string?
---@param entry vmctl.TarEntry
---@param read? fun(n: integer): string?, string?, string? of a file: the next bytes of its content, "" or nil at its end
---@param knows? "pax"|"vmctl" the reader knows pax headers ("vmctl": and ours, which have nanoseconds
--- themselves); without it fractions of seconds, extended attributes and holes are lost
---@return any, string?, string? code ESHRUNK: the content was shorter than its size; zeros stand for the rest, and more can be written
function M.entry(write, entry, read, knows)
  local kind = TYPES[entry.type]
  if not kind then return true end
  local name, link = entry.path:match "^/*(.*)$", entry.link or ""
  if entry.type == "directory" then name = (name == "" and "." or name) .. "/" end
  if entry.type == "hard" then link = link:match "^/*(.*)$" end
  local size = entry.type == "file" and entry.size or 0
  local map, stored = "", size
  if knows and entry.map then map, stored = sparse.write(entry.map, entry.real_size) end
  local head = (knows and extended(entry, name, knows) or "") .. long_names(link, name) ..
    header(name, kind, entry, stored, link, own_time(entry, knows))
  local ok, err, code = write(head .. map)
  if not ok or size == 0 then return ok, err, code end
  return copy(write, read, size, stored, name)
end

--- Writes the reason into an archive that breaks off; other readers than ours see only that its end is missing.
---@param err string
function M.broken(write, err)
  return write(special("pax", "g", record("VMCTL.broken", err)))
end

--- Ends an archive.
function M.finish(write)
  return write(("\0"):rep(2 * BLOCK))
end

return M
