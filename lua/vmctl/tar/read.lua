--- Reads tar archives that nobody vouches for: ustar, GNU's long names, pax headers. Every number is checked before it is
--- used; where an entry would lie is not this file's business.
local M = {}

local BLOCK = 512
local MOST_HEADER = 1 << 20  -- bytes of a long name or of a pax header
local MOST_ENTRIES = 2000000
local TYPES = { ["0"] = "file", ["\0"] = "file", ["7"] = "file", ["1"] = "hard", ["2"] = "link", ["3"] = "char", ["4"] = "block",
  ["5"] = "directory", ["6"] = "fifo" }

local function broken(text, ...)
  return nil, "tar: " .. text:format(...), "EPROTO"
end

-- Octal digits, or (its first bit set) a binary number.
local function number(field)
  local first = field:byte()
  if first == 0x80 then
    local value = 0
    for i = 2, #field do
      if value >> 55 ~= 0 then return nil end
      value = value << 8 | field:byte(i)
    end
    return value
  end
  local digits = field:match "^[%s%z]*([0-7]*)[%s%z]*$"
  if not digits then return nil end
  return digits == "" and 0 or tonumber(digits, 8)
end

local function text(field)
  return field:match "^[^%z]*"
end

local function check_sum(block)
  local sum = 8 * 32
  for i = 1, BLOCK do
    if i < 149 or i > 156 then sum = sum + block:byte(i) end
  end
  return sum == number(block:sub(149, 156))
end

-- A header as it stands there.
local function parse(block)
  if not check_sum(block) then return broken "a header whose check sum is wrong" end
  local entry = {
    mode = number(block:sub(101, 108)), uid = number(block:sub(109, 116)), gid = number(block:sub(117, 124)),
    size = number(block:sub(125, 136)), mtime = number(block:sub(137, 148)), flag = block:sub(157, 157),
    link = text(block:sub(158, 257)), path = text(block:sub(1, 100)), major = number(block:sub(330, 337)) or 0,
    minor = number(block:sub(338, 345)) or 0,
  }
  for _, name in ipairs { "mode", "uid", "gid", "size", "mtime" } do
    if not entry[name] or entry[name] < 0 then return broken("a header without a usable %s", name) end
  end
  local prefix = block:sub(258, 262) == "ustar" and block:sub(263, 263) == "\0" and text(block:sub(346, 500)) or ""
  if prefix ~= "" then entry.path = prefix .. "/" .. entry.path end
  entry.mode = entry.mode & 4095
  return entry
end

local function parse_pax(body)
  local values, at = {}, 1
  while at <= #body do
    local digits = body:match("^(%d+) ", at)
    local length = digits and #digits < 10 and math.tointeger(tonumber(digits))
    if not length or length > #body - at + 1 or length <= #digits + 2 then return broken "a broken extended header" end
    local key, value = body:sub(at + #digits + 1, at + length - 2):match "^([^=]+)=(.*)$"
    if not key then return broken "a broken extended header" end
    values[key] = value
    at = at + length
  end
  return values
end

local function apply_pax(entry, values)
  entry.path, entry.link = values.path or entry.path, values.linkpath or entry.link
  for _, name in ipairs { "size", "uid", "gid", "mtime" } do
    if values[name] then
      local value = math.tointeger(tonumber(values[name]:match "^(-?%d+)"))
      if not value or (value < 0 and name ~= "mtime") then return broken("an extended header with a bad %s", name) end
      entry[name] = value
    end
  end
  return true
end

local function read_exact(source, n)
  local parts, left = {}, n
  while left > 0 do
    local data = source:read(left)
    if not data or data == "" then return nil end
    parts[#parts + 1] = data
    left = left - #data
  end
  return table.concat(parts)
end

local function read_header_body(source, entry)
  if entry.size > MOST_HEADER then return broken("an extended header of %d bytes", entry.size) end
  local body = read_exact(source, entry.size)
  if not body or not source:skip(-entry.size % BLOCK) then return broken "it ends in the middle" end
  return body
end

-- Takes in a header that says something about the next entry: true if it was one; false if it was not.
local function take_special(source, entry, pending)
  local flag = entry.flag
  if flag ~= "x" and flag ~= "g" and flag ~= "L" and flag ~= "K" then return false end
  local body, err, code = read_header_body(source, entry)
  if not body then return nil, err, code end
  if flag == "L" then pending.path = text(body)
  elseif flag == "K" then pending.linkpath = text(body)
  elseif flag == "x" then
    local values
    values, err, code = parse_pax(body)
    if not values then return nil, err, code end
    for key, value in pairs(values) do pending[key] = value end
  end
  return true
end

-- Lets an entry be seen, and leaves out what was not read of it.
local function show(source, entry, visit)
  local left = entry.size
  local function read(n)
    local data = source:read(math.min(n, left))
    if data then left = left - #data end
    return data
  end
  local ok, err, code = visit(entry, read)
  if not ok then return nil, err, code end
  if not source:skip(left + -entry.size % BLOCK) then return broken("it ends inside %s", entry.path) end
  return true
end

local function finish(entry, pending)
  local ok, err, code = apply_pax(entry, pending)
  if not ok then return nil, err, code end
  if entry.path:find("\0", 1, true) or entry.link:find("\0", 1, true) then return broken "a name with a NUL byte" end
  entry.type = TYPES[entry.flag] or "other"
  if entry.flag == "0" and entry.path:sub(-1) == "/" then entry.type = "directory" end
  if entry.type ~= "file" and entry.type ~= "other" then entry.size = 0 end
  return true
end

--- Reads an archive to its end.
---@param source table with read(n) -> bytes|nil at the end, skip(n) -> whether they were there
---@param visit fun(entry: table, read: fun(n: integer): string?): true|nil, string?, string? `entry` has path, type (also "hard",
-- a hard link to `link`, and "other"), mode, uid, gid, mtime, size, link, major, minor; `read` gives content
---@return true|nil, string?, string? EPROTO
function M.each(source, visit)
  local pending, count = {}, 0
  while true do
    local block = read_exact(source, BLOCK)
    if not block then return broken "it ends without an end mark" end
    if not block:find "[^%z]" then return true end
    local entry, err, code = parse(block)
    if not entry then return nil, err, code end
    count = count + 1
    if count > MOST_ENTRIES then return broken("more than %d entries", MOST_ENTRIES) end
    local special
    special, err, code = take_special(source, entry, pending)
    if special == nil then return nil, err, code end
    if not special then
      local ok
      ok, err, code = finish(entry, pending)
      if ok then ok, err, code = show(source, entry, visit) end
      if not ok then return nil, err, code end
      pending = {}
    end
  end
end

return M
