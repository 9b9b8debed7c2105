--- JSON text to Lua values and back, the same through every lua-cjson.
-- Debian's lua-cjson (2.1.0) knows only floats, prints 14 digits and has no empty list; later ones differ from it in
-- each of these. So it parses text and escapes strings, and numbers and tables are looked after here. Raw control bytes
-- inside a string are accepted when decoding, as lua-cjson does. No function here yields.

local markers = require "vmctl.json.markers"

local array_mt, object_mt = markers.array, markers.object

local M = {}

--- Decodes one JSON text. Does not yield.
-- Integers come back as Lua integers (as floats outside 64 bits), all other numbers as floats. A null member of an
-- object is left out; in a list, and alone, it is `json.null`. Lists are marked, so that an empty one stays a list.
-- Raises when `text` is no string.
---@param text string one value, at most 100 levels deep, in UTF-8; of two equal keys the last counts
---@return any value nil on failure
---@return string? message
---@return string? code "EPROTO"
M.decode = require "vmctl.json.decode"

--- Encodes one value as JSON text on one line. Does not yield.
-- A table is a list when its keys are 1 to n, else an object, unless `json.array` or `json.object` has marked it; other
-- metatables are ignored. Integers are written in full, floats with as many digits as they need (3.0 as 3).
---@param value any strings must be UTF-8; nil, functions, NaN, infinity, lists with holes and cycles are refused
---@return string? text
---@return string? message
---@return string? code "EINVAL"
M.encode = require "vmctl.json.encode"

--- JSON's null. It is not nil, and true in a condition.
M.null = require "vmctl.json.library".null

--- Marks a table as a list, so that it is `[]` when empty. Raises when it has members that are no list entries.
---@generic T: table
---@param tbl? T a new table when left out
---@return T tbl the same table
function M.array(tbl)
  tbl = tbl or {}
  if type(tbl) ~= "table" or tbl[1] == nil and next(tbl) ~= nil then
    error("json.array: list expected", 2)
  end
  return setmetatable(tbl, array_mt)
end

--- Marks a table as an object, so that it is `{...}` even when its keys are 1 to n. Integer keys become strings.
---@generic T: table
---@param tbl? T a new table when left out
---@return T tbl the same table
function M.object(tbl)
  tbl = tbl or {}
  if type(tbl) ~= "table" then
    error("json.object: table expected", 2)
  end
  return setmetatable(tbl, object_mt)
end

local CROWD = 1 << 18 -- most values of a text that should be a few long strings

local function count_up_to(text, byte, most)
  local count, at = 0, text:find(byte, 1, true)
  while at and count <= most do
    count, at = count + 1, text:find(byte, at + 1, true)
  end
  return count
end

--- Tells if a text that should be a few long strings may be very many values, which would take thirty times its bytes in memory: its
--- commas and brackets are counted, those in its strings too. Does not yield.
---@param text string
---@param most? integer values (262,144)
---@return boolean
function M.is_crowded(text, most)
  most = most or CROWD
  if #text <= most then return false end
  return count_up_to(text, ",", most) + count_up_to(text, "[", most) + count_up_to(text, "{", most) > most
end

--- Tells if a value is a list: marked as one (each list that `json.decode` returns is), or not empty and from 1 on.
---@param value any
---@return boolean
function M.is_array(value)
  if type(value) ~= "table" or getmetatable(value) == object_mt then
    return false
  end
  return getmetatable(value) == array_mt or value[1] ~= nil
end

return M
