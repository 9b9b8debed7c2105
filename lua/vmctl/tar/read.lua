--- Reads untrusted tar archives: ustar, GNU's long names and base-256 numbers, pax headers, GNU's sparse files of
--- format 1.0. Every number is checked before it is used, and only those fields of headers that have a meaning here are kept. Paths are
--- not checked here.
local pax = require "vmctl.tar.pax"
local sparse = require "vmctl.tar.sparse"

local M = {}

local BLOCK = 512
local MOST_NAME = 1 << 20    -- bytes of a long name
local MOST_PAX = 4 << 20     -- bytes of a pax header
local MOST_ENTRIES = 2000000
local MOST_PATH = 4096       -- bytes of a name, as Linux has them
local MOST_HEADERS = 16      -- headers in front of one entry
local TYPES = { ["0"] = "file", ["\0"] = "file", ["7"] = "file", ["1"] = "hard", ["2"] = "link", ["3"] = "char", ["4"] = "block",
  ["5"] = "directory", ["6"] = "fifo" }
local OURS = ("v"):byte()    -- of our agent's archives: nanoseconds where ustar has nothing (docs/wire/exec.md)
local BLANK = ("\0"):rep(BLOCK)

local function broken(text, ...)
  return nil, "tar: " .. text:format(...), "EPROTO"
end

-- A number in base 256: big-endian, the first bit is set, the second one is the sign.
local function binary(field)
  local value = field:byte() & 0x7f
  if value & 0x40 ~= 0 then value = value - 0x80 end
  for i = 2, #field do
    if value >= 1 << 54 or value < -(1 << 54) then return nil end
    value = value * 256 + field:byte(i)
  end
  return value
end

-- Octal digits, or (its first bit set) a binary number.
local function number(field)
  if field:byte() & 0x80 ~= 0 then return binary(field) end
  local digits = field:match "^[%s%z]*([0-7]*)[%s%z]*$" -- a field has 12 bytes at most
  if not digits then return nil end
  return digits == "" and 0 or tonumber(digits, 8)
end

local function text(field)
  local stop = field:find("\0", 1, true)
  return stop and field:sub(1, stop - 1) or field
end

-- Most of a header is zeros, which count for nothing.
local function check_sum(block)
  local bytes, sum = { (block:sub(1, 148) .. block:sub(157)):gsub("%z+", ""):byte(1, -1) }, 8 * 32
  for i = 1, #bytes do sum = sum + bytes[i] end
  return sum == number(block:sub(149, 156))
end

-- Parses a header's fields.
local function parse(block)
  if not check_sum(block) then return broken "a header whose check sum is wrong" end
  local entry = {
    mode = number(block:sub(101, 108)), uid = number(block:sub(109, 116)), gid = number(block:sub(117, 124)),
    size = number(block:sub(125, 136)), mtime = number(block:sub(137, 148)), flag = block:sub(157, 157),
    link = text(block:sub(158, 257)), path = text(block:sub(1, 100)), major = number(block:sub(330, 337)) or 0,
    minor = number(block:sub(338, 345)) or 0, nsec = 0,
  }
  for _, name in ipairs { "mode", "uid", "gid", "size", "mtime" } do
    if not entry[name] or (entry[name] < 0 and name ~= "mtime") then return broken("a header without a usable %s", name) end
  end
  if block:byte(501) == OURS then entry.nsec = math.tointeger(tonumber(block:match("^vn(%d%d%d%d%d%d%d%d%d)%z", 501) or 0)) end
  local prefix = block:sub(258, 262) == "ustar" and block:sub(263, 263) == "\0" and text(block:sub(346, 500)) or ""
  if prefix ~= "" then entry.path = prefix .. "/" .. entry.path end
  entry.mode = entry.mode & 4095
  return entry
end

