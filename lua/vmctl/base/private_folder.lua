--- Folders that only this user can write: another user could have made a folder or a link of that name before.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local user_folders = require "vmctl.base.user_folders"

local M = { MODE = 448 } -- 0700

--- The file at a path; a link is not followed.
function M.lstat(path) return core.fs.stat(path, true) end

--- Checks that a folder is this user's alone. Does not wait.
---@param path string
---@return true|nil, string?, string? code ENOENT, EACCES
function M.check(path)
  local there, err, code = M.lstat(path)
  if not there then return nil, err, code end
  if there.type ~= "directory" or there.uid ~= core.fs.identity() or there.mode & 63 ~= 0 then
    return errors.fail("EACCES", "%s: not a folder that is this user's alone (mode 0700)", path)
  end
  return true
end

--- Makes a folder that is this user's alone, or checks that one is. Does not wait.
---@param path string
---@return true|nil, string?, string? code EACCES; ENOENT: its parent is missing
function M.make(path)
  core.fs.mkdir(path, M.MODE)
  return M.check(path)
end

--- A folder for this user's data that is this user's alone: vmctl/NAME in $XDG_DATA_HOME. Does not wait, but for the file system.
---@param name string
---@param make boolean? makes it; without that it is only looked at
---@return string|nil path, string?, string? code EACCES: it is another user's, or others may enter it; ENOENT
function M.data(name, make)
  local base = user_folders.data()
  local ok, err, code = true, nil, nil
  if make then ok, err, code = core.fs.folders("/", base, { folder_mode = M.MODE }) end
  for _, path in ipairs { base .. "/vmctl", ("%s/vmctl/%s"):format(base, name) } do
    if ok then ok, err, code = (make and M.make or M.check)(path) end
  end
  if not ok then return nil, err, code end
  return ("%s/vmctl/%s"):format(base, name)
end

return M
