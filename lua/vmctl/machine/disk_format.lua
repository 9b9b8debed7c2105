--- The format of a disk's file, by its header. One that QEMU would have to convert, or that is packed, is refused with what to do.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local packing = require "vmctl.rootfs.packing"

local M = {}

local HEAD = 512                            -- bytes of a file that are looked at
local QCOW2 = "QFI\xfb"                     -- docs/interop/qcow2.txt of QEMU
local EXTERNAL_DATA = 1 << 2                -- of its incompatible features
local MOST_NAME = 1023                      -- bytes of the name of a backing file
local SHOWN = 200                           -- of them in a message
local CONVERT = "convert it first: qemu-img convert -O qcow2 %s NEW.qcow2"

-- Where each has its mark (qemu's block/*.c; a tar: POSIX, ustar).
local FOREIGN = {
  { 0, "KDMV", "a VMDK of VMware" }, { 0, "COWD", "a VMDK of VMware" },
  { 0, "# Disk DescriptorFile", "the description of a VMDK of VMware" },
  { 64, "\x7f\x10\xda\xbe", "a VDI of VirtualBox" }, { 0, "vhdxfile", "a VHDX of Hyper-V" }, { 0, "conectix", "a VHD" },
  { 0, "QED\0", "a QED" }, { 0, "WithoutFreeSpace", "a disk of Parallels" }, { 0, "WithouFreSpacExt", "a disk of Parallels" },
}
local UNPACK = { gzip = "gzip -dk", xz = "xz -dk", zstd = "zstd -d", bzip2 = "bzip2 -dk" }

local function foreign(head)
  for _, each in ipairs(FOREIGN) do
    if head:sub(each[1] + 1, each[1] + #each[2]) == each[2] then return each[3] end
  end
end

-- The reason why a file that is no qcow2 is no raw disk either, or nil.
local function refusal(head, path)
  local program = packing.program(head)
  if program then return ("is packed by %s: unpack it first: %s %s"):format(program, UNPACK[program], path) end
  program = packing.foreign(head)
  if program then return ("is packed by %s: unpack it first"):format(program) end
  local what = foreign(head)
  if what then return ("is %s: %s"):format(what, CONVERT:format(path)) end
  if head:sub(258, 262) == "ustar" then
    return ("is a tar archive, and no disk: tar:%s where it has a root file system; the disk of an OVA has to be taken out of it")
      :format(path)
  end
end

-- The file that a qcow2 stands on, as its header names it, and whether it is there.
local function backing_of(file, path, place, size)
  if size == 0 or size > MOST_NAME then return "another file" end
  local name = file:read(size, place) or ""
  local text = log.one_line(name, SHOWN)
  if name:find "^[%w+-]+:" then return text end -- a protocol of QEMU's
  local full = name:sub(1, 1) == "/" and name or (path:match "^(.*/)" or "") .. name
  return core.fs.stat(full) and text or text .. ", which is missing"
end

-- A qcow2 that stands on other files is refused: a guest that may write its raw disk could write such a header, and would get any
-- file of this machine.
local function check_qcow2(file, path, head)
  if #head < 72 then return errors.fail("EINVAL", "root: the disk %s: its qcow2 header is cut short", path) end
  local version, backing, size = (">I4I8I4"):unpack(head, 5)
  local features = version >= 3 and #head >= 80 and (">I8"):unpack(head, 73) or 0
  if backing ~= 0 then
    return errors.fail("EINVAL", "root: the disk %s stands on another file (%s): join them first: qemu-img convert -O qcow2 %s NEW.qcow2",
      path, backing_of(file, path, backing, size), path)
  end
  if features & EXTERNAL_DATA ~= 0 then
    return errors.fail("EINVAL", "root: the disk %s has its data in another file: %s", path, CONVERT:format(path))
  end
  return "qcow2"
end

--- The format of a disk. Does not wait, but for the file system.
---@param file vmctl.File
---@param path string for messages
---@return "raw"|"qcow2"|nil, string?, string? code EINVAL: neither, or a qcow2 that stands on another file
function M.of(file, path)
  local head, err, code = file:read(HEAD, 0)
  if not head then return nil, err, code end
  if head:sub(1, 4) == QCOW2 then return check_qcow2(file, path, head) end
  if head == "" and file:seek(0, 2) == 0 then return errors.fail("EINVAL", "root: the disk %s is empty", path) end
  local why = refusal(head, path)
  if why then return errors.fail("EINVAL", "root: the disk %s %s", path, why) end
  return "raw"
end

return M
