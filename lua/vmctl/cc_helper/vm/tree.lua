--- A root file system in memory, without content: paths, what they are, where their content can be read. Layers are laid onto it
--- one after the other, with their whiteouts. It has no way out: links lead to places in it, and nothing is on any disk.
local text = require "vmctl.text"

local M = {}

local MOST_LINKS, MOST_DEPTH = 40, 256
local WHITEOUT, OPAQUE = "^%.wh%.(.+)$", ".wh..wh..opq"

---@class vmctl.CcTree
local methods = {}
local mt = { __name = "vmctl.CcTree", __index = methods }

local function folder(mode)
  return { type = "directory", mode = mode or 493, uid = 0, gid = 0, mtime = 0, children = {} }
end

--- An empty one.
function M.new()
  return setmetatable({ _root = folder() }, mt)
end

local function split(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do parts[#parts + 1] = part end
  return parts
end

-- Walks to a folder as a chroot would: ".." of the top is the top, links start there or where they are. `make`: what is
-- missing, or is no folder, becomes one.
local function enter(self, parts, make)
  local stack, todo, links = { self._root }, {}, 0
  for i = #parts, 1, -1 do todo[#todo + 1] = parts[i] end
  while #todo > 0 do
    local name = table.remove(todo)
    local here = stack[#stack]
    local node = here.children[name]
    if name == ".." then
      if #stack > 1 then stack[#stack] = nil end
    elseif name ~= "." and node and node.type == "link" then
      links = links + 1
      if links > MOST_LINKS then return nil, "too many links on the way", "ELOOP" end
      if node.link:sub(1, 1) == "/" then stack = { self._root } end
      local target = split(node.link)
      for i = #target, 1, -1 do todo[#todo + 1] = target[i] end
    elseif name ~= "." then
      if not node or node.type ~= "directory" then
        if not make then return nil, "no such folder", "ENOENT" end
        node = folder()
        here.children[name] = node
      end
      if #stack >= MOST_DEPTH then return nil, "too many folders inside each other", "ELOOP" end
      stack[#stack + 1] = node
    end
  end
  return stack[#stack]
end

-- The folder of a path, and the last name; nil for the top itself.
local function parent_of(self, path, make)
  local parts = split(path)
  local last = table.remove(parts)
  while last == "." do last = table.remove(parts) end
  if last == ".." then return nil, path .. ": a path that ends with '..'", "EINVAL" end
  local parent, err, code = enter(self, parts, make)
  if not parent then return nil, ("%s: %s"):format(path, err), code end
  return parent, last
end

--- Puts something at a path; folders on the way are made. A folder that is there keeps what is in it.
---@param path string
---@param node table type, mode, uid, gid, mtime, and by its type link, major, minor, content (a slice) or bytes
---@return true|nil, string?, string?
function methods:put(path, node)
  local parent, name, code = parent_of(self, path, true)
  if not parent then return nil, name, code end
  local old = not name and self._root or parent.children[name]
  if node.type == "directory" then
    node.children = old and old.children or {}
    if not name then self._root = node end
  end
  if name then parent.children[name] = node end
  return true
end

--- The node at a path; the last link is not followed.
---@return table|nil
function methods:get(path)
  local parent, name = parent_of(self, path, false)
  if not parent then return nil end
  if not name then return self._root end
  return parent.children[name]
end

--- Removes what is at a path; it need not be there.
function methods:remove(path)
  local parent, name = parent_of(self, path, false)
  if parent and name then parent.children[name] = nil end
end

-- A hard link: the same thing under another name.
local function hard_link(self, entry)
  local target = self:get(entry.link)
  if not target then return nil, ("%s: a hard link to %s, which is not there"):format(entry.path, entry.link), "EPROTO" end
  if target.type == "directory" then return nil, entry.path .. ": a hard link to a folder", "EPROTO" end
  return self:put(entry.path, target)
end

--- Lays one entry of a layer onto it.
---@param entry table as vmctl.tar.read gives it
---@param content? table the slice with its content
---@return true|nil, string?, string?
function methods:apply(entry, content)
  local above, name = text.split(text.strip_slashes(entry.path))
  above = above or ""
  if name == OPAQUE then
    local parent = enter(self, split(above), false)
    if parent then parent.children = {} end
    return true
  end
  local hidden = name:match(WHITEOUT)
  if hidden then
    self:remove(above .. "/" .. hidden)
    return true
  end
  if entry.type == "hard" then return hard_link(self, entry) end
  if entry.type == "other" then return true end
  return self:put(entry.path, {
    type = entry.type, mode = entry.mode, uid = entry.uid, gid = entry.gid, mtime = entry.mtime,
    link = entry.type == "link" and entry.link or nil, major = entry.major, minor = entry.minor, content = content,
  })
end

--- Calls visit(path, node) for everything but the top, a folder before what is in it, in the order of the names.
function methods:each(visit)
  local function descend(prefix, node)
    local names = {}
    for name in pairs(node.children) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
      local path, child = prefix .. "/" .. name, node.children[name]
      local ok, err, code = visit(path, child)
      if ok and child.type == "directory" then ok, err, code = descend(path, child) end
      if not ok then return nil, err, code end
    end
    return true
  end
  return descend("", self._root)
end

return M