local function read_exact(source, n)
  local parts, left = {}, n
  while left > 0 do
    local data, err, code = source:read(left)
    if not data or data == "" then return nil, err, code end
    if #data == n then return data end
    parts[#parts + 1] = data
    left = left - #data
  end
  return table.concat(parts)
end

-- The failure of a read; the end of the stream is a failure inside an entry.
local function cut(err, code, where)
  if err and code ~= "EOF" then return nil, err, code end
  return broken("it ends %s", where)
end

local function read_header_body(source, entry, most)
  if entry.size > most then return broken("an extended header of %d bytes", entry.size) end
  local body, err, code = read_exact(source, entry.size)
  if not body or not source:skip(-entry.size % BLOCK) then return cut(err, code, "in the middle") end
  return body
end

-- Takes a header about all entries. It has no effect here, except for the reason why an archive of ours breaks off.
local function take_global(body)
  local values = {}
  local ok = body:find("VMCTL.broken", 1, true) and pax.parse(body, values)
  if not ok or not values["VMCTL.broken"] then return true end
  return nil, "tar: it breaks off: " .. values["VMCTL.broken"]:sub(1, MOST_PATH):gsub("%c", "?"), "EREMOTE"
end

-- Takes a header about the next entry: true if it was one; false if it was not.
local function take_special(source, entry, pending)
  local flag = entry.flag
  if flag ~= "x" and flag ~= "g" and flag ~= "L" and flag ~= "K" then return false end
  pending.count = (pending.count or 0) + 1
  if pending.count > MOST_HEADERS then return broken("more than %d headers in front of one entry", MOST_HEADERS) end
  local is_pax = flag == "x" or flag == "g"
  local body, err, code = read_header_body(source, entry, is_pax and MOST_PAX or MOST_NAME)
  if not body then return nil, err, code end
  if flag == "L" then pending.path = text(body)
  elseif flag == "K" then pending.linkpath = text(body)
  elseif flag == "x" then
    return pax.parse(body, pending)
  else
    return take_global(body)
  end
  return true
end

-- Passes an entry to `visit`, and skips the part of its content that was not read.
local function show(source, entry, visit, left)
  local function read(n)
    if left == 0 then return "" end
    local data, err, code = source:read(math.min(n, left))
    if not data then return cut(err, code, "inside " .. entry.path) end
    left = left - #data
    return data
  end
  local ok, err, code = visit(entry, read)
  if not ok then return nil, err, code end
  if not source:skip(left + -entry.stored % BLOCK) then return broken("it ends inside %s", entry.path) end
  return true
end

local function finish(entry, pending)
  local ok, err, code = pax.apply(entry, pending)
  if not ok then return nil, err, code end
  if entry.path:find("\0", 1, true) or entry.link:find("\0", 1, true) then return broken "a name with a NUL byte" end
  if #entry.path > MOST_PATH or #entry.link > MOST_PATH then return broken("a name of more than %d bytes", MOST_PATH) end
  entry.type = TYPES[entry.flag] or "other"
  if (entry.flag == "0" or entry.flag == "\0") and entry.path:sub(-1) == "/" then entry.type = "directory" end
  if entry.type ~= "file" and entry.type ~= "other" then entry.size = 0 end
  entry.stored = entry.size
  return true
end

local function read_entry(source, entry, pending, visit)
  local ok, err, code = finish(entry, pending)
  if not ok then return nil, err, code end
  local left = entry.size
  if entry.type == "file" and sparse.announced(pending) then
    left, err, code = sparse.read(entry, pending, function(n) return read_exact(source, n) end)
    if not left then return nil, err, code end
  end
  return show(source, entry, visit, left)
end

--- Reads an archive to its end.
---@param source table with read(n) -> bytes|nil at the end (or nil, message, code), skip(n) -> true if there were as many
---@param visit fun(entry: table, read: fun(n: integer): string?): true|nil, string?, string? `entry` has path, type (also "hard",
--- a hard link to `link`, and "other"), mode, uid, gid, mtime (seconds, also before 1970), nsec, size, link, major, minor, if it has
--- some xattrs, and of a file with holes map ({ offset, size } of each part that `read` gives, ascending) and real_size; `read` gives
--- content, "" at its end
---@param most? integer entries (2,000,000)
---@return true|nil, string?, string? code EPROTO, ETOOBIG: more entries, or larger extended attributes; EREMOTE: a writer of ours
--- has given the reason why it breaks off; or the failure of the source
function M.each(source, visit, most)
  local pending, count = {}, 0
  most = most or MOST_ENTRIES
  while true do
    local block, err, code = read_exact(source, BLOCK)
    if not block then return cut(err, code, "without an end mark") end
    if block == BLANK then return true end
    local entry
    entry, err, code = parse(block)
    if not entry then return nil, err, code end
    local special
    special, err, code = take_special(source, entry, pending)
    if special == nil then return nil, err, code end
    if not special then
      count = count + 1
      if count > most then return nil, ("tar: more than %d entries"):format(most), "ETOOBIG" end
      local ok
      ok, err, code = read_entry(source, entry, pending, visit)
      if not ok then return nil, err, code end
      pending = {}
    end
  end
end

return M
