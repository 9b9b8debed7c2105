--- Parses enough of TOML to remove a table from a jcard.toml without changing the rest. No function here waits.
local M = {}

-- The position after a multi-line string. Up to two quotes directly before its end are content.
local function skip_long_string(text, at, quote)
  local triple, stop = quote:rep(3), quote == '"' and '[\\"]' or "'"
  at = at + 3
  while true do
    at = text:find(stop, at)
    if not at then return nil end
    if text:sub(at, at) == "\\" then
      at = at + 2
    elseif text:sub(at, at + 2) == triple then
      return text:match("^" .. quote .. "?" .. quote .. "?()", at + 3)
    else
      at = at + 1
    end
  end
end

-- The position after the string that begins at `at`, nil when the string does not end.
local function skip_string(text, at)
  local quote = text:sub(at, at)
  if text:sub(at, at + 2) == quote:rep(3) then return skip_long_string(text, at, quote) end
  local stop = quote == '"' and '[\\"\n]' or "['\n]"
  at = at + 1
  while true do
    at = text:find(stop, at)
    local char = at and text:sub(at, at)
    if not at or char == "\n" then return nil end
    if char == quote then return at + 1 end
    at = at + 2
  end
end

local ESCAPES = { b = "\b", t = "\t", n = "\n", f = "\f", r = "\r", e = "\27", ['"'] = '"', ["\\"] = "\\" }
local DIGITS = { x = 2, u = 4, U = 8 }

-- The value of a basic string, from its text between the quotes; nil if an escape in it is none.
local function unescape(text)
  local parts, at = {}, 1
  while true do
    local slash = text:find("\\", at, true)
    parts[#parts + 1] = text:sub(at, (slash or 0) - 1)
    if not slash then return table.concat(parts) end
    local letter = text:sub(slash + 1, slash + 1)
    local width = DIGITS[letter] or 0
    local digits = text:match("^%x*", slash + 2):sub(1, width)
    local number = #digits == width and tonumber(digits, 16)
    if width > 0 and not (number and number <= 0x10ffff) or width == 0 and not ESCAPES[letter] then return nil end
    parts[#parts + 1] = width > 0 and utf8.char(number) or ESCAPES[letter]
    at = slash + 2 + width
  end
end

-- The first part of the dotted key at `at`, and the position after the whole key.
local function read_key(text, at)
  local first
  while true do
    at = text:match("^[ \t]*()", at)
    local part, past = text:match("^([%w_-]+)()", at)
    if not part and text:find("^[\"']", at) then
      past = skip_string(text, at)
      part = past and text:sub(at + 1, past - 2)
      if part and text:sub(at, at) == '"' then part = unescape(part) end
    end
    if not part then return nil end
    first = first or part
    at = text:match("^[ \t]*()", past)
    if text:sub(at, at) ~= "." then return first, at end
    at = at + 1
  end
end

local DEEPER, HIGHER = { ["["] = true, ["{"] = true }, { ["]"] = true, ["}"] = true }

-- The position after the value at `at` and the rest of its line, nil when the value does not end.
local function skip_value(text, at)
  local depth = 0
  while true do
    at = text:find("[\"'#\n%[%]{}]", at)
    if not at then return depth == 0 and #text + 1 or nil end
    local char = text:sub(at, at)
    if char == "\n" and depth == 0 then return at + 1 end
    if char == '"' or char == "'" then
      at = skip_string(text, at)
      if not at then return nil end
    elseif char == "#" then
      at = text:find("\n", at, true) or #text + 1
    else
      depth = depth + (DEEPER[char] and 1 or 0) - (HIGHER[char] and 1 or 0)
      at = at + 1
    end
  end
end

local function past_line(text, at)
  local feed = text:find("\n", at, true)
  return feed and feed + 1 or #text + 1
end

-- The key of a header, and the position after its line.
local function read_header(text, at)
  local open = text:match("^%[%[?", at)
  local key, past = read_key(text, at + #open)
  if not key or text:sub(past, past + #open - 1) ~= ("]"):rep(#open) then return nil end
  if not text:find("^[ \t\r]*[#\n]", past + #open) and not text:find("^[ \t\r]*$", past + #open) then return nil end
  return key, past_line(text, past + #open)
end

local function read_pair(text, at)
  local key, past = read_key(text, at)
  if not key or text:sub(past, past) ~= "=" then return nil end
  return key, skip_value(text, past + 1)
end

-- Iterates over the items of a text: kind ("header", "pair", "blank"), key, position, position after it.
local function read_item(text, at)
  local start = text:match("^[ \t\r]*()", at)
  local char = text:sub(start, start)
  if char == "" or char == "\n" or char == "#" then return "blank", nil, past_line(text, start) end
  if char == "[" then return "header", read_header(text, start) end
  return "pair", read_pair(text, start)
end

--- The text of a value that is a string; nil if it is none.
---@param value string as `sections` gives it
---@return string?
function M.string(value)
  local quote = value:match "^[\"']"
  local past = quote and skip_string(value, 1)
  if not past then return nil end
  local long = value:sub(1, 3) == quote:rep(3)
  local inner = long and value:sub(4, past - 4):gsub("^\r?\n", "") or value:sub(2, past - 2)
  if quote == "'" then return inner end
  return unescape(long and inner:gsub("\\[ \t\r]*\n%s*", "") or inner)
end

--- The sections, in their order: the pairs of each, with the first part of their keys and the text of their values. The pairs
--- before the first header are in a section of the name "".
---@param text string
---@return { name: string, pairs: { key: string, value: string }[] }[]|nil sections
---@return string? message
function M.sections(text)
  local list, at = { { name = "", pairs = {} } }, 1
  while at <= #text do
    local what, key, past = read_item(text, at)
    if not past then
      local _, line = text:sub(1, at):gsub("\n", "")
      return nil, ("line %d is no TOML"):format(line + (text:sub(at, at) == "\n" and 0 or 1))
    end
    if what == "header" then
      list[#list + 1] = { name = key, pairs = {} }
    elseif what == "pair" then
      local _, equals = read_key(text, text:match("^[ \t\r]*()", at))
      local section = list[#list].pairs
      section[#section + 1] = { key = key, value = text:sub(text:match("^[ \t]*()", equals + 1), past - 1) }
    end
    at = past
  end
  return list
end

--- Removes a top-level table: its section with all comments, its sub-tables, dotted keys, or an inline table. Names are compared
--- without case, because some readers take [Secrets] for [secrets].
---@param text string
---@param name string # in lower case
---@return string|nil rest, boolean|string removed or message
function M.without(text, name)
  local kept, from, at, inside, at_top, removed = {}, 1, 1, false, true, false
  local function cut(to)
    kept[#kept + 1] = text:sub(from, to - 1)
  end
  while at <= #text do
    local what, key, past = read_item(text, at)
    if not past then
      local _, line = text:sub(1, at):gsub("\n", "")
      return nil, ("line %d is no TOML"):format(line + (text:sub(at, at) == "\n" and 0 or 1))
    end
    local ours = key and key:lower() == name and (what == "header" or at_top)
    if what == "header" then
      if ours and not inside then cut(at) elseif inside and not ours then from = at end
      inside, at_top = ours, false
      removed = removed or ours
    elseif ours then
      cut(at)
      from, removed = past, true
    end
    at = past
  end
  if not inside then cut(#text + 1) end
  return table.concat(kept), removed
end

return M
