--- Writes files for the guest's services: below the root folder, with missing folders, and as a whole or not at all.
local fs = require "vmctl.base.fs"

local M = {}

--- The folder and the name of a path.
---@param path string absolute
---@return string folder, string name
function M.split(path)
  local folder, name = path:match "^(.*)/([^/]*)$"
  return folder ~= "" and folder or "/", name
end

--- A path in which the links of its existing part are resolved.
---@param path string absolute
---@return string|nil path, string?, string? code ELOOP, EACCES, ENOTDIR …; ENOENT: there is a link that leads nowhere
function M.resolve(path)
  local real, err, code = fs.real(path)
  if real or code ~= "ENOENT" or path == "/" then return real, err, code end
  if fs.stat(path, true) then return nil, err, code end
  local folder, name = M.split(path)
  local parent
  parent, err, code = M.resolve(folder)
  if not parent then return nil, err, code end
  return (parent == "/" and "" or parent) .. "/" .. name
end

--- Makes a folder and its missing parents.
---@param path string absolute; those above it are looked up with their links, the rest is made with none
---@param options? { folder_mode: integer?, uid: integer?, gid: integer?, lenient: boolean?, repair: boolean? } of the last one;
-- repair: also when it is there
---@return string|nil path without links, string?, string?
function M.folder(path, options)
  local real, err, code = M.resolve(path)
  if not real then return nil, err, code end
  local above = M.split(real)
  local ok
  ok, err, code = fs.folders("/", above)
  if ok then ok, err, code = fs.folders("/", real, options) end
  if not ok then return nil, err, code end
  return real
end

--- Writes a file in a folder that only we use, unless it has that content and mode already.
---@param path string absolute
---@param bytes string they are in no message
---@param options? { mode: integer?, folder_mode: integer? } 0644 and 0755 by default
---@return true|nil, boolean|string changed, string?
function M.file(path, bytes, options)
  local folder, name = M.split(path)
  local real, err, code = M.folder(folder, options)
  if not real then return nil, err, code end
  return fs.replace_in("/", real, name, bytes, options)
end

--- The reason why a text cannot be a name or a path, or nil.
---@param text string
---@return string? why
function M.unfit(text)
  if text == "" then return "empty" end
  if text:find "[%c\127]" then return "it has a control character" end
end

return M
