--- The folders of this user for files of programs (the XDG Base Directory Specification).
local M = {}

local function folder(variable, otherwise)
  local base = os.getenv(variable)
  if base and base:sub(1, 1) == "/" then return base end
  return (os.getenv "HOME" or "/var") .. otherwise
end

--- The folder for files that can be made again: $XDG_CACHE_HOME, or ~/.cache. Does not wait.
---@return string
function M.cache() return folder("XDG_CACHE_HOME", "/.cache") end

--- The folder for the state of programs: $XDG_STATE_HOME, or ~/.local/state. Does not wait.
---@return string
function M.state() return folder("XDG_STATE_HOME", "/.local/state") end

--- The folder for users' data: $XDG_DATA_HOME, or ~/.local/share. Does not wait.
---@return string
function M.data() return folder("XDG_DATA_HOME", "/.local/share") end

return M
