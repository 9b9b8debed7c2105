--- Checks option tables: an unknown name or a value of a wrong type raises at the caller's line.

local M = {}

local DEFAULT_LEVEL = 3                 -- check <- the function with the options <- its caller, which has the mistake
local NAN_NAME = "not a number (NaN)"

local function class_name(value)
  local mt = getmetatable(value)
  if type(mt) == "table" then return rawget(mt, "__name") end
  return type(value) == "userdata" and tostring(value):match "^(vmctl%.%a+)%(" or nil -- the core's metatables are hidden
end

local function is_callable(value)
  local mt = getmetatable(value)
  return type(value) == "function" or type(mt) == "table" and rawget(mt, "__call") ~= nil
end

local comparisons = {
  [">"] = function(value, limit) return value > limit end,
  [">="] = function(value, limit) return value >= limit end,
  ["<"] = function(value, limit) return value < limit end,
  ["<="] = function(value, limit) return value <= limit end,
}

local tests = {
  any = function() return true end,
  integer = function(value)
    return math.type(value) == "integer" or math.type(value) == "float" and math.tointeger(value) ~= nil
  end,
  number = function(value) return type(value) == "number" and value == value end,
  callable = is_callable,
}

local function test_of(kind)
  if tests[kind] then
    return tests[kind]
  elseif kind:find(".", 1, true) then
    return function(value) return class_name(value) == kind end
  end
  return function(value) return type(value) == kind end
end

local function parse_alternative(text)
  local kind, conditions = text:match "^%s*([%a_.]+)%s*(.-)%s*$"
  if not kind then
    error(("options: malformed type '%s'"):format(text), 0)
  end
  local alternative = { test = test_of(kind) }
  for operator, limit in conditions:gmatch "([<>]=?)%s*([^<>%s]+)" do
    table.insert(alternative, { comparisons[operator], tonumber(limit) })
  end
  return alternative
end

-- The alternatives of each type that was met: types stand in the code, so that there are few.
local parsed = {}

