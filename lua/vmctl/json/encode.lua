--- Lua values to JSON text (a part of vmctl.json). lua-cjson escapes the strings; tables and numbers are written here,
-- because so much of what it would write had to be checked or replaced that it saved no time.

local cjson = require "vmctl.json.library"
local markers = require "vmctl.json.markers"

local find, format, gsub, concat = string.find, string.format, string.gsub, table.concat
local math_type, utf8_len = math.type, utf8.len
local type, next, tonumber, getmetatable = type, next, tonumber, getmetatable

local MAX_DEPTH = markers.MAX_DEPTH
local array_mt, object_mt, null = markers.array, markers.object, cjson.null

local codec = cjson.new()               -- our own settings: the host program's stay as they are
codec.encode_keep_buffer(false)         -- one huge string must not hold its memory for ever
local encode_string = codec.encode

local MAX_INTEGER = 2^63

-- Keys and short values come again and again: each is kept as it was written, a key with what stands around it.
local KEY_LENGTH, VALUE_LENGTH, CACHE_COUNT = 64, 24, 256
local first_keys, later_keys, short_values, cache_count

local function empty_caches()
  first_keys, later_keys, cache_count = {}, {}, 0
  short_values = { [true] = "true", [false] = "false", [null] = "null" }
end
empty_caches()

local function count_cached()
  if cache_count >= CACHE_COUNT then
    empty_caches()
  end
  cache_count = cache_count + 1
end

--- A string as JSON, or nil when it is not UTF-8.
local function quote(text)
  if not utf8_len(text) then
    return nil
  end
  local quoted = encode_string(text)
  if #quoted <= 4096 and find(quoted, "\\/", 1, true) then
    quoted = gsub(quoted, "\\(.)", { ["/"] = "/" })     -- JSON need not escape a slash, and paths read better without
  end
  return quoted
end

local function quote_value(value)
  local quoted = quote(value)
  if quoted and #value <= VALUE_LENGTH then
    count_cached()
    short_values[value] = quoted
  end
  return quoted
end

--- A key of `tbl` with its colon and the brace or comma before it; or nil and the mistake.
local function quote_key(tbl, key, is_first)
  if math_type(key) == "integer" and getmetatable(tbl) == object_mt then
    local name = format("%d", key)
    if tbl[name] ~= nil then
      return nil, "two keys of an object are the same"
    end
    return (is_first and '{"' or ',"') .. name .. '":'
  elseif type(key) ~= "string" then
    return nil, "a table is neither a list nor has it only strings as keys"
  end
  local quoted = quote(key)
  if not quoted then
    return nil, "a key is not valid UTF-8"
  end
  local first, later = "{" .. quoted .. ":", "," .. quoted .. ":"
  if #key <= KEY_LENGTH then
    count_cached()
    first_keys[key], later_keys[key] = first, later
  end
  return is_first and first or later
end

--- The fewest digits that give the float back, or nil for NaN and infinity.
local function float_text(value)
  if value - value ~= 0 then
    return nil
  end
  for digits = 14, 17 do
    local text = format("%." .. digits .. "g", value)
    if tonumber(text) == value then
      return (gsub(text, ",", "."))     -- the host program may have set a locale
    end
  end
end

local table_text

--- One value as JSON (for an integer, the integer itself: concatenation writes it in full); or nil and the mistake.
local function value_text(value, depth)
  local kind = type(value)
  if kind == "string" then
    return short_values[value] or quote_value(value), "a string is not valid UTF-8"
  elseif kind == "table" then
    return table_text(value, depth + 1)
  elseif kind ~= "number" then
    return short_values[value], ("a %s is no JSON value"):format(kind)
  elseif value % 1 == 0 and value < MAX_INTEGER and value >= -MAX_INTEGER then
    return value | 0
  end
  return float_text(value), "a number is NaN or infinite"
end

local function list_text(tbl, depth)
  local count = 0
  for _ in next, tbl do
    count = count + 1
  end
  local pieces = {}
  for index = 1, count do
    local value = tbl[index]
    if value == nil then                -- as many members as indices: one that lacks means one that is none
      return nil, "a list has holes or named members"
    end
    local piece = short_values[value]
    if not piece then
      local why
      piece, why = value_text(value, depth)
      if not piece then
        return nil, why
      end
    end
    pieces[index] = piece
  end
  return "[" .. concat(pieces, ",") .. "]"
end

local PIECE_LENGTH = 1024

local function object_text(tbl, depth)
  local text, keys, pieces = "", first_keys, nil
  for key, value in next, tbl do
    local name, piece = keys[key], short_values[value]
    if not name then
      local why
      name, why = quote_key(tbl, key, keys == first_keys)
      if not name then
        return nil, why
      end
    end
    if not piece then
      local why
      piece, why = value_text(value, depth)
      if not piece then
        return nil, why
      end
    end
    text, keys = text .. name .. piece, later_keys
    if #text > PIECE_LENGTH then        -- ever longer strings would take quadratic time
      pieces = pieces or {}
      pieces[#pieces + 1], text = text, ""
    end
  end
  if pieces then
    text = concat(pieces) .. text
  end
  return keys == first_keys and "{}" or text .. "}"
end

function table_text(tbl, depth)
  if depth > MAX_DEPTH then
    return nil, ("more than %d levels deep"):format(MAX_DEPTH)
  end
  local mt = getmetatable(tbl)
  if mt and mt ~= array_mt and mt ~= object_mt then
    local copy = {}                     -- somebody's class: its members count, its metamethods do not
    for key, value in next, tbl do
      copy[key] = value
    end
    tbl = copy
  end
  if mt == array_mt or mt ~= object_mt and tbl[1] ~= nil then
    return list_text(tbl, depth)
  end
  return object_text(tbl, depth)
end

return function(value)
  local text, why
  if type(value) == "table" then
    text, why = table_text(value, 1)
  else
    text, why = value_text(value, 0)
  end
  if not text then
    return nil, "encode JSON: " .. why, "EINVAL"
  end
  return text .. ""                     -- an integer is still one
end
