--- Finds the part of a path that is no folder, for the errors of requests that need all parts to be folders.
local M = {}

--- The first part of a path that is no folder.
---@param root vmctl.WaitingRoot
---@param path string
---@return string? path up to that part; nil: all of it are folders
---@return string? code ENOTDIR; or ENOENT …: it cannot be looked at
---@return string? message
function M.find(root, path)
  local at = path:sub(1, 1) == "/" and "" or nil
  for part in path:gmatch "[^/]+" do
    at = at and at .. "/" .. part or part
    local info, err, code = root:stat(at)
    if not info then return at, code, err end
    if info.type ~= "directory" then return at, "ENOTDIR", "not a directory" end
  end
end

return M
