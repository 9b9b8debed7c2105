--- Searches for Lua patterns of users in bytes of a guest. `string.find` takes quadratic time for a pattern such as "%w+ login:", and
--- cannot be interrupted: 256 KiB of letters stopped the program for minutes. So the text is searched in pieces.
local core = require "vmctl.core"

local M = {}

local PIECE, MATCH = 4096, 2048 -- bytes that are searched at a time; bytes of a match that is found at any position

--- The longest match that is found wherever it stands, in bytes.
M.MATCH = MATCH

-- The pattern's last "$" is an anchor, if it is not "%$".
local function ends_at_end(pattern)
  local escapes = pattern:match "(%%*)%$$"
  return escapes ~= nil and #escapes % 2 == 0
end

-- A piece keeps the byte in front of it, for "%f".
---@return string|nil match
---@return integer? first its place in the piece
local function look_at(text, pattern, from, to)
  local before = from > 1 and 1 or 0
  local piece = text:sub(from - before, to)
  local first, last = piece:find(pattern, 1 + before)
  if first then return piece:sub(first, last), first - before end
end

--- Searches from a position on. A match longer than 2 KiB may be cut, or may not be found. Others run between two pieces: yields.
---@param text string
---@param pattern string
---@param from? integer (1)
---@param deadline? number of vmctl.now(): none of the pieces behind the first is looked at later than that
---@return string|nil match
---@return integer|string next where a later search begins, when more text has come behind this one; or a message
---@return string? code ECANCELED, ETIMEDOUT of a limit around it
function M.find(text, pattern, from, deadline)
  from = from or 1
  if pattern:sub(1, 1) == "^" then
    local whole = #text <= PIECE or not ends_at_end(pattern)
    return whole and (look_at(text, pattern, 1, PIECE)) or nil, 1
  end
  if ends_at_end(pattern) then return (look_at(text, pattern, math.max(from, #text - PIECE + 1), #text)), 1 end
  while true do
    local to = math.min(#text, from + PIECE - 1)
    local match, first = look_at(text, pattern, from, to)
    -- One that begins late is found in the next piece as well, with more behind it.
    if match and (to == #text or first <= PIECE - MATCH) then return match, from end
    if to == #text then return nil, math.max(from, #text - MATCH + 1) end
    from = from + PIECE - MATCH
    local ok, err, code = core.yield()
    if not ok then return nil, err, code end
    if deadline and core.now() >= deadline then return nil, from end
  end
end

return M
