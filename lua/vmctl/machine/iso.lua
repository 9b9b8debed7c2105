--- A small ISO 9660 (ECMA-119): a volume whose only folder holds a few files. Linux shows its names in small letters.
local M = {}

local SECTOR, FIRST = 2048, 16           -- bytes; the descriptors' first sector
local LITTLE, BIG, ROOT, FILES = 18, 19, 20, 21 -- sectors of the path tables, of the folder, of the first file
local IS_FOLDER = 2
local NO_DATE = ("0"):rep(16) .. "\0"

local function both32(n) return ("<I4"):pack(n) .. (">I4"):pack(n) end
local function both16(n) return ("<I2"):pack(n) .. (">I2"):pack(n) end
local function padded(text, size) return text .. (" "):rep(size - #text) end
local function sectors(bytes) return (bytes + SECTOR - 1) // SECTOR end
local function fill(bytes) return bytes .. ("\0"):rep(-#bytes % SECTOR) end

-- ECMA-119 section 9.1: a directory record.
local function record(name, sector, size, flags)
  local body = "\0" .. both32(sector) .. both32(size) .. ("\0"):rep(7) .. string.char(flags, 0, 0) .. both16(1) .. ("s1"):pack(name)
  if #body % 2 == 0 then body = body .. "\0" end
  return string.char(#body + 1) .. body
end

-- Section 6.9: a path table with the root alone.
local function path_table(number) return "\1\0" .. (number .. "I4"):pack(ROOT) .. (number .. "I2"):pack(1) .. "\0\0" end

-- Section 8.4: the primary volume descriptor.
local function descriptor(label, count, table_size)
  return fill(table.concat {
    "\1CD001\1\0", padded("", 32), padded(label, 32), ("\0"):rep(8), both32(count), ("\0"):rep(32), both16(1), both16(1), both16(SECTOR),
    both32(table_size), ("<I4I4"):pack(LITTLE, 0), (">I4I4"):pack(BIG, 0), record("\0", ROOT, SECTOR, IS_FOLDER),
    padded("", 4 * 128 + 3 * 37), NO_DATE:rep(4), "\1\0",
  })
end

--- The bytes of a volume. Does not wait.
---@param label string at most 32 letters
---@param files table<string, string> contents by name, which has small letters, digits and "-"; as many as fit a sector
---@return string
function M.make(label, files)
  local names, at = {}, FILES
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  local folder, data = record("\0", ROOT, SECTOR, IS_FOLDER) .. record("\1", ROOT, SECTOR, IS_FOLDER), {}
  for i, name in ipairs(names) do
    folder = folder .. record(name:upper() .. ".;1", at, #files[name], 0)
    data[i] = fill(files[name])
    at = at + sectors(#files[name])
  end
  assert(#folder <= SECTOR and #label <= 32)
  local little = path_table "<"
  return table.concat { ("\0"):rep(FIRST * SECTOR), descriptor(label, at, #little), fill "\xffCD001\1", fill(little), fill(path_table ">"),
    fill(folder), table.concat(data) }
end

return M
