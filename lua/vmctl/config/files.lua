--- Reads and validates the files of a set: their paths and contents.
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local options = require "vmctl.base.options"

local M = {}

local PATH_MAX = 4095

local members = { path = "string", content = "string", source = "string", mode = "integer>=0<=4095", owner = "string" }

-- The reason why a path is not absolute or not normalised; nil when it is both.
local function path_fault(path)
  if path:sub(1, 1) ~= "/" then return "it is not absolute" end
  if path:find "[%c\127]" then return "it holds control bytes" end
  if #path > PATH_MAX then return "it is too long" end
  if (path .. "/"):find("/../", 1, true) or (path .. "/"):find("/./", 1, true) then return "it has '.' or '..' in it" end
end

local function file_fault(file)
  local path = file.path
  if not path then return "it has no path" end
  local fault = path_fault(path)
  if fault then return fault end
  if path:find "/$" then return "it names a folder" end
  if (file.content == nil) == (file.source == nil) then return "either 'content' or 'source' is needed" end
  local owner = file.owner
  if owner and not owner:find "^[%w_][%w_.-]*$" and not owner:find "^[%w_][%w_.-]*:[%w_][%w_.-]*$" then
    return ("'%s' is no user or user:group"):format(owner:sub(1, 80):gsub("[%c\127-\255]", "?"))
  end
end

-- Turns both forms (a list of files; a map from path to content or options) into a list.
local function list_files(files, level)
  local list = {}
  for key, file in pairs(files) do
    if type(key) == "string" then
      file = options.merge(type(file) == "string" and { content = file } or type(file) == "table" and file or nil)
      file.path = file.path or key
    end
    options.check(file, members, "config.push: files", level + 1)
    list[#list + 1] = { key = key, file = file }
  end
  table.sort(list, function(a, b)
    if type(a.key) == type(b.key) then return a.key < b.key end
    return type(a.key) == "number"
  end)
  return list
end

local function open_source(file)
  local handle <close>, err, code = fs.open(file.source, "r")
  if not handle then return nil, err, code end
  local info
  info, err, code = handle:stat()
  if not info then return nil, err, code end
  if info.type ~= "file" then return nil, file.source .. ": not a regular file", "EINVAL" end
  return info.size
end

--- Adds a step for each file.
---@param steps table[]
---@param files table a list of { path =, content = or source =, mode =, owner = }, or a map from path to content or to the rest
-- of such a table
---@param level integer as for `error`, for a value of the wrong type
---@return true|nil, string?, string? code EINVAL, ENOENT, EACCES, ETIMEDOUT … Waits for the sources
function M.add(steps, files, level)
  local seen = {}
  for _, entry in ipairs(list_files(files, level + 1)) do
    local file = entry.file
    local name = file.path and file.path:gsub("[%c\127]", "?")
    local fault = file_fault(file)
    if not fault and seen[file.path] then fault = "it is there twice" end
    if fault then return errors.fail("EINVAL", "file %s: %s", name or "?", fault) end
    seen[file.path] = true
    local size, err, code = #(file.content or ""), nil, nil
    if file.source then size, err, code = open_source(file) end
    if not size then return nil, ("file %s: %s"):format(name, err), code end
    steps[#steps + 1] = { kind = "file", name = file.path, path = file.path, content = file.content, source = file.source,
      size = size, mode = file.mode, owner = file.owner }
  end
  return true
end

return M
