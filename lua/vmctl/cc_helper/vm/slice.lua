--- A part of a file, read as if it were a file of its own: a layer inside an image, a file inside a layer.
local fs = require "vmctl.base.fs"

local M = {}

local SET, CUR = 0, 1 -- from where to seek

---@class vmctl.CcSlice
local methods = {}
local mt = { __name = "vmctl.CcSlice", __index = methods }

--- Describes a part; nothing is opened yet.
---@param path string
---@param offset integer
---@param size integer
function M.new(path, offset, size)
  return { path = path, offset = offset, size = size }
end

--- A whole file as a part of itself. Waits.
---@return table|nil, string?, string? code EINVAL: it is no regular file
function M.whole(path)
  local info, err, code = fs.stat(path)
  if not info then return nil, err, code end
  if info.type ~= "file" then return nil, path .. ": not a regular file", "EINVAL" end
  return M.new(path, 0, info.size)
end

--- Opens a part. Waits, as its methods do.
---@param slice { path: string, offset: integer, size: integer }
---@return vmctl.CcSlice|nil reader with read(n), skip(n), position(), seek(whence), close(), string?, string?
function M.open(slice)
  local file, err, code = fs.open(slice.path, "r")
  if not file then return nil, err, code end
  local ok
  ok, err, code = file:seek(slice.offset, SET)
  if not ok then
    file:drop()
    return nil, err, code
  end
  return setmetatable({ _file = file, _slice = slice, _at = 0 }, mt)
end

--- Up to n bytes; nil at the end.
function methods:read(n)
  local left = self._slice.size - self._at
  if left <= 0 or n <= 0 then return n <= 0 and "" or nil end
  local data = self._file:read(math.min(n, left))
  if not data or data == "" then return nil end
  self._at = self._at + #data
  return data
end

--- Leaves n bytes out.
---@return boolean|nil whether they were there
function methods:skip(n)
  if n > self._slice.size - self._at then return nil end
  self._at = self._at + n
  return self._file:seek(n, CUR) ~= nil
end

--- Where it is, as an offset in the file.
function methods:position()
  return self._slice.offset + self._at
end

--- For readers of whole files: seek "end" gives the size, seek "set" goes to the beginning.
function methods:seek(whence)
  self._at = whence == "end" and self._slice.size or 0
  return self._file:seek(self._slice.offset + self._at, SET) and self._at
end

function methods:close()
  self._file:drop()
end

mt.__close = methods.close

return M
