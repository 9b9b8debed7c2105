--- A whole tree as an archive's entries: its top as "/", extended attributes, hard links to earlier entries, and of files with holes their
--- parts.
local content = require "vmctl.tar.content"
local links = require "vmctl.tar.links"
local walk = require "vmctl.tar.walk"

local M = {}

-- True if a file has vanished since its folder was read: that is no failure.
local function unless_gone(err, code)
  if content.has_gone(code) then return true end
  return nil, err, code
end

local function visit_file(state, entry)
  local file <close>, err, code = state.root:open(entry.path, "rl") -- luacheck: ignore
  if not file then return unless_gone(err, code) end
  local info
  info, err, code = file:stat()
  if not info then return unless_gone(err, code) end
  if info.type ~= "file" then return true end -- it was one when its folder was read
  content.describe(entry, info, file)
  local ok
  ok, err, code = state.visit(entry, (content.reader(file, entry, { read = 0 })))
  if not ok then return nil, err, code end
  return state.links:keep(entry)
end

local function visit_entry(state, entry)
  if entry.type == "socket" then return true end
  local first = state.links:find(entry)
  if first then
    entry.type, entry.link, entry.size = "hard", first, 0
    return state.visit(entry)
  end
  local found, err, code = state.root:xattrs(entry.path)
  if not found then return unless_gone(err, code) end
  if next(found) then entry.xattrs = found end
  if entry.type == "file" then return visit_file(state, entry) end
  local ok
  ok, err, code = state.visit(entry)
  if not ok then return nil, err, code end
  return state.links:keep(entry)
end

--- Calls visit(entry, read) for each, in walk.each's order; `read` gives a file's content. Sockets and files that vanish meanwhile are
--- left out. Waits for the file system; other tasks run in between.
---@param root vmctl.Root
---@param skip fun(path: string): boolean
---@param visit fun(entry: vmctl.TarEntry, read: function?): true|nil, string?, string? which may wait
---@return true|nil, string?, string? code ETOOBIG: extended attributes of one file, or files with several names, beyond their bounds
function M.each(root, skip, visit)
  local state = { root = root, visit = visit, links = links.new() }
  local top, err, code = walk.describe(root, "/")
  if not top then return nil, err, code end
  local ok
  ok, err, code = visit_entry(state, top)
  if not ok then return nil, err, code end
  return walk.each(root, skip, function(entry) return visit_entry(state, entry) end)
end

return M
