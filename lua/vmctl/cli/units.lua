--- Parses option values with units, and prints some: "50ms", "10%", "10mbit", "256M". Each function but `age` and
--- `size` makes a converter for argparse, whose error names the option.
local M = {}

local function number_and_unit(text)
  local number, unit = text:match "^([%d.]+)%s*(%a*%%?)$"
  if not number then number, unit = text:match "^([%d.]+[eE][+-]?%d+)%s*(%a*%%?)$" end
  return tonumber(number), unit and unit:lower()
end

local function converter(option, expected, units)
  return function(text)
    local number, unit = number_and_unit(text)
    local factor = unit and units[unit]
    if not number or not factor then return nil, ("%s: %s expected, got '%s'"):format(option, expected, text) end
    return number * factor
  end
end

local SECONDS = { [""] = 1, s = 1, sec = 1, ms = 1e-3, us = 1e-6, m = 60, min = 60, h = 3600 }
local SHARE = { [""] = 1, ["%"] = 0.01 }
local BITS = { [""] = 1, bit = 1, k = 1e3, kbit = 1e3, m = 1e6, mbit = 1e6, g = 1e9, gbit = 1e9 }
local BYTES = { [""] = 1, b = 1, k = 1 << 10, kib = 1 << 10, m = 1 << 20, mib = 1 << 20, g = 1 << 30, gib = 1 << 30 }

--- Seconds: "1.5", "50ms", "2m", "1h".
function M.seconds(option)
  return converter(option, "a time such as 5, 50ms or 2m", SECONDS)
end

--- A probability from 0 to 1: "0.1", "10%".
function M.chance(option)
  local convert = converter(option, "a chance such as 0.1 or 10%", SHARE)
  return function(text)
    local value, err = convert(text)
    if value and value > 1 then return nil, ("%s: a chance from 0 to 1, or 0%% to 100%%, expected, got '%s'"):format(option, text) end
    return value, err
  end
end

--- Bits a second: "10M", "10mbit", "64k".
function M.rate(option)
  local convert = converter(option, "a rate such as 10mbit, 64k or 1G", BITS)
  return function(text)
    local value, err = convert(text)
    if value and value < 1 then return nil, ("%s: a rate of at least 1 bit a second expected, got '%s'"):format(option, text) end
    return value and math.floor(value), err
  end
end

--- Bytes: "4096", "64k", "1G".
function M.bytes(option)
  local convert = converter(option, "a size such as 64k or 1G", BYTES)
  return function(text)
    local value, err = convert(text)
    return value and math.floor(value), err
  end
end

--- A guest's memory, as QEMU takes it: MiB without a suffix, "256M", "2G".
function M.memory(option)
  return function(text)
    if text:find "^[1-9]%d*[kKmMgGtT]?$" then return text end
    return nil, ("%s: MiB, or a size such as 256M or 2G, expected, got '%s'"):format(option, text)
  end
end

--- A whole number of at least `least` (0) and at most `most`.
function M.integer(option, least, most)
  return function(text)
    local value = math.tointeger(tonumber(text))
    if value and value >= (least or 0) and value <= (most or math.maxinteger) then return value end
    local range = most and ("from %d to %d"):format(least or 0, most) or ("of at least %d"):format(least or 0)
    return nil, ("%s: a whole number %s expected, got '%s'"):format(option, range, text)
  end
end

local AGES = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } }

--- How long ago something was, for people: "3 hours ago". Does not wait.
---@param at integer seconds of the epoch
---@return string
function M.age(at)
  local passed = math.max(0, os.time() - at)
  for _, each in ipairs(AGES) do
    local count = passed // each[1]
    if count > 0 then return ("%d %s%s ago"):format(count, each[2], count > 1 and "s" or "") end
  end
  return "now"
end

--- A size for people: "12.3 MiB". Does not wait.
---@param bytes integer
---@return string
function M.size(bytes) return ("%.1f MiB"):format(bytes / (1 << 20)) end

return M
