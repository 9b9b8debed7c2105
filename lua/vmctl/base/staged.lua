--- Files that are made beside their path, and renamed to it when they are complete: the path has the old file or the new one. For bytes
--- in memory core.fs.replace does the same in one call.
local core = require "vmctl.core"

local M = {}

-- The ending of a file's name until then, before its number.
local MARK = ".new-"

--- Makes a file. Waits if `make` does. The unfinished file is removed when `make` fails, raises or is cancelled.
---@param path string
---@param make fun(name: string): any, string?, string? writes a file of that name
---@return any ok the result of `make`, string?, string?
function M.make(path, make)
  local name = ("%s%s%012x"):format(path, MARK, math.random(0) & 0xffffffffffff)
  local guard <close> = setmetatable({}, { __close = function() core.fs.remove(name) end }) -- luacheck: ignore
  local made, err, code = make(name)
  if not made then return nil, err, code end
  local ok
  ok, err, code = core.fs.rename(name, path)
  if not ok then return nil, err, code end
  return made
end

--- Removes unfinished files that killed processes have left. The caller has to prevent that anybody makes that file now. Does not wait,
--- but for the file system.
---@param path string
function M.remove_leftovers(path)
  local folder, name = path:match "^(.*)/([^/]*)$"
  for _, other in ipairs(core.fs.list(folder) or {}) do
    local rest = other:sub(1, #name) == name and other:sub(#name + 1)
    if rest and rest:find(MARK, 1, true) == 1 and rest:find("^%x+$", #MARK + 1) then core.fs.remove(folder .. "/" .. other) end
  end
end

return M
