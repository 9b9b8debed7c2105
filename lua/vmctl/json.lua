--- JSON text to Lua values and back, the same through every lua-cjson.
-- lua-cjson reads and writes the text. Debian's version (2.1.0) knows only floats, prints 14 digits and has no empty
-- list; later ones differ from it in each of these. What one of them would get wrong travels past it in a string that
-- starts with the byte 0xFF. Such a string cannot be anybody's data, because what is not UTF-8 is refused both ways.
-- Neither function yields. Raw control bytes inside a string are accepted, as lua-cjson does.

local cjson = require "cjson.safe"

local find, match, sub, byte, format = string.find, string.match, string.sub, string.byte, string.format
local math_type, math_tointeger = math.type, math.tointeger
local utf8_len = utf8.len
local type, next, tonumber, getmetatable, setmetatable = type, next, tonumber, getmetatable, setmetatable

local M = {}

local MAX_DEPTH = 100
local MARK = "\255"
local MARK_BYTE = 255
local EXACT_FLOAT = 2^53                -- from here on a float may stand for several integer literals
local EXACT_DIGITS = 1e14               -- from here on 14 digits are too few

local null = cjson.null
local array_mt = { __name = "vmctl.json.array" }
local object_mt = { __name = "vmctl.json.object" }

local codec = cjson.new()               -- our own settings: the host program's stay as they are
codec.decode_max_depth(MAX_DEPTH)
codec.encode_max_depth(MAX_DEPTH)
codec.decode_invalid_numbers(false)
codec.encode_invalid_numbers(false)
codec.encode_sparse_array(true, 1, 0)   -- whatever is no list is an object, and `inspect` refuses what is neither
codec.encode_keep_buffer(false)         -- one huge message must not hold its memory for ever
local encode, decode = codec.encode, codec.decode
local decodes_integers = math_type(decode "1") == "integer"

-- Short texts that hold no number, list, empty table or null need no care in either direction, once they have been
-- found valid; a control connection says the same few of them over and over. Too short for an envelope with a secret.
local SIMPLE_LENGTH, SIMPLE_COUNT = 40, 64
local simple, simple_count = {}, 0

local function remember_if_simple(text)
  if #text > SIMPLE_LENGTH or find(text, "[%d%[]") or find(text, "{}", 1, true) or find(text, "null", 1, true) then
    return
  end
  if simple_count >= SIMPLE_COUNT then
    simple, simple_count = {}, 0
  end
  simple[text], simple_count = true, simple_count + 1
end

-- Decoding ----------------------------------------------------------------------------------------------------------

local INTEGERS, EMPTY, NULLS, UNSURE = 1, 2, 4, 8

--- Turns integral floats into integers, drops nulls from objects, marks lists and unwraps marked strings, in place.
-- Returns what was met, as a sum of the flags above: UNSURE when a number may be more than it shows.
local function settle(tbl, has_marks)
  local is_list, is_empty, seen = tbl[1] ~= nil, true, 0
  for key, value in next, tbl do
    is_empty = false
    local kind = type(value)
    if kind == "number" then
      if value % 1 ~= 0 or value >= EXACT_FLOAT or value <= -EXACT_FLOAT
        or decodes_integers and math_type(value) == "float" then
        seen = seen | UNSURE
      else
        tbl[key], seen = value | 0, seen | INTEGERS     -- faster than a call of math.tointeger
      end
    elseif kind == "table" then
      seen = seen | settle(value, has_marks)
    elseif kind == "userdata" then
      seen = seen | NULLS
      if not is_list then
        tbl[key] = nil
      end
    elseif has_marks and kind == "string" and byte(value) == MARK_BYTE then
      tbl[key] = tonumber(sub(value, 2)) or M.array()
    end
  end
  if is_list then
    setmetatable(tbl, array_mt)
  elseif is_empty then
    seen = seen | EMPTY
  end
  return seen
end

