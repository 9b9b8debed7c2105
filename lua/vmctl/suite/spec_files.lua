--- Finds the spec files below paths.
local core = require "vmctl.core"
local errors = require "vmctl.errors"

local M = {}

local function add_folder(list, path, pattern)
  local names, err, code = core.fs.list(path)
  if not names then return nil, err, code end
  table.sort(names)
  for _, name in ipairs(names) do
    local child = path .. "/" .. name
    local found = core.fs.stat(child)
    if found and found.type == "directory" then
      local ok, why, how = add_folder(list, child, pattern)
      if not ok then return nil, why, how end
    elseif name:find(pattern) and name:find "%.lua$" then
      list[#list + 1] = child
    end
  end
  return true
end

--- The spec files that paths name: a file as it is, a folder for all files in it and below whose name has the pattern, by default
--- "_spec". Each file once, in the order of their names. Waits for the disk alone.
---@param paths string[]
---@param pattern? string Lua pattern
---@return string[]|nil, string?, string? code ENOENT, EACCES, …
function M.find(paths, pattern)
  local list = {}
  for _, path in ipairs(paths) do
    local found, err, code = core.fs.stat(path)
    if not found then return errors.fail(code or "ENOENT", "%s: %s", path, err or "no such file") end
    if found.type == "directory" then
      local ok
      ok, err, code = add_folder(list, path:match "^(.-)/*$", pattern or "_spec")
      if not ok then return nil, err, code end
    else
      list[#list + 1] = path
    end
  end
  table.sort(list)
  local once = {}
  for _, path in ipairs(list) do
    if once[#once] ~= path then once[#once + 1] = path end
  end
  return once
end

return M
