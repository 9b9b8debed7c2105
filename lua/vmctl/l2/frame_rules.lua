--- The rules that an Ethernet frame of a port follows, and the address of a port.
local random = require "vmctl.base.random"

local M = {}

local SHORTEST = 14               -- bytes of two addresses and a type
local LONGEST_SENT = 65535        -- every peer accepts that

--- A random address of our own: locally administered, unicast. It is never sent; guests have the addresses of their devices. Does not wait.
---@return string
function M.random_address()
  local bytes = { assert(random.bytes(6)):byte(1, 6) }
  bytes[1] = bytes[1] & 0xfc | 0x02
  return ("%02x:%02x:%02x:%02x:%02x:%02x"):format(table.unpack(bytes))
end

--- The reason why a frame cannot be sent, or nothing. A value that is no string raises. Does not wait.
---@param label string of the port
---@param frame string
---@return string|nil message, string? code EINVAL, ETOOBIG
function M.check(label, frame)
  if type(frame) ~= "string" then error("send: a frame is a string, got " .. type(frame), 3) end
  if #frame < SHORTEST then
    return ("send %s: a frame of %d bytes: an Ethernet frame has at least %d"):format(label, #frame, SHORTEST), "EINVAL"
  elseif #frame > LONGEST_SENT then
    return ("send %s: a frame of %d bytes: at most %d are sent"):format(label, #frame, LONGEST_SENT), "ETOOBIG"
  end
end

--- Counts frames, and leaves out those that are too short. Does not wait.
---@param frames string[] changed
---@param counts table frames_in, bytes_in, invalid
---@return string[] frames
function M.sift(frames, counts)
  local good = 0
  for i = 1, #frames do
    local frame = frames[i]
    if #frame < SHORTEST then
      counts.invalid = counts.invalid + 1
    else
      counts.bytes_in = counts.bytes_in + #frame
      good = good + 1
      frames[good] = frame
    end
  end
  counts.frames_in = counts.frames_in + good
  for i = #frames, good + 1, -1 do frames[i] = nil end
  return frames
end

return M
