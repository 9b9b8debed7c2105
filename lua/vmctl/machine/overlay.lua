--- Empty overlays: qcow2 images without data, which take a guest's writes (docs/interop/qcow2.txt of QEMU). Their headers
--- name no disk below them: the launch does.
local M = {}

local MAGIC, VERSION, HEADER = "QFI\xfb", 3, 104
local CLUSTER_BITS, REFCOUNT_ORDER = 16, 4 -- clusters of 64 KiB; refcounts of 16 bits
local CLUSTER = 1 << CLUSTER_BITS
local REACH = CLUSTER * CLUSTER // 8       -- bytes of the disk that an entry of the first table leads to
local SECTOR = 512

local function pad(bytes) return bytes .. ("\0"):rep(CLUSTER - #bytes) end

local function header(size, entries)
  return MAGIC .. (">I4I8I4 I4I8I4 I4I8I8 I4I4I8 I8I8I8 I4I4"):pack(
    VERSION, 0, 0,                     -- no disk below
    CLUSTER_BITS, size, 0,             -- not encrypted
    entries, 3 * CLUSTER, CLUSTER,     -- the first table, and that of the blocks of refcounts
    1, 0, 0,                           -- which has one cluster; no snapshots
    0, 0, 0,                           -- no features
    REFCOUNT_ORDER, HEADER)
end

--- Writes an empty overlay into a file that is empty. Does not wait, but for the file system.
---@param file vmctl.File
---@param size integer bytes of the disk
---@return true|nil, string?, string?
function M.write(file, size)
  size = (size + SECTOR - 1) // SECTOR * SECTOR
  local entries = math.max(1, (size + REACH - 1) // REACH)
  local clusters = 3 + (entries * 8 + CLUSTER - 1) // CLUSTER
  local ok, err, code = file:write(pad(header(size, entries)) .. pad((">I8"):pack(2 * CLUSTER)) .. pad(("\0\1"):rep(clusters)))
  if not ok then return nil, err, code end
  return file:truncate(clusters * CLUSTER)
end

return M
