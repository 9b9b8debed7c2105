--- JSON text to Lua values (a part of vmctl.json): lua-cjson parses, and what it makes of numbers, nulls and lists is
-- set right. What no look at its result can set right (integers of 64 bits, 3.0, an empty list) is parsed once more,
-- inside strings that begin with a byte which no UTF-8 text holds.

local cjson = require "vmctl.json.library"
local markers = require "vmctl.json.markers"

local byte, find, format, gsub = string.byte, string.find, string.format, string.gsub
local match, sub, math_type, utf8_len = string.match, string.sub, math.type, utf8.len
local type, next, pcall, tonumber, setmetatable = type, next, pcall, tonumber, setmetatable

local MAX_DEPTH = markers.MAX_DEPTH
local array_mt = markers.array

local decode, decimal_point

local function current_decimal_point()
  return sub(format("%.1f", 0.5), 2, 2)
end

local function renew_codec()
  local codec = cjson.new()             -- our own settings: the host program's stay as they are
  codec.decode_max_depth(MAX_DEPTH)
  codec.decode_invalid_numbers(false)
  decode, decimal_point = codec.decode, current_decimal_point()
end

renew_codec()
local decodes_integers = math_type(decode "1") == "integer"

local EXACT_FLOAT = 2^53                -- from here on one float may stand for several integer literals
local MARK_BYTE = 255                   -- begins a string that stands for a number: never in text that is UTF-8

local INTEGERS, FRACTIONS, UNSURE, EMPTY, NULLS = 1, 2, 4, 8, 16

--- Turns integral floats into integers, drops nulls from objects, marks lists and replaces marked strings, in place.
-- Returns what was met, as a sum of the flags above; UNSURE when the value of a number may be wrong.
local function settle(tbl, has_marks)
  local is_list, is_empty, seen = tbl[1] ~= nil, true, 0
  for key, value in next, tbl do
    is_empty = false
    local kind = type(value)
    if kind == "number" then
      if value % 1 ~= 0 then
        seen = seen | (value - value == 0 and FRACTIONS or UNSURE)      -- 1e999 is infinity
      elseif value >= EXACT_FLOAT or value <= -EXACT_FLOAT then
        seen = seen | UNSURE
      elseif decodes_integers and math_type(value) == "float" then
        seen = seen | FRACTIONS
      else
        tbl[key], seen = value | 0, seen | INTEGERS                     -- faster than a call of math.tointeger
      end
    elseif kind == "table" then
      seen = seen | settle(value, has_marks)
    elseif kind == "userdata" then
      seen = seen | NULLS
      if not is_list then
        tbl[key] = nil
      end
    elseif has_marks and kind == "string" and byte(value) == MARK_BYTE then
      tbl[key] = tonumber(sub(value, 2)) or setmetatable({}, array_mt)
    end
  end
  if is_list then
    setmetatable(tbl, array_mt)
  elseif is_empty then
    seen = seen | EMPTY
  end
  return seen
end

local EXPONENTS = { "E", ".e", "0e", "1e", "2e", "3e", "4e", "5e", "6e", "7e", "8e", "9e" }
local EIGHT_DIGITS = "^%d%d%d%d%d%d%d%d"

--- Tells if the text may hold a number like 3.0 or 3e2, which `settle` takes for an integer, or like "3." or "-.5",
-- which strtod accepts and JSON does not. A look-alike inside a string costs time only. Many plain searches are faster
-- than one pattern.
local function has_odd_number(text)
  local dot = find(text, ".", 1, true)
  if dot and find(text, "-.", 1, true) then
    return true
  end
  while dot do
    -- 0.99999999999999999 is 1.0 for a float too, but only with more than 15 digits, 8 of them on one side.
    if find(text, "^0*[%s,}%]]", dot + 1) or find(text, EIGHT_DIGITS, dot + 1)
      or dot > 8 and find(text, EIGHT_DIGITS, dot - 8) then
      return true
    end
    dot = find(text, ".", dot + 1, true)
  end
  for i = 1, #EXPONENTS do
    if find(text, EXPONENTS[i], 1, true) then
      return find(text, "[%[,:]%s*%-?[%d.]+[eE]") ~= nil
    end
  end
  return false
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

local function is_json_number(token)
  local mantissa = gsub(token, "[eE][+-]?%d+$", "")
  if not (find(mantissa, "^%-?%d+$") or find(mantissa, "^%-?%d+%.%d+$")) then
    return false
  end
  local value = tonumber(token)
  return value ~= nil and value - value == 0
end

--- The text with every number, and every empty list, as a string that begins with the mark byte.
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
      token, pos = match(text, "^(%[)%s*%]()", at)
      pos = pos or at + 1
    else
      token, pos = match(text, "^([%d%-+.eE]+)()", at)
      if not is_json_number(token) then
        return nil, ("invalid number at character %d"):format(at)
      end
    end
    if token then
      parts[#parts + 1] = sub(text, from, at - 1)
      parts[#parts + 1] = '"\255' .. token .. '"'
      from = pos
    end
  end
  parts[#parts + 1] = sub(text, from)
  return table.concat(parts)
end

local function refuse(why)
  return nil, "decode JSON: " .. why, "EPROTO"
end

--- Decodes text that lua-cjson has accepted once more, with Lua's own reading of numbers.
local function decode_exactly(text)
  local marked, why = mark(text)
  if not marked then
    return refuse(why)
  end
  local holder = { decode(marked) }
  settle(holder, true)
  return holder[1]
end

-- Short texts with nothing to settle, found valid before: a control connection says the same few over and over. Too
-- short for an envelope with a secret in it.
local SIMPLE_LENGTH, SIMPLE_COUNT = 40, 64
local simple, simple_count = {}, 0

local function remember_if_simple(text)
  if #text <= SIMPLE_LENGTH and not find(text, "[", 1, true) then
    if simple_count >= SIMPLE_COUNT then
      simple, simple_count = {}, 0
    end
    simple[text], simple_count = true, simple_count + 1
  end
end


local function decode_with_care(text)
  if type(text) ~= "string" then
    error(("json.decode: string expected, got %s"):format(type(text)), 2)      -- a tail call: 2 is the user
  end
  if not utf8_len(text) then
    return refuse "not valid UTF-8"
  end
  if find(text, "\0", 1, true) then     -- lua-cjson would stop there and not see what follows
    return refuse "NUL byte in the text"
  end
  local ok, value = pcall(decode, text)
  local kind = type(value)
  if not ok then
    if decimal_point ~= current_decimal_point() then
      renew_codec()                     -- lua-cjson fails on fractions when setlocale is called after cjson.new
      return decode_with_care(text)
    end
    return refuse(value)
  elseif kind == "number" then
    return decode_exactly(text)
  elseif kind == "table" then
    local seen = settle(value)
    if seen == 0 then
      remember_if_simple(text)
    elseif seen & UNSURE ~= 0
      or seen & (decodes_integers and FRACTIONS or FRACTIONS | INTEGERS) ~= 0 and has_odd_number(text)
      or seen & EMPTY ~= 0 and find(text, "%[%s*%]") then
      return decode_exactly(text)
    end
  end
  return value
end

return function(text)
  if simple[text] then
    return decode(text)
  end
  return decode_with_care(text)
end
