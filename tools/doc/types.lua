--- Types as annotations write them: `{ name: string, "a"|"b" }[]?`, `fun(x: integer): string?, vmctl.Stream`.
local M = {}

local CLOSING = { ["{"] = "}", ["("] = ")", ["["] = "]", ["<"] = ">" }
local BUILTIN = {
  any = true, boolean = true, ["false"] = true, ["function"] = true, integer = true, ["nil"] = true, number = true,
  string = true, table = true, thread = true, ["true"] = true, userdata = true, fun = true, self = true, T = true,
}

local function quoted_end(text, at)
  local mark = text:sub(at, at)
  return (text:find(mark, at + 1, true) or #text) + 1
end

--- The position behind the bracket that closes the one at `at`; nil if none does.
---@param text string
---@param at integer
---@return integer|nil
function M.balanced_end(text, at)
  local stack = {}
  while at <= #text do
    local c = text:sub(at, at)
    if c == '"' or c == "'" and #stack > 0 then
      at = quoted_end(text, at)
    else
      if CLOSING[c] then
        stack[#stack + 1] = CLOSING[c]
      elseif c == stack[#stack] then
        stack[#stack] = nil
        if #stack == 0 then return at + 1 end
      end
      at = at + 1
    end
  end
end

--- Tells if a type begins there, to tell it from prose.
---@param text string
---@param at integer
---@return boolean
function M.begins(text, at)
  local c = text:sub(at, at)
  if c == "{" or c == '"' then return true end
  local word = text:match("^[%a_][%w_.]*", at)
  return word ~= nil and (BUILTIN[word] or word:find "^vmctl%.%u" ~= nil)
end

local scan

-- A function's results: types with commas between them, as far as they are types.
local function scan_results(text, at)
  local past = scan(text, at)
  while past do
    local following = text:match("^,%s*()", past)
    if not following or not M.begins(text, following) then break end
    past = scan(text, following)
  end
  return past
end

local function scan_one(text, at)
  local c = text:sub(at, at)
  if c == '"' or c == "'" then return quoted_end(text, at) end
  if CLOSING[c] then return M.balanced_end(text, at) end
  local word, past = text:match("^([%a_][%w_.%-]*)()", at)
  if not word then return text:match("^%.%.%.()", at) or text:match("^%d+()", at) end
  if word == "fun" and text:sub(past, past) == "(" then
    past = M.balanced_end(text, past)
    local results = past and text:match("^:%s*()", past)
    return results and scan_results(text, results) or past
  end
  if text:sub(past, past) == "<" then return M.balanced_end(text, past) end
  if word:sub(-1) == "." then past = past - 1 end -- the end of a sentence
  return past
end

--- The position behind the type that begins at `at`; nil if there is none.
---@param text string
---@param at integer
---@return integer|nil
function scan(text, at)
  local past = scan_one(text, at)
  while past do
    local marks = text:match("^[%[%]?]+()", past)
    past = marks or past
    local following = text:match("^%s*|%s*()", past)
    if not following then return past end
    past = scan_one(text, following)
  end
end

M.scan = scan

--- The names of vmctl's classes in a type or in a text.
---@param text string
---@return fun(): string
function M.classes(text)
  return text:gmatch "vmctl%.%u[%w]*"
end

--- Splits a table type into its fields.
---@param text string `{ timeout: number, name: string? }`
---@return { name: string, type: string, optional: boolean }[]|nil fields nil: not such a type
function M.fields(text)
  local inner = text:match "^{(.*)}%??$"
  if not inner or M.balanced_end(text, 1) < #text then return nil end
  local fields, at = {}, 1
  while true do
    local name, mark, begin = inner:match("^%s*,?%s*([%a_][%w_]*)(%??)%s*:%s*()", at)
    if not name then break end
    local past = scan(inner, begin)
    if not past then return nil end
    local kind = inner:sub(begin, past - 1)
    fields[#fields + 1] = { name = name, type = kind:gsub("%?$", ""), optional = mark == "?" or kind:sub(-1) == "?" }
    at = past
  end
  return inner:find("^%s*$", at) and #fields > 0 and fields or nil
end

--- The fields of the table that a type allows, and the type without them: `number|{ timeout: number }` is `number|table`.
---@param text string
---@return { name: string, type: string, optional: boolean }[]|nil fields nil: it allows no such table
---@return string short
function M.options(text)
  local first = text:find "^{" or (text:find "|{" or 0) + 1
  local past = text:sub(first, first) == "{" and M.balanced_end(text, first)
  local fields = past and text:sub(past, past) ~= "[" and M.fields(text:sub(first, past - 1))
  if not fields then return nil, text end
  return fields, text:sub(1, first - 1) .. "table" .. text:sub(past)
end

-- Splits at semicolons outside brackets.
local function clauses(text)
  local list, depth, begin = {}, 0, 1
  for i = 1, #text do
    local c = text:sub(i, i)
    if c == "(" or c == "{" then depth = depth + 1 elseif c == ")" or c == "}" then depth = depth - 1 end
    if c == ";" and depth == 0 then
      list[#list + 1] = text:sub(begin, i - 1)
      begin = i + 1
    end
  end
  list[#list + 1] = text:sub(begin)
  return list
end

--- Assigns the parts of a table's description to its fields: "timeout: seconds (10); idle, linger: …".
---@param fields { name: string }[] get `text`
---@param text string
---@return string rest what names no field
function M.share(fields, text)
  local known, rest, last = {}, {}, nil
  for _, field in ipairs(fields) do known[field.name] = field end
  for _, clause in ipairs(clauses(text)) do
    local names, words = clause:match "^%s*([%w_, ]+)%(?[%w_, ]*%)?:%s*(.*)$"
    local first = names and names:match "^[%w_]+"
    if first and known[first] then
      last = {}
      for name in names:gmatch "[%w_]+" do last[#last + 1] = known[name] end
      for _, field in ipairs(last) do field.text = words end
    elseif last then -- goes on about the same
      for _, field in ipairs(last) do field.text = field.text .. ";" .. clause end
    else
      rest[#rest + 1] = clause
    end
  end
  return table.concat(rest, ";")
end

return M
