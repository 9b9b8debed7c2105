--- A part of a file: a layer inside an archive, or a whole file. It is described by its path, offset and size, and opened when it is read.
local core = require "vmctl.core"
local errors = require "vmctl.errors"

local M = {}

---@class vmctl.FileSlice
local methods = {}
local mt = { __name = "vmctl.FileSlice", __index = methods }

--- Describes a part. Does not wait.
---@param path string
---@param offset integer bytes
---@param size integer bytes
---@return { path: string, offset: integer, size: integer, whole: boolean? }
function M.new(path, offset, size) return { path = path, offset = offset, size = size } end

--- Opens a part; nothing waits for the other end of a FIFO. Waits for the file system alone.
---@param part { path: string, offset: integer, size: integer? } size: nil for all from the offset
---@return vmctl.FileSlice|nil reader with `offset` and `size`, string?, string? code ENOENT, EINVAL: no regular file …
function M.open(part)
  local file, err, code = core.fs.open(part.path)
  if not file then return nil, err, code end
  local info
  info, err, code = file:stat()
  if not info or info.type ~= "file" then
    file:close()
    if not info then return nil, err, code end
    return errors.fail("EINVAL", "%s: not a regular file", part.path)
  end
  return setmetatable({ file = file, offset = part.offset, size = part.size or math.max(0, info.size - part.offset), _at = 0 }, mt)
end

--- A whole file as a part of itself. Waits for the file system.
---@param path string
---@return table|nil part, string?, string? code EINVAL: no regular file
function M.whole(path)
  local reader <close>, err, code = M.open { path = path, offset = 0 }
  if not reader then return nil, err, code end
  return { path = path, offset = 0, size = reader.size, whole = true }
end

--- Up to n bytes; nil at the end, or with a message and a code.
---@param n integer
---@return string|nil, string?, string?
function methods:read(n)
  local left = self.size - self._at
  if left <= 0 or n <= 0 then return n <= 0 and "" or nil end
  local data, err, code = self.file:read(math.min(n, left), self.offset + self._at)
  if not data then return nil, err, code end
  if data == "" then return nil end
  self._at = self._at + #data
  return data
end

--- All of its bytes, which must be no more than so many. Waits for the file system.
---@param most integer bytes
---@return string|nil, string?, string? code ETOOBIG
function methods:all(most)
  if self.size > most then return errors.fail("ETOOBIG", "more than %d bytes", most) end
  local parts = {}
  while true do
    local data, err, code = self:read(most)
    if not data and err then return nil, err, code end
    if not data then return table.concat(parts) end
    parts[#parts + 1] = data
  end
end

--- Skips n bytes.
---@return boolean|nil whether there were as many
function methods:skip(n)
  if n > self.size - self._at then return nil end
  self._at = self._at + n
  return true
end

--- Its position, as an offset in the file.
---@return integer
function methods:position() return self.offset + self._at end

--- For readers of whole files: seek "end" gives the size, seek "set" goes to the beginning.
---@return integer
function methods:seek(whence)
  self._at = whence == "end" and self.size or 0
  return self._at
end

--- Idempotent, does not wait.
function methods:close() self.file:close() end

mt.__close = methods.close

return M
