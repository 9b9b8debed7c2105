--- Files with holes in a pax archive, as GNU tar's format 1.0 has them: the header says GNU.sparse.major=1, minor=0, the name and
--- the real size; the content begins with a map, decimal numbers in lines: how many parts, then each part's offset and size,
--- filled up to a block; then the parts.
local M = {}

local BLOCK = 512
local MOST_MAP = 1 << 20    -- bytes of a map
local MOST_DIGITS = 18

local function broken(text, ...)
  return nil, "tar: " .. text:format(...), "EPROTO"
end

--- Tells if extended headers announce a file with holes.
---@param pending table<string, string>
function M.announced(pending)
  return pending["GNU.sparse.major"] ~= nil
end

local function decimal(digits)
  return #digits > 0 and #digits <= MOST_DIGITS and not digits:find "%D" and math.tointeger(tonumber(digits)) or nil
end

-- Gives one number after the other, by reading blocks.
local function numbers(left, read_exact)
  local block, at, taken = "", 1, 0
  return function()
    local digits = ""
    while true do
      local stop = block:find("\n", at, true)
      digits = digits .. block:sub(at, (stop or #block + 1) - 1)
      if #digits > MOST_DIGITS then return nil end
      if stop then
        at = stop + 1
        return decimal(digits)
      end
      if taken + BLOCK > left or taken + BLOCK > MOST_MAP then return nil end
      block, at = read_exact(BLOCK) or "", 1
      if block == "" then return nil end
      taken = taken + BLOCK
    end
  end, function() return taken end
end

local function read_map(entry, real_size, next_number)
  local count = next_number()
  if not count or count > MOST_MAP // 4 then return nil end
  local map, past, sum = {}, 0, 0
  for _ = 1, count do
    local offset, size = next_number(), next_number()
    if not offset or not size or offset < past or size > real_size - offset then return nil end
    past, sum = offset + size, sum + size
    if sum > entry.size then return nil end
    if size > 0 then map[#map + 1] = { offset = offset, size = size } end
  end
  return map, sum
end

--- Reads the map of a file's parts; the rest is the content.
---@param entry table gets map, real_size, and the name that the header says
---@param pending table<string, string>
---@param read_exact fun(n: integer): string?
---@return integer|nil left bytes of content, string?, string?
function M.read(entry, pending, read_exact)
  if pending["GNU.sparse.major"] ~= "1" or pending["GNU.sparse.minor"] ~= "0" then
    return broken("%s: a sparse file of another format than 1.0", entry.path)
  end
  local real_size = decimal(pending["GNU.sparse.realsize"] or pending["GNU.sparse.size"] or "")
  if not real_size then return broken("%s: a sparse file without its size", entry.path) end
  entry.path = pending["GNU.sparse.name"] or entry.path
  if entry.path:find("\0", 1, true) then return broken "a name with a NUL byte" end
  local next_number, taken = numbers(entry.size, read_exact)
  local map, sum = read_map(entry, real_size, next_number)
  if not map or sum ~= entry.size - taken() then return broken("%s: a broken map of a sparse file", entry.path) end
  entry.map, entry.real_size, entry.size = map, real_size, sum
  return sum
end

--- The map in front of a file's parts, and the number of bytes that the file takes in the archive.
---@param map { offset: integer, size: integer }[]
---@param real_size integer readers make the file as long as the last part says: one without bytes is put there
---@return string map, integer stored
function M.write(map, real_size)
  local lines, sum, last = {}, 0, map[#map]
  for i, part in ipairs(map) do
    lines[i] = ("%d\n%d\n"):format(part.offset, part.size)
    sum = sum + part.size
  end
  if not last or last.offset + last.size < real_size then lines[#lines + 1] = ("%d\n0\n"):format(real_size) end
  local text = ("%d\n"):format(#lines) .. table.concat(lines)
  text = text .. ("\0"):rep(-#text % BLOCK)
  return text, #text + sum
end

return M
