--- Watches a folder that need not exist yet.
local fs = require "vmctl.base.fs"
local safe_file = require "vmctl.base.safe_file"

local M = {}

--- Watches the folder, or while that is missing the nearest one above it, in which it may appear. Waits only for the kernel.
---@param folder string absolute
---@return vmctl.Stream|nil changes, string?, string? as core.fs.watch
function M.folder(folder)
  local at, missing = folder, nil
  while true do
    local stream, err, code = fs.watch(at)
    if stream and missing and fs.stat(missing) then -- made between the two looks: again
      stream:close()
      at, missing = folder, nil
    elseif stream or code ~= "ENOENT" and code ~= "ENOTDIR" or at == "/" then
      return stream, err, code
    else
      missing, at = at, safe_file.split(at)
    end
  end
end

return M
