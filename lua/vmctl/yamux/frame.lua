--- yamux on the wire: a header of 12 bytes, and data behind that of a data frame.
local M = {}

M.SIZE = 12                    -- bytes of a header
M.DATA, M.WINDOW, M.PING, M.GO_AWAY = 0, 1, 2, 3
M.SYN, M.ACK, M.FIN, M.RST = 1, 2, 4, 8
M.WINDOW_SIZE = 256 * 1024     -- bytes that a sender may be ahead of the reader
M.PIECE = 32 * 1024 - M.SIZE   -- bytes of one data frame, so that streams take turns; with its header the most of a virtio port

local HEADER = ">BBI2I4I4"

--- A frame, complete. `length` is that of the payload, or the number that the kind of frame carries.
---@return string
function M.pack(kind, flags, id, length, payload)
  local header = HEADER:pack(0, kind, flags, id, length)
  return payload and header .. payload or header
end

--- A header's fields.
---@param header string of 12 bytes
---@return integer version, integer kind, integer flags, integer id, integer length
function M.unpack(header)
  local version, kind, flags, id, length = HEADER:unpack(header)
  return version, kind, flags, id, length
end

return M
