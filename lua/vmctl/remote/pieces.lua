--- The bytes of a file on the wire: pieces, each behind its length in 32 bits, big endian. The highest bit says that so many bytes are
--- zero, and are not sent: docs/remote.md#files.
local core = require "vmctl.core"
local errors = require "vmctl.errors"

local M = {}

M.PIECE = 1 << 18       -- bytes of a piece, at most
M.HOLE = 1 << 26        -- bytes that are zero, at most
local FLAG = 1 << 31
local ZEROS = ("\0"):rep(M.PIECE)

--- Tells if bytes are all zero. Does not wait.
function M.is_zero(data) return data == (#data == M.PIECE and ZEROS or ZEROS:sub(1, #data)) end

--- A piece. Does not wait.
---@param data string
---@return string
function M.pack(data) return (">I4"):pack(#data) .. data end

--- That so many bytes are zero. Does not wait.
---@param count integer
---@return string
function M.pack_hole(count) return (">I4"):pack(count | FLAG) end

--- Reads a piece. Waits.
---@param stream vmctl.Stream
---@param left integer bytes of the file that are still to come
---@param timeout number seconds
---@return string|integer|nil data, or how many bytes are zero; string?, string? code EPROTO
function M.read(stream, left, timeout)
  local head, err, code = stream:read_exact(4, timeout)
  if not head then return nil, err, code end
  local length = (">I4"):unpack(head)
  local is_hole = length & FLAG ~= 0
  length = length & ~FLAG
  if length == 0 or length > left or length > (is_hole and M.HOLE or M.PIECE) then
    return errors.fail("EPROTO", "a piece of %d bytes, where %d are left", length, left)
  end
  if is_hole then return length end
  return stream:read_exact(length, timeout)
end

--- Adds zeros to a hash. Waits now and then, so that others get their turn.
---@param hash table of core.sha256
---@param count integer
function M.add_zeros(hash, count)
  while count > 0 do
    local n = math.min(count, M.PIECE)
    hash:update(n == M.PIECE and ZEROS or ZEROS:sub(1, n))
    count = count - n
    core.yield()
  end
end

return M
