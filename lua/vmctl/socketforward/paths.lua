--- Checks the paths of a guest's forwarded sockets, and makes their folders.
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local safe_file = require "vmctl.base.safe_file"
local texts = require "vmctl.text"
local wire = require "vmctl.socketforward.wire"

local M = {}

local OWN_FOLDER, OTHER_FOLDER = 457, 493 -- modes of folders that are made: 0711 for our own folder, else 0755

local function check_length(path, most)
  if #path <= most then return true end
  return errors.fail("ENAMETOOLONG", "the path has %d bytes, at most %d are possible", #path, most)
end

-- Checks that a path is absolute, without "." and "..".
local function check_form(path)
  if safe_file.unfit(path) then return errors.fail("EINVAL", "the path is empty or has control characters") end
  if path:sub(1, 1) ~= "/" or path:sub(-1) == "/" then return errors.fail("EINVAL", "the path is not that of a file from / on") end
  for part in path:sub(2):gmatch "[^/]*" do
    if part == "" or part == "." or part == ".." then return errors.fail("EINVAL", "the path has an empty part, a '.' or a '..'") end
  end
  return check_length(path, wire.MAX_PATH)
end

-- Finds the folder that holds a path: "" is /.
local function find_prefix(path, folders)
  for _, folder in ipairs(folders) do
    if path:sub(1, #folder + 1) == folder .. "/" then return folder end
  end
end

-- Makes the folders of a path. Links on the path to the prefix are followed; below it none is.
local function make_below(prefix, folder)
  local real, err, code = safe_file.folder(prefix, { folder_mode = OWN_FOLDER })
  if not real or folder == prefix then return real, err, code end
  local rest = folder:sub(#prefix + 2)
  local ok
  ok, err, code = fs.folders(real, rest, { folder_mode = OWN_FOLDER })
  if not ok then return nil, err, code end
  return real .. "/" .. rest
end

--- The folder of a socket, made if it does not exist, and the socket's name in it.
---@param path string as the host has sent it
---@param folders string[]|false where sockets may be; false: anywhere, abstract names ("@name") included
---@return string|nil folder without links; nil with a name alone: it is abstract
---@return string name_or_message, string? code EINVAL, EACCES, ENAMETOOLONG, ENOTDIR …
function M.prepare(path, folders)
  if path:sub(1, 1) == "@" and not folders then
    if #path == 1 or path:find("\0", 1, true) then return errors.fail("EINVAL", "the name is empty or has a zero byte") end
    local ok, err, code = check_length(path, wire.MAX_PATH + 1) -- '@' stands for a zero byte, and there is none at the end
    if not ok then return nil, err, code end
    return nil, path
  end
  local ok, err, code = check_form(path)
  if not ok then return nil, err, code end
  local folder, name = safe_file.split(path)
  local prefix = find_prefix(path, folders or { wire.DIRECTORY })
  if folders and not prefix then
    return errors.fail("EACCES", "the path is not in %s", table.concat(folders, " or "))
  end
  if prefix and prefix ~= "" then
    folder, err, code = make_below(prefix, folder)
  else
    folder, err, code = safe_file.folder(folder, { folder_mode = OTHER_FOLDER })
  end
  if folder then ok, err, code = check_length(folder .. "/" .. name, wire.MAX_PATH) end
  if not folder or not ok then return nil, err, code end
  return folder, name
end

--- The folders that may hold sockets; false: any. Raises at the line that calls the caller for a value that is no folder. Does not wait.
---@param opts { confine: boolean|string[]|nil, directory: string? }
---@return string[]|false
function M.folders(opts)
  if opts.confine == false then return false end
  local list = type(opts.confine) == "table" and opts.confine or { opts.directory or wire.DIRECTORY }
  local folders = {}
  for i, folder in ipairs(list) do
    if type(folder) ~= "string" or folder:sub(1, 1) ~= "/" then error("socketforward.service: absolute folders expected", 3) end
    folders[i] = texts.strip_slashes(folder)
  end
  return folders
end

return M
