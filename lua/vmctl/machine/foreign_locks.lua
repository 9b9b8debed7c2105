--- Tells if a QEMU that is none of ours has a disk: it knows nothing of our locks, but takes some of its own (file-posix.c of QEMU: a lock
--- on the byte 100 by a reader, on 101 by a writer), which the kernel lists.
local core = require "vmctl.core"

local M = {}

local READS, WRITES = 100, 101 -- bytes
local MOST = 4 << 20           -- bytes of the list

-- A device's number as the kernel lists it; the number is glibc's makedev.
local function device_of(number)
  local major = number >> 8 & 0xfff | number >> 32 & 0xfffff000
  local minor = number & 0xff | number >> 12 & 0xffffff00
  return ("%02x:%02x"):format(major, minor)
end

local function list()
  local file = io.open "/proc/locks" -- its size is not known before
  if not file then return "" end
  local text = file:read(MOST) or ""
  file:close()
  return text
end

--- Looks for such locks. Does not wait, but for the file system.
---@param path string of a disk
---@param write boolean? the caller will write
---@return string|nil doing "writes it", or "uses it" where that is no better; nil: nobody does
function M.find(path, write)
  local found = core.fs.stat(path)
  if not found then return nil end
  local file = ("%s:%d"):format(device_of(found.device), found.inode)
  local doing
  for kind, where, first, last in list():gmatch "(%u+) +ADVISORY +%u+ +%-?%d+ (%x+:%x+:%d+) (%d+) (%w+)" do
    first, last = tonumber(first), tonumber(last) or math.huge
    if kind == "OFDLCK" and where == file then
      if first <= WRITES and last >= WRITES then return "writes it" end
      if write and first <= READS and last >= READS then doing = "uses it" end
    end
  end
  return doing
end

return M
