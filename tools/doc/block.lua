--- One docstring: the comment above a definition, taken apart.
local types = require "doc.types"

local M = {}

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

-- The comment's lines without their marks; each tag with the lines that continue it.
local function gather(lines)
  local text, tags = {}, {}
  for _, line in ipairs(lines) do
    local body = line:match "^%s*%-%-%-?%s?(.*)$"
    local tag, rest = body:match "^@(%a+)%s*(.*)$"
    if tag then
      tags[#tags + 1] = { tag = tag, text = rest }
    elseif #tags > 0 then
      local last = tags[#tags]
      last.text = last.text .. " " .. trim(body)
    else
      text[#text + 1] = body
    end
  end
  return trim(table.concat(text, "\n")), tags
end

local function typed(text)
  local past = types.scan(text, 1)
  if not past then return nil, text end
  return text:sub(1, past - 1), trim(text:sub(past))
end

local function parse_param(text)
  local name, mark, rest = text:match "^([%w_.]+)(%??)%s*(.*)$"
  if not name then name, mark, rest = text:match "^(%[[%w_.]+%])(%??)%s*(.*)$" end -- the type of an index
  if not name then name, mark, rest = text:match '^%["([%w_]+)"%](%??)%s*(.*)$' end -- a name that is a word of annotations
  if not name then return nil end
  local kind, words = typed(rest)
  return {
    name = name, type = kind and kind:gsub("(.)%?$", "%1") or "any", text = words,
    optional = mark == "?" or (kind or ""):find "%?$" ~= nil or (kind or ""):find "|nil$" ~= nil,
  }
end

-- The position of the next value's type behind the description of the one before: ", string? ETIMEDOUT".
local function next_value(text, at)
  local depth = 0
  for i = at, #text do
    local c = text:sub(i, i)
    if c == "(" or c == "{" then depth = depth + 1 elseif c == ")" or c == "}" then depth = depth - 1 end
    if depth == 0 and (c == "," or c == ";") then
      local begin = text:match("^[,;]%s+()", i)
      if begin and types.begins(text, begin) then return i, begin end
    end
  end
end

local function parse_returns(text, into)
  local at = 1
  while at do
    local comma, begin = next_value(text, types.scan(text, at) or at)
    local kind, words = typed(trim(text:sub(at, comma and comma - 1)))
    into[#into + 1] = { type = kind or "any", text = words }
    at = begin
  end
end

local function parse_class(text)
  local exact, plain = text:match "^(%(exact%)) *(.*)$"
  local name, parent, rest = (plain or text):match "^([%w_.]+)%s*:%s*([%w_.]+)%s*(.*)$"
  if not name then name, rest = (plain or text):match "^([%w_.]+)%s*(.*)$" end
  return { name = name, parent = parent, exact = exact ~= nil, text = rest, fields = {} }
end

--- Takes a docstring apart.
---@param lines string[] the comment's lines, from its `---` on
---@return { text: string, params: table[], returns: table[], class: table?, type: string?, meta: boolean? } block
function M.parse(lines)
  local text, tags = gather(lines)
  local block = { text = text, params = {}, returns = {} }
  for _, tag in ipairs(tags) do
    if tag.tag == "param" then
      block.params[#block.params + 1] = parse_param(tag.text)
    elseif tag.tag == "return" then
      parse_returns(tag.text, block.returns)
    elseif tag.tag == "class" then
      block.class = parse_class(tag.text)
    elseif tag.tag == "field" and block.class then
      table.insert(block.class.fields, parse_param(tag.text))
    elseif tag.tag == "type" then
      block.type = (typed(tag.text))
    elseif tag.tag == "meta" then
      block.meta = true
    end
  end
  return block
end

--- A `fun(...)` type as the parameters and values of a docstring.
---@param kind string
---@return table[] params, table[] returns
function M.of_function(kind)
  local params, returns = {}, {}
  local past = types.balanced_end(kind, 4)
  local inner = past and kind:sub(5, past - 2) or ""
  local at = 1
  while true do
    local name, mark, begin = inner:match("^[%s,]*([%w_.]+)(%??)%s*:%s*()", at)
    if not name then break end
    local ends = types.scan(inner, begin) or #inner + 1
    params[#params + 1] = { name = name, type = inner:sub(begin, ends - 1), text = "", optional = mark == "?" }
    at = ends
  end
  local results = past and kind:match("^:%s*(.*)$", past)
  if results then parse_returns(results, returns) end
  return params, returns
end

--- Tells if a docstring tells that its function waits.
---@param text string
---@return boolean
function M.tells_waiting(text)
  return text:lower():find "%f[%a]waits?%f[%A]" ~= nil or text:lower():find "%f[%a]yields?%f[%A]" ~= nil
end

return M
