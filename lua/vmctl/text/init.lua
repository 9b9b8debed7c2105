--- Functions for texts of a guest or a peer, all linear: each looks at a byte a fixed number of times at most. Lua's own
--- patterns are linear only where they are anchored or cannot go back: `gsub("%s+$", "")` takes a minute for 256 KiB of spaces.
local M = {}

--- Without the white space at its end.
---@param text string
---@return string
function M.trim_end(text)
  return text:match "^.*%S" or ""
end

--- Without the slashes at its end; of "///" nothing is left.
---@param path string
---@return string
function M.strip_slashes(path)
  return path:match "^.*[^/]" or ""
end

--- Without the slashes at its beginning and its end.
---@param path string
---@return string
function M.bare(path)
  return M.strip_slashes(path:match "^/*(.*)$")
end

--- Without the slashes at its end, but "/" stays.
---@param path string
---@return string
function M.strip_folder(path)
  local bare = M.strip_slashes(path)
  return bare == "" and path ~= "" and "/" or bare
end

--- Where the last line begins: behind the last line feed.
---@param text string
---@return integer
function M.last_line_at(text)
  return text:match "^.*\n()" or 1
end

--- The text behind the last line feed; "" when the text ends with one.
---@param text string
---@return string
function M.last_line(text)
  return text:sub(M.last_line_at(text))
end

--- The last `count` lines of a text, which may end with a line feed.
---@param text string
---@param count integer
---@return string
function M.tail(text, count)
  local at = #text
  if text:byte(at) == 10 then at = at - 1 end
  for _ = 1, count do
    while at > 0 and text:byte(at) ~= 10 do at = at - 1 end
    at = at - 1
    if at < 0 then return text end
  end
  return text:sub(at + 2)
end

--- The text behind the last slash.
---@param path string
---@return string
function M.base(path)
  return path:match "^.*/([^/]*)$" or path
end

--- Splits at the last slash.
---@param path string
---@return string|nil folder nil if there is no slash
---@return string name
function M.split(path)
  local at = path:match "^.*/()"
  if not at then return nil, path end
  return path:sub(1, at - 2), path:sub(at)
end

--- The path of something below a folder; the folder's own where `path` is empty.
---@param folder string
---@param path string
---@return string
function M.below(folder, path)
  return path == "" and folder or folder .. "/" .. path
end

--- The last position of a plain text in another.
---@param text string
---@param word string not empty
---@return integer|nil
function M.find_last(text, word)
  local last, at = nil, text:find(word, 1, true)
  while at do
    last = at
    at = text:find(word, at + #word, true)
  end
  return last
end

--- Line feeds alone, where carriage returns stand in front of them.
---@param text string
---@return string
function M.unix_lines(text)
  if not text:find("\r", 1, true) then return text end
  local parts = {}
  for line, feed in text:gmatch "([^\n]*)(\n?)" do
    parts[#parts + 1] = feed ~= "" and (line:match "^.*[^\r]" or "") .. feed or line
  end
  return table.concat(parts)
end

return M