--- Whether a number of the text may have a fraction or an exponent. May be wrong with "yes", never with "no".
local function has_fraction(text)
  if find(text, "[", 1, true) then
    return find(text, "%d[.eE]") and find(text, "[%[,:]%s*%-?%d+[.eE]")
  end
  return find(text, ":%s*%-?%d+[.eE]")  -- a literal first character makes the search faster
end

--- The position after the string that starts at `at`, in text that lua-cjson has accepted.
local function skip_string(text, at)
  repeat
    at = find(text, '["\\]', at + 1)
    local is_quote = byte(text, at) == 34
    if not is_quote then
      at = at + 1
    end
  until is_quote
  return at + 1
end

--- lua-cjson leaves "1." and "-.5" to strtod, which accepts them; JSON does not.
local function is_json_number(token)
  local mantissa = token:gsub("[eE][+-]?%d+$", "")
  if not (find(mantissa, "^%-?%d+$") or find(mantissa, "^%-?%d+%.%d+$")) then
    return false
  end
  local value = tonumber(token)
  return value ~= nil and value - value == 0      -- 1e999 is infinity
end

--- The text with every number and every empty list inside a marked string.
-- Returns nil and a message when a number is none of JSON's.
local function mark(text)
  local parts, from, pos = {}, 1, 1
  while true do
    local at = find(text, '["%d%-%[]', pos)
    if not at then
      break
    end
    local first, token = byte(text, at), nil
    if first == 34 then
      pos = skip_string(text, at)
    elseif first == 91 then
      token, pos = match(text, "^(%[%s*%])()", at)
      pos = pos or at + 1
    else
      token, pos = match(text, "^([%d%-+.eE]+)()", at)
      if not is_json_number(token) then
        return nil, ("invalid number at character %d"):format(at)
      end
    end
    if token then
      parts[#parts + 1] = sub(text, from, at - 1)
      parts[#parts + 1] = first == 91 and '"\255["' or '"\255' .. token .. '"'
      from = pos
    end
  end
  parts[#parts + 1] = sub(text, from)
  return table.concat(parts)
end

local function refuse(why)
  return nil, "decode JSON: " .. why, "EPROTO"
end

local function decode_exactly(text)
  local marked, why = mark(text)
  if not marked then
    return refuse(why)
  end
  local holder = { decode(marked) }
  settle(holder, true)
  return holder[1]
end

local function decode_with_care(text)
  if type(text) ~= "string" then
    error(("json.decode: string expected, got %s"):format(type(text)), 3)
  end
  if not utf8_len(text) then
    return refuse "not valid UTF-8"
  end
  if find(text, "\0", 1, true) then     -- lua-cjson would stop there and call the rest none
    return refuse "NUL byte in the text"
  end
  local value, why = decode(text)
  local kind = type(value)
  if kind == "table" then
    local seen = settle(value)
    if seen == 0 then
      remember_if_simple(text)
    elseif seen & UNSURE ~= 0
      or seen & INTEGERS ~= 0 and not decodes_integers and has_fraction(text)
      or seen & EMPTY ~= 0 and find(text, "%[%s*%]") then
      return decode_exactly(text)
    end
    return value
  end
  if kind == "number" then
    return decode_exactly(text)
  end
  if value == nil then
    return refuse(why)
  end
  return value
end

--- Decodes one JSON text. Does not yield.
-- Integers come back as Lua integers (as floats outside 64 bits), all other numbers as floats. A null member of an
-- object is left out; in a list, and alone, it is `json.null`. Lists are marked, so that an empty one stays a list.
-- Raises when `text` is no string.
---@param text string one value, at most 100 levels deep, in UTF-8; of two equal keys the last counts
---@return any value nil on failure
---@return string? message
---@return string? code "EPROTO"
function M.decode(text)
  if simple[text] then
    return (decode(text))
  end
  return decode_with_care(text)
end

-- Encoding ----------------------------------------------------------------------------------------------------------

local function is_risky_number(value)
  return value >= EXACT_DIGITS or value <= -EXACT_DIGITS
    or value % 1 ~= 0 and tonumber(format("%.14g", value)) ~= value
end

--- The shortest digits that give the number back; an integral value without exponent, since readers of integers want
-- that.
local function number_text(value)
  if math_tointeger(value) then
    return format("%d", value)
  end
  for digits = 15, 17 do
    local text = format("%." .. digits .. "g", value)
    if tonumber(text) == value then
      return (text:gsub(",", "."))      -- the host program may have set a locale
    end
  end
end

--- Whether lua-cjson alone would write `tbl` wrongly: false, true, or the reason why it cannot be JSON at all.
-- Has no need to fear cycles: lua-cjson has been through the table before.
local function inspect(tbl)
  local length = tbl[1] ~= nil and #tbl or 0
  local count, risky = 0, false
  for key, value in next, tbl do
    count = count + 1
    if length == 0 and type(key) ~= "string"
      or length > 0 and (math_type(key) ~= "integer" or key < 1 or key > length) then
      if getmetatable(tbl) ~= object_mt then
        return "a table is neither a list without holes nor has it only string keys"
      end
      if type(key) == "number" and tbl[number_text(key)] ~= nil then
        return "two keys of an object are the same"
      end
      risky = true
    end
    local kind = type(value)
    if kind == "number" then
      if value % 1 ~= 0 or value >= EXACT_DIGITS or value <= -EXACT_DIGITS then
        risky = risky or is_risky_number(value)
      end
    elseif kind == "table" then
      local inner = inspect(value)
      if inner and inner ~= true then
        return inner
      end
      risky = risky or inner
    end
  end
  if count == 0 then
    return getmetatable(tbl) == array_mt
  elseif length > 0 and getmetatable(tbl) == object_mt then
    return true
  elseif length > 0 and count ~= length then
    return "a list has holes"
  end
  return risky
end

--- A copy in which every risky number and every empty list is a marked string, and marked objects have string keys.
local function prepare(tbl)
  if next(tbl) == nil then
    return getmetatable(tbl) == array_mt and MARK .. "[]" or tbl
  end
  local is_object, copy = getmetatable(tbl) == object_mt, {}
  for key, value in next, tbl do
    local kind = type(value)
    if kind == "table" then
      value = prepare(value)
    elseif kind == "number" and is_risky_number(value) then
      value = MARK .. number_text(value)
    end
    if is_object and type(key) == "number" then
      key = number_text(key)
    end
    copy[key] = value
  end
  return copy
end

local function cannot(why)
  return nil, "encode JSON: " .. why, "EINVAL"
end

local function encode_with_care(value, text, why)
  if value == nil then
    return cannot "nil is no JSON value (json.null is)"
  elseif not text then
    return cannot(why)
  elseif not utf8_len(text) then
    return cannot "a string is not valid UTF-8"
  end
  local kind, risky = type(value), false
  if kind == "table" then
    risky = inspect(value)
  elseif kind == "number" then
    risky = is_risky_number(value)
  end
  if not risky then
    remember_if_simple(text)
    return text
  elseif risky ~= true then
    return cannot(risky)
  end
  return (encode(prepare { value }[1]):gsub('"\255([^"]*)"', "%1"))
end

--- Encodes one value as JSON text on one line. Does not yield.
-- A table is a list when its keys are 1 to n, else an object, unless `json.array` or `json.object` has marked it; other
-- metatables are ignored. Integers are written in full, floats with as many digits as they need.
---@param value any strings must be UTF-8; functions, NaN, infinity, lists with holes and cycles are refused
---@return string? text
---@return string? message
---@return string? code "EINVAL"
function M.encode(value)
  local text, why = encode(value)
  if simple[text] then
    return text
  end
  return encode_with_care(value, text, why)
end

-- Marks -------------------------------------------------------------------------------------------------------------

--- JSON's null. It is not nil, and true in a condition.
M.null = null

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

--- Whether a value is a list: marked as one (all lists that `json.decode` returns are), or not empty and starting at 1.
---@param value any
---@return boolean
function M.is_array(value)
  if type(value) ~= "table" or getmetatable(value) == object_mt then
    return false
  end
  return getmetatable(value) == array_mt or value[1] ~= nil
end

return M
