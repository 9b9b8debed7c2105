--- A part of a file, read as if it were a file of its own: a layer inside an image, a file inside a layer.
local M = {}

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

--- A whole file as a part of itself.
---@return table|nil, string?, string?
function M.whole(path)
  local file, err = io.open(path, "rb")
  if not file then return nil, err, "ENOENT" end
  local size
  size, err = file:seek "end"
  file:close()
  if not size then return nil, err, "EIO" end
  return M.new(path, 0, size)
end

--- Opens a part.
---@param slice { path: string, offset: integer, size: integer }
---@return vmctl.CcSlice|nil reader with read(n), skip(n), position(), seek(whence), close(), string?, string?
function M.open(slice)
  local file, err = io.open(slice.path, "rb")
  if not file then return nil, err, "ENOENT" end
  if not file:seek("set", slice.offset) then
    file:close()
    return nil, slice.path .. ": cannot seek", "ESPIPE"
  end
  return setmetatable({ _file = file, _slice = slice, _at = 0 }, mt)
end

--- Up to n bytes; nil at the end.
function methods:read(n)
  local left = self._slice.size - self._at
  if left <= 0 or n <= 0 then return n <= 0 and "" or nil end
  local data = self._file:read(math.min(n, left))
  if data then self._at = self._at + #data end
  return data
end

--- Leaves n bytes out.
---@return boolean|nil whether they were there
function methods:skip(n)
  if n > self._slice.size - self._at then return nil end
  self._at = self._at + n
  return self._file:seek("cur", n) ~= nil
end

--- Where it is, as an offset in the file.
function methods:position()
  return self._slice.offset + self._at
end

--- For readers of whole files: seek "end" gives the size, seek "set" goes to the beginning.
function methods:seek(whence)
  self._at = whence == "end" and self._slice.size or 0
  return self._file:seek("set", self._slice.offset + self._at) and self._at
end

function methods:close()
  self._file:close()
end

mt.__close = methods.close

return M
