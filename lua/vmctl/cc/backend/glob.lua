--- Patterns for paths, as snapshots leave out by them: `*` and `?` stay inside a name, `**` goes through folders. A pattern
--- that does not begin with "/" may begin at any name. What is below a folder that matches is left out with it.
local M = {}

local MOST_STARS = 8 -- of a pattern: each multiplies the time that a long path may take

local WILD = { ["**"] = ".*", ["*"] = "[^/]*", ["?"] = "[^/]" }

local function translate(pattern)
  local parts, at = {}, 1
  while at <= #pattern do
    local wild = pattern:match("^%*%*", at) or pattern:match("^[*?]", at)
    parts[#parts + 1] = wild and WILD[wild] or pattern:sub(at, at):gsub("%W", "%%%0")
    at = at + (wild and #wild or 1)
  end
  return table.concat(parts)
end

--- Compiles patterns.
---@param patterns string[]
---@return fun(path: string): boolean|nil matches, string? of an absolute path; or nil and why there is none
function M.compile(patterns)
  local compiled = {}
  for i, pattern in ipairs(patterns) do
    local _, stars = pattern:gsub("%*+", "")
    if stars > MOST_STARS then return nil, ("the pattern %q has more than %d wildcards"):format(pattern, MOST_STARS) end
    if pattern:find("\0", 1, true) or pattern == "" then return nil, "a pattern that is empty or has a NUL byte" end
    local anchored = pattern:sub(1, 1) == "/"
    compiled[i] = (anchored and "^" or "^.*/") .. translate(pattern) .. "$"
  end
  return function(path)
    for _, pattern in ipairs(compiled) do
      if path:find(pattern) then return true end
    end
    return false
  end
end

return M
