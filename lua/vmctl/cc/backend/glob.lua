--- Patterns for the paths that snapshots leave out: `*` and `?` stay inside a name, `**` crosses folders. A pattern
--- that does not begin with "/" may begin at any name. A folder that matches is left out with its contents.
local M = {}

local MOST_PATTERN = 4096
local SLASH = 47

-- A list of bytes and of "*", "?", "**".
local function parse(pattern)
  local parts, at = {}, 1
  if pattern:sub(1, 1) ~= "/" then parts = { "**", SLASH } end
  while at <= #pattern do
    local char = pattern:sub(at, at)
    if pattern:sub(at, at + 1) == "**" then
      at = at + 1
      parts[#parts + 1] = "**"
    else
      parts[#parts + 1] = (char == "*" or char == "?") and char or char:byte()
    end
    at = at + 1
  end
  return parts
end

local function fits(part, byte)
  return part == byte or part == "?" and byte ~= SLASH
end

-- Goes back to the last wildcard only, which takes one byte more: the time is at most the product of both lengths.
local function matches(parts, path)
  local i, j = 1, 1
  local name, name_at, any, any_at -- behind the last "*" and "**": the part, and its position in the path
  while i <= #path do
    local part, byte = parts[j], path:byte(i)
    if part == "**" then
      j, any, any_at, name = j + 1, j + 1, i, nil
    elseif part == "*" then
      j, name, name_at = j + 1, j + 1, i
    elseif fits(part, byte) then
      i, j = i + 1, j + 1
    elseif name and path:byte(name_at) ~= SLASH then
      name_at = name_at + 1
      i, j = name_at, name
    elseif any then
      any_at = any_at + 1
      i, j, name = any_at, any, nil
    else
      return false
    end
  end
  while parts[j] == "*" or parts[j] == "**" do j = j + 1 end
  return parts[j] == nil
end

--- Compiles patterns.
---@param patterns string[]
---@return fun(path: string): boolean|nil matches, string? for an absolute path; or nil and why the patterns are invalid
function M.compile(patterns)
  local compiled = {}
  for i, pattern in ipairs(patterns) do
    if #pattern > MOST_PATTERN then return nil, ("a pattern of %d bytes"):format(#pattern) end
    if pattern:find("\0", 1, true) or pattern == "" then return nil, "a pattern that is empty or has a NUL byte" end
    compiled[i] = parse(pattern)
  end
  return function(path)
    for _, parts in ipairs(compiled) do
      if matches(parts, path) then return true end
    end
    return false
  end
end

return M
