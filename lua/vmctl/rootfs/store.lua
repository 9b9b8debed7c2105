--- An image's files: in a folder, or in an archive that is read in place and never unpacked. Both find the bytes of a name.
local errors = require "vmctl.errors"
local slice = require "vmctl.rootfs.slice"
local tar = require "vmctl.tar.read"
local texts = require "vmctl.text"

local M = {}

local MOST_FILES = 100000

---@class vmctl.ImageStore
local methods = {}
local mt = { __name = "vmctl.ImageStore", __index = methods }

--- Takes a folder. Does not wait.
---@param path string
---@return vmctl.ImageStore
function M.folder(path) return setmetatable({ _folder = path }, mt) end

-- A path without "." and "..".
local function without_dots(path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return table.concat(parts, "/")
end

--- Reads the table of an archive. Waits for the file system.
---@param path string
---@return vmctl.ImageStore|nil, string?, string? code EPROTO: no archive (see vmctl.rootfs.unpacked)
function M.archive(path)
  local source <close>, err, code = slice.open { path = path, offset = 0 }
  if not source then return nil, err, code end
  local files, links = {}, {}
  local ok
  ok, err, code = tar.each(source, function(entry)
    local name = without_dots(entry.path)
    if entry.type == "file" and not entry.map then files[name] = slice.new(path, source:position(), entry.size) end
    if entry.type == "link" or entry.type == "hard" then links[name] = entry end
    return true
  end, MOST_FILES)
  if not ok then return nil, err, code end
  for name, entry in pairs(links) do -- docker names layers that it has already written by links, "../ID/layer.tar"
    local target = entry.type == "hard" and entry.link or (texts.split(name) or "") .. "/" .. entry.link
    files[name] = files[name] or files[without_dots(target)]
  end
  return setmetatable({ _files = files }, mt)
end

--- The bytes of a name. Waits for the file system.
---@param name string without a slash in front
---@return table|nil part, string? message, string? code ENOENT, EINVAL: no regular file
function methods:find(name)
  if self._folder then return slice.whole(self._folder .. "/" .. name) end
  local part = self._files[name]
  if not part then return errors.fail("ENOENT", "the archive has no such file") end
  return part
end

--- The bytes of a file, if it is not too large. Waits for the file system.
---@param name string
---@param what string for messages
---@param most integer bytes
---@return string|nil, string?, string? code ETOOBIG …
function methods:read(name, what, most)
  local part, err, code = self:find(name)
  if not part then return errors.wrap(what, nil, err, code) end
  local reader <close>, why, how = slice.open(part)
  local bytes
  if reader then bytes, why, how = reader:all(most) end
  return errors.wrap(what, bytes, why, how)
end

return M
