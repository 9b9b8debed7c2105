--- The partitions of a disk and what is on each, read from its table (MBR, GPT) and from the superblocks of file systems.
local M = {}

local SECTOR = 512
local MOST, ENTRY_LEAST, ENTRY_MOST = 128, 128, 4096 -- partitions; bytes of an entry of a GPT
local SUPERBLOCKS = 72 << 10                         -- the first bytes of a partition, which have all superblocks of KINDS
local GPT = "EE"

local function trim(text) return ((text:match "^[^%z]*" or ""):gsub("[%c\127-\255]", "?"):match "^(.-) *$") end

local function at(bytes, offset, size) return bytes:sub(offset + 1, offset + size) end

-- For each kind the offsets of its magic bytes, its label and its UUID.
local KINDS = {
  { "ext4", 1080, "\x53\xef", 1144, 16, 1128 }, { "xfs", 0, "XFSB", 108, 12, 32 }, { "btrfs", 65600, "_BHRfS_M", 65835, 256, 65568 },
  { "vfat", 82, "FAT32", 71, 11 }, { "vfat", 54, "FAT1", 43, 11 }, { "erofs", 1024, "\xe2\xe1\xf5\xe0", 1088, 16, 1072 },
  { "squashfs", 0, "hsqs" }, { "swap", 4086, "SWAPSPACE2", 1052, 16 }, { "LUKS", 0, "LUKS\xba\xbe" }, { "LVM", 536, "LVM2 001" },
  { "f2fs", 1024, "\x10\x20\xf5\xf2", nil, nil, 1132 }, { "iso9660", 32769, "CD001", 32808, 32 },
  { "ntfs", 3, "NTFS    " }, { "exfat", 3, "EXFAT   " }, { "RAID", 4096, "\xfc\x4e\x2b\xa9", 4128, 32 }, { "jfs", 32768, "JFS1" },
}

local function uuid_text(id)
  if #id ~= 16 or id == ("\0"):rep(16) then return nil end
  local digits = id:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
  return ("%s-%s-%s-%s-%s"):format(digits:sub(1, 8), digits:sub(9, 12), digits:sub(13, 16), digits:sub(17, 20), digits:sub(21))
end

--- Recognises a file system by its beginning. Does not wait.
---@param bytes string the first 72 KiB of a partition, or fewer
---@return string|nil type, string? label nil: it has none
---@return string? uuid
function M.identify(bytes)
  for _, kind in ipairs(KINDS) do
    if at(bytes, kind[2], #kind[3]) == kind[3] then
      local label = kind[4] and trim(at(bytes, kind[4], kind[5])) or ""
      return kind[1], label ~= "" and label ~= "NO NAME" and label or nil, kind[6] and uuid_text(at(bytes, kind[6], 16))
    end
  end
end

local function guid_text(guid)
  local a, b, c = ("<I4I2I2"):unpack(guid)
  local d, e, f = (">I2I2I4"):unpack(guid, 9)
  return ("%08X-%04X-%04X-%04X-%04X%08X"):format(a, b, c, d, e, f)
end

local ROLES = { ["C12A7328-F81F-11D2-BA4B-00A0C93EC93B"] = "EFI system partition", ["21686148-6449-6E6F-744E-656564454649"] = "GRUB's" }

local function name_of(utf16)
  local chars = {}
  for i = 1, #utf16 - 1, 2 do
    local code = ("<I2"):unpack(utf16, i)
    if code == 0 then break end
    chars[#chars + 1] = code >= 32 and code < 127 and string.char(code) or "?"
  end
  return table.concat(chars)
end

local function read_gpt(read)
  local head, err, code = read(SECTOR, SECTOR)
  if not head then return nil, err, code end
  if head:sub(1, 8) ~= "EFI PART" then return nil, "its MBR speaks of a GPT that is not there", "EINVAL" end
  local place, count, size = ("<I8I4I4"):unpack(head, 73)
  if size < ENTRY_LEAST or size > ENTRY_MOST or size % 8 ~= 0 or place < 2 or place > 1 << 40 then
    return nil, "its GPT is damaged", "EINVAL"
  end
  count = math.min(count, MOST)
  local entries
  entries, err, code = read(place * SECTOR, count * size)
  if not entries then return nil, err, code end
  local list = {}
  for i = 0, #entries // size - 1 do
    local entry = at(entries, i * size, size)
    local first, last = ("<I8I8"):unpack(entry, 33)
    if entry:sub(1, 16) ~= ("\0"):rep(16) and first > 0 and last >= first and last < 1 << 40 then
      local name = name_of(entry:sub(57, 128))
      list[#list + 1] = { number = i + 1, start = first * SECTOR, size = (last - first + 1) * SECTOR, name = name ~= "" and name or nil,
        role = ROLES[guid_text(entry)] }
    end
  end
  return list
end

local function read_mbr(sector)
  local list = {}
  for i = 0, 3 do
    local kind, first, count = ("<B xxx I4I4"):unpack(sector, 447 + i * 16 + 4)
    if kind ~= 0 and count > 0 then
      list[#list + 1] = { number = i + 1, start = first * SECTOR, size = count * SECTOR, kind = ("%02X"):format(kind) }
    end
  end
  return list
end

---@class vmctl.Partition
---@field number integer 0: the disk has no table
---@field start integer bytes
---@field size integer bytes
---@field type? string of the file system, or "swap", "LUKS", "LVM"
---@field label? string of the file system
---@field uuid? string of the file system
---@field name? string in a GPT
---@field role? string in a GPT
---@field kind? string in an MBR: two digits

--- The partitions of a disk. Waits as `read` does.
---@param read fun(offset: integer, size: integer): string|nil, string?, string? fewer bytes where the disk ends
---@param size integer bytes of the disk
---@return vmctl.Partition[]|nil list
---@return string?, string? code EINVAL: a table that is none
function M.list(read, size)
  local sector, err, code = read(0, SECTOR)
  if not sector then return nil, err, code end
  local whole
  whole, err, code = read(0, SUPERBLOCKS)
  if not whole then return nil, err, code end
  local type, label, uuid = M.identify(whole)
  if type then return { { number = 0, start = 0, size = size, type = type, label = label, uuid = uuid } } end
  if sector:sub(511) ~= "\x55\xaa" then return {} end
  local list = read_mbr(sector)
  for _, each in ipairs(list) do
    if each.kind == GPT then
      list, err, code = read_gpt(read)
      if not list then return nil, err, code end
      break
    end
  end
  for _, each in ipairs(list) do
    local bytes = each.start < size and read(each.start, math.min(SUPERBLOCKS, each.size)) or ""
    each.type, each.label, each.uuid = M.identify(bytes or "")
  end
  return list
end

return M