local function parse(want)
  local list = {}
  for text in want:gmatch "[^|]+" do
    list[#list + 1] = parse_alternative(text)
  end
  parsed[want] = list
  return list
end

local function fits_alternative(value, alternative)
  if not alternative.test(value) then
    return false
  end
  for i = 1, #alternative do
    if not alternative[i][1](value, alternative[i][2]) then
      return false
    end
  end
  return true
end

local function fits(value, want)
  if type(want) == "table" then
    for _, choice in ipairs(want) do
      if value == choice then
        return true
      end
    end
    return false
  end
  local alternatives = parsed[want] or parse(want)
  for i = 1, #alternatives do
    if fits_alternative(value, alternatives[i]) then
      return true
    end
  end
  return false
end

--- The expected type in words: "number or table", "number >= 0", "'a' or 'b'".
local function describe(want)
  if type(want) ~= "table" then
    return (want:gsub("%s*|%s*", " or "):gsub("%s*([<>]=?)%s*", " %1 "))
  end
  local choices = {}
  for i, choice in ipairs(want) do
    choices[i] = ("'%s'"):format(choice)
  end
  return table.concat(choices, " or ")
end

--- The given value in words. Text is shown only if a word of a list was expected: elsewhere it may be a secret.
local function describe_value(value, want)
  if value ~= value then
    return NAN_NAME
  elseif type(value) == "number" or type(value) == "boolean" then
    return tostring(value)
  elseif type(value) == "string" and type(want) == "table" then
    return ("'%s'"):format(value:sub(1, 40):gsub("[%c\127-\255]", "?"))
  end
  return class_name(value) or type(value)
end

--- The number of insertions, deletions, replacements and swaps of neighbours that make `from` into `to`.
local function distance(from, to)
  local before, last = nil, {}
  for j = 0, #to do
    last[j] = j
  end
  for i = 1, #from do
    local row = { [0] = i }
    for j = 1, #to do
      local cost = from:byte(i) == to:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and from:byte(i) == to:byte(j - 1) and from:byte(i - 1) == to:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#to]
end

local function plain(name)
  return (name:lower():gsub("[_-]", ""))
end

--- The known name that is nearest to a mistaken one, or nil when none is near.
local function nearest(name, names)
  local best, best_distance = nil, math.max(1, #name // 3) + 1
  for _, candidate in ipairs(names) do
    local d = distance(plain(name), plain(candidate))
    if d < best_distance then
      best, best_distance = candidate, d
    end
  end
  return best
end

--- The known name that is nearest to a mistaken one, if it is near. Does not wait.
---@param name string
---@param names string[]
---@return string?
M.nearest = nearest

local function unknown_message(key, known)
  if type(key) ~= "string" then
    return ("unexpected entry [%s]"):format(tostring(key))
  end
  local names = {}
  for name in pairs(known) do
    if type(name) == "string" then
      names[#names + 1] = name
    end
  end
  table.sort(names)                     -- the same message each time
  local shown = key:sub(1, 40):gsub("[%c\127-\255]", "?")
  local guess = #key <= 40 and nearest(key, names)
  if guess then
    return ("unknown option '%s' (did you mean '%s'?)"):format(shown, guess)
  elseif #names == 0 then
    return ("unknown option '%s' (there are none)"):format(shown)
  end
  return ("unknown option '%s' (known: %s)"):format(shown, table.concat(names, ", "))
end

--- The mistake in one member of an option table as a sentence, or nil.
local function mistake_of(key, value, opts, known)
  local in_list = math.type(key) == "integer" and key >= 1 and key <= #opts
  local want = known[in_list and 1 or key]
  if want == nil then
    return unknown_message(key, known)
  elseif not fits(value, want) then
    local name = in_list and ("entry %d"):format(key) or ("option '%s'"):format(key)
    return ("%s: %s expected, got %s"):format(name, describe(want), describe_value(value, want))
  end
end

--- The first mistake in an option table as a sentence, or nil. Most options have the Lua type that is wanted: for these one comparison
--- does; not for numbers, of which one is none.
local function mistake(opts, known)
  for key, value in next, opts do
    local kind = type(value)
    if known[key] ~= kind or kind == "number" then
      local message = mistake_of(key, value, opts, known)
      if message then return message end
    end
  end
end

--- Checks an option table. Raises at the caller's caller when a name is unknown or a value has the wrong type.
-- `known` maps a name to a type: a Lua type, "integer", "callable", "any" or a class such as "vmctl.Stream"; with
-- limits ("number>=0", "integer>=1<=65535"); alternatives ("string|table"); or a list of allowed values ({ "a", "b" }).
-- known[1] allows a list part and types its entries. Where `timeout` is known, a number is taken as { timeout = n }.
-- Does not yield.
---@param opts? table|number the options as given; nil means none
---@param known table<string|integer, string|table>
---@param where? string the beginning of the message, such as "vmctl.dial"
---@param level? integer whose line to name, as for `error`; 3 (the caller of the calling function) by default
---@return table opts the same table, or a new one for nil and a number
function M.check(opts, known, where, level)
  if opts == nil then
    return {}
  elseif type(opts) == "number" and known.timeout then
    opts = { timeout = opts }
  end
  local message
  if type(opts) == "table" then
    message = mistake(opts, known)
  else
    local wanted = known.timeout and "table of options (or a time-out)" or "table of options"
    message = ("%s expected, got %s"):format(wanted, type(opts))
  end
  if message then
    error(where and where .. ": " .. message or message, level or DEFAULT_LEVEL)
  end
  return opts
end

--- A new table with the members of all given ones; of two values for one name the later counts. A list part is taken
-- whole from the last table that has one. Tables inside are shared, not merged. Does not yield.
---@param ... table? defaults first, options last; nil is skipped
---@return table merged
function M.merge(...)
  local merged, list = {}, nil
  for i = 1, select("#", ...) do
    local layer = select(i, ...)
    if layer then
      if layer[1] ~= nil then
        list = layer
      end
      for key, value in pairs(layer) do
        if math.type(key) ~= "integer" then
          merged[key] = value
        end
      end
    end
  end
  if list then
    table.move(list, 1, #list, 1, merged)
  end
  return merged
end

return M
