--- The contents of a disk, as seen from outside: the table of its partitions, and the beginnings of their file systems. qemu-img reads
--- those of a qcow2, which may be compressed; the result is kept in the cache as long as the file is the same.
local core = require "vmctl.core"
local json = require "vmctl.json"
local partitions = require "vmctl.machine.partitions"
local process = require "vmctl.process"
local root_disk = require "vmctl.machine.root_disk"
local shape = require "vmctl.json.shape"
local stage1 = require "vmctl.machine.stage1"

local M = {}

local FORMAT = "1"           -- of a kept result
local MOST = 1 << 20         -- bytes that are read of a disk at a time
local MOST_TEXT = 256 << 10  -- bytes of a kept result
local ASK = 60               -- seconds for qemu-img
local SECTOR = 512

local PARTITION = {
  number = "integer", start = "integer", size = "integer", type = "string?", label = "string?", uuid = "string?", name = "string?",
  role = "string?", kind = "string?",
}

-- Reads a piece of any image.
local function convert(path, format, offset, size)
  local folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-disk")
  if not folder then return nil, err, code end
  local name = folder .. "/piece"
  local _ <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    core.fs.remove(name)
    core.fs.remove(folder)
  end })
  local image = json.encode { driver = "raw", offset = offset, size = size, file = { driver = format, file = { driver = "file",
    filename = path } } }
  local child <close>, why, how = process.spawn { "qemu-img", "convert", "-O", "raw", "json:" .. image, name, stdout = "null", -- luacheck: ignore
    stderr = "null", stdin = "null" }
  if not child then return nil, why, how end
  local record
  record, err, code = child:wait(ASK)
  if not record then return nil, err, code end
  local file <close> = record.exit_code == 0 and core.fs.open(name) or nil -- luacheck: ignore
  if not file then return nil, "qemu-img cannot read it", "EIO" end
  return file:read(size, 0)
end

local function reader(file, path, format, disk_size)
  return function(offset, size)
    size = math.min(size, MOST, disk_size - offset)
    if size <= 0 then return "" end
    if format == "raw" then return file:read(size, offset) end
    return convert(path, format, offset, size // SECTOR * SECTOR)
  end
end

--- The partitions of a disk. Waits for qemu-img unless the disk is raw.
---@param file vmctl.File of the disk
---@param path string of the disk
---@param format "raw"|"qcow2"
---@param size integer bytes, as its guest sees it
---@return vmctl.Partition[]|nil list, string?, string? code as of vmctl.machine.partitions; EIO, ENOENT: qemu-img cannot read it
function M.list(file, path, format, size) return partitions.list(reader(file, path, format, size), size) end

--- The first sector of a disk. Waits for qemu-img where it is no raw one.
---@param file vmctl.File
---@param path string
---@param format "raw"|"qcow2"
---@return string|nil bytes, string?, string?
function M.first_sector(file, path, format) return reader(file, path, format, SECTOR)(0, SECTOR) end

local function read_kept(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local list = json.decode(file:read(MOST_TEXT) or "")
  file:close()
  return not shape.wrong(list, { each = PARTITION }, "it") and list or nil
end

--- The same from the cache, where qemu-img had to read them. Waits for qemu-img the first time.
---@param file vmctl.File
---@param path string
---@param format "raw"|"qcow2"
---@param size integer bytes
---@param cache string a folder
---@return vmctl.Partition[]|nil list, string?, string?
function M.known(file, path, format, size, cache)
  if format == "raw" then return M.list(file, path, format, size) end
  local stat, err, code = file:stat()
  if not stat then return nil, err, code end
  local folder = cache .. "/disks"
  local kept = ("%s/%s.json"):format(folder, core.sha256(("%s %s %d %s"):format(FORMAT, path, stat.size, stat.changed)):hex())
  local list = read_kept(kept)
  if list then return list end
  list, err, code = M.list(file, path, format, size)
  if not list then return nil, err, code end
  if stage1.make_folders(folder) then core.fs.replace(kept, json.encode(json.array(list))) end -- else it is read again next time
  return list
end

--- The same of a root's disk. Waits likewise.
---@param disk { file: vmctl.File, path: string, format: "raw"|"qcow2" }
---@param cache string a folder
---@return vmctl.Partition[]|nil list, string?, string?
function M.of(disk, cache)
  local size, err, code = root_disk.size(disk.file, disk.format)
  if not size then return nil, err, code end
  return M.known(disk.file, disk.path, disk.format, size, cache)
end

return M
