--- Splits a text into words as a POSIX shell does (Shell Command Language, 2.2 and 2.3), without what it puts in for $, *, ~ and `.
local M = {}

local ESCAPED = { ["$"] = true, ["`"] = true, ['"'] = true, ["\\"] = true } -- that a backslash quotes between double quotes

-- Takes the text between double quotes, from behind the first one. Returns the position of the last one, or nil.
local function double(text, at, parts)
  while true do
    local stop = text:find('["\\]', at)
    if not stop then return nil end
    parts[#parts + 1] = text:sub(at, stop - 1)
    if text:sub(stop, stop) == '"' then return stop end
    local after = text:sub(stop + 1, stop + 1)
    if after == "" then return nil end
    parts[#parts + 1] = ESCAPED[after] and after or after == "\n" and "" or "\\" .. after
    at = stop + 2
  end
end

-- Takes the quoted text that begins at a quote or a backslash. Returns the position of its last byte, or nil.
local function quoted(text, at, parts)
  local mark = text:sub(at, at)
  if mark == '"' then return double(text, at + 1, parts) end
  if mark == "\\" then
    local after = text:sub(at + 1, at + 1)
    parts[#parts + 1] = after ~= "\n" and after or ""
    return after ~= "" and at + 1 or nil
  end
  local stop = text:find("'", at + 1, true)
  parts[#parts + 1] = stop and text:sub(at + 1, stop - 1)
  return stop
end

local function word(text, at)
  local parts = {}
  while at <= #text do
    local stop = text:find("[%s'\"\\]", at) or #text + 1
    parts[#parts + 1] = text:sub(at, stop - 1)
    if stop > #text or text:find("^%s", stop) then return table.concat(parts), stop end
    local last = quoted(text, stop, parts)
    if not last then return nil, stop end
    at = last + 1
  end
  return table.concat(parts), at
end

--- Splits a text: `sh -c 'echo "$1"' x` has four words. Does not wait.
---@param text string
---@return string[]|nil words
---@return string? message where a quote has no end, or nothing stands behind a backslash; string? code EINVAL
function M.split(text)
  local words, at = {}, text:find "%S"
  while at do
    local one, stop = word(text, at)
    if not one then
      return nil, ("%s at byte %d has no end"):format(text:sub(stop, stop) == "\\" and "the backslash" or "the quote", stop), "EINVAL"
    end
    words[#words + 1] = one
    at = text:find("%S", stop)
  end
  return words
end

return M
