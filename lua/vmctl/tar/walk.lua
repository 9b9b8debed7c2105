--- The entries below a folder, in an order that does not depend on the file system: a folder before its contents, names by their bytes.
--- No link is followed and no other file system entered: a mount point is an empty folder.
local core = require "vmctl.core"

local M = {}

local MOST_DEPTH = 256

---@class vmctl.TarEntry the properties of a path
---@field path string absolute
---@field type string as core.fs.stat has it
---@field mode integer
---@field uid integer
---@field gid integer
---@field mtime integer
---@field nsec? integer nanoseconds beside mtime
---@field size integer of a file: bytes of content that are read, without holes
---@field map? { offset: integer, size: integer }[] of a file with holes: its parts
---@field real_size? integer of a file with holes: with them
---@field link? string of a symbolic link: its target; of a hard link ("hard" is its type): an earlier name of the file
---@field xattrs? table<string, string> extended attributes
---@field major? integer
---@field minor? integer

--- Describes the file at a path. Waits for the file system.
---@param root vmctl.Root
---@param path string
---@return vmctl.TarEntry|nil, string?, string?
function M.describe(root, path)
  local entry, err, code = root:stat(path, true)
  if not entry then return nil, err, code end
  entry.path = path
  if entry.type == "link" then
    entry.link, err, code = root:readlink(path)
    if not entry.link then return nil, err, code end
  end
  return entry
end

local function has_gone(code)
  return code == "ENOENT" or code == "ESRCH" -- ESRCH: of a process that has ended
end

local function visit_folder(state, folder, depth)
  local names, err, code = state.root:list(folder)
  if not names and has_gone(code) and depth > 1 then return state.gone(folder) end
  if not names then return nil, err, code end
  if depth > MOST_DEPTH then return nil, folder .. ": too many folders inside each other", "ELOOP" end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = (folder == "/" and "" or folder) .. "/" .. name
    local entry
    if not state.skip(path) then
      entry, err, code = M.describe(state.root, path)
      if not entry and not has_gone(code) then return nil, err, code end
      if not entry then state.gone(path) end
    end
    if entry then
      local ok
      ok, err, code = state.visit(entry)
      if ok and entry.type == "directory" and entry.device == state.device then
        ok, err, code = visit_folder(state, path, depth + 1)
      end
      if not ok then return nil, err, code end
    end
  end
  core.yield()
  return true
end

--- Calls visit(entry) for each. Other tasks run in between.
---@param root vmctl.Root
---@param skip fun(path: string): boolean
---@param visit fun(entry: vmctl.TarEntry): true|nil, string?, string? which may wait
---@param gone? fun(path: string): true called for a path that has vanished since its folder was read
---@return true|nil, string?, string?
function M.each(root, skip, visit, gone)
  local top, err, code = root:stat "/"
  if not top then return nil, err, code end
  local state = { root = root, skip = skip, visit = visit, gone = gone or function() return true end, device = top.device }
  return visit_folder(state, "/", 1)
end

return M
