--- The files of a root: which drives they become, and where a guest's writes are kept.
local core = require "vmctl.core"
local disk_contents = require "vmctl.machine.disk_contents"
local errors = require "vmctl.errors"
local firmware = require "vmctl.machine.firmware"
local overlay = require "vmctl.machine.overlay"
local root_disk = require "vmctl.machine.root_disk"
local root_fits = require "vmctl.machine.root_fits"
local stage1 = require "vmctl.machine.stage1"

local M = {}

local UPPER_SIZE = "4G" -- of a kept upper layer, which is sparse
local SECTOR = 512      -- bytes
local ROOT_SERIAL, UPPER_SERIAL = "vmctl-root", "vmctl-upper"

M.ROOT_SERIAL = ROOT_SERIAL

--- A word of the kernel's command line, as stage 1 reads it. Does not wait.
---@param text string
---@return string
function M.encode(text) return (text:gsub("[^%w/._:=+-]", function(c) return ("%%%02x"):format(c:byte()) end)) end

-- The files that are ours to close from here on.
local function add_open(self, name, file, write)
  local each = { name = name, file = file }
  self._files[#self._files + 1] = each
  if not write then return file end
  local err, code -- QEMU opens a file for reading before it opens it for writing, and wants a descriptor for just that
  each.reader, err, code = core.fs.open(("/proc/self/fd/%d"):format(file:fileno()))
  if not each.reader then return nil, "root: " .. err, code end
  return file
end

local function add_file(self, name, path, write, format)
  local file, err, code = root_disk.open(path, write)
  if not file then return nil, err, code end
  local ok
  ok, err, code = add_open(self, name, file, write)
  if not ok then return nil, err, code end
  if not format then
    format, err, code = root_disk.format(file, path)
    if not format then return nil, err, code end
  end
  return file, format
end

--- Tells what keeps a disk from being opened, before anything is started for it. Does not wait.
---@param self table the root: _options
---@param at { kind: string, path: string }
---@param writes "discard"|"keep"|"through"
---@return true|nil, string?, string? code as of root_disk.open and root_disk.format
function M.check(self, at, writes)
  if at.kind ~= "disk" then return true end
  local file <close>, err, code = root_disk.open(at.path, writes == "through") -- luacheck: ignore
  if not file then return nil, err, code end
  if self._options.format then return true end
  local format
  format, err, code = root_disk.format(file, at.path)
  return format and true, err, code
end

-- The path of kept writes: the caller's, or one with the guest's name.
local function kept_path(self, suffix)
  if self._options.keep then return self._options.keep end
  if not self._named then
    return errors.fail("EINVAL", 'root: writes = "keep" needs a name for the guest, or the file (keep)')
  end
  local base = os.getenv "XDG_STATE_HOME"
  if not base or base:sub(1, 1) ~= "/" then base = (os.getenv "HOME" or "/var") .. "/.local/state" end
  return ("%s/vmctl/roots/%s%s"):format(base, self._named, suffix)
end

--- The overlay of a disk, if there is one already. Does not wait.
---@param self table the root
---@return string|nil path
function M.kept_of_disk(self)
  local path = kept_path(self, ".qcow2")
  return path and core.fs.stat(path) and path or nil
end

local function open_kept(self, suffix, mark, make)
  local path, err, code = kept_path(self, suffix)
  if not path then return nil, err, code end
  local ok = true
  if not core.fs.stat(path) then
    ok, err, code = root_disk.set_mark(path, mark) -- first: a process that is killed in between leaves a mark of nothing
    if ok then ok, err, code = make(path) end
  elseif not root_disk.mark_is(path, mark) then
    return errors.fail("EINVAL", "root: %s was kept for another root, or for this one before it changed: "
      .. "name another file (keep), or create the instance anew", path)
  end
  if not ok then return nil, err, code end
  return path
end

local function drive(self, id, serial, text)
  self._drives[#self._drives + 1] = { id = id, serial = serial, text = text }
end

-- The drive of a root whose writes are lost with the guest. Where the caller has a layer, it is on that: the layer is empty at first, and
-- further guests start from it.
local function drive_discarded(self, file, format)
  local layer = self._layer
  if not layer then
    drive(self, "root", ROOT_SERIAL, ("file={root},format=%s,snapshot=on"):format(format))
    return true
  end
  local ours, err, code = layer.file:reopen(layer.is_new and "rw" or "r")
  if not ours then return nil, "root: " .. err, code end
  local ok
  ok, err, code = add_open(self, "layer", ours, layer.is_new)
  if ok and layer.is_new then
    ok, err, code = root_disk.size(file, format)
    if ok then ok, err, code = overlay.write(ours, ok) end
  end
  if not ok then return nil, err, code end
  drive(self, "root", ROOT_SERIAL, ("file={layer},format=qcow2,backing.driver=%s,backing.file.driver=file,backing.file.filename={root}%s")
    :format(format, layer.is_new and "" or ",snapshot=on"))
  return true
end

local function make_seed(self)
  local bytes, folder = firmware.seed(), self._cache .. "/seeds"
  local path = ("%s/%s.iso"):format(folder, core.sha256(bytes):hex())
  if core.fs.stat(path) then return path end
  local ok, err, code = stage1.make_folders(folder)
  if ok then ok, err, code = core.fs.replace(path, bytes) end
  if not ok then return nil, "root: " .. err, code end
  return path
end

-- Tells if something on the disk can be started by firmware, where nobody says which.
local function check_loader(self, disk, sector)
  if #sector < SECTOR or firmware.has_boot_code(sector) or disk.may_differ then return true end
  local why = root_fits.no_loader(disk_contents.of(disk, self._cache))
  if why then return errors.fail("ENOTSUP", "root: %s: %s", disk.path, why) end
  return true
end

-- Reads the disk for the firmware's arguments, and adds the drives of the agent's program and of cloud-init's volume.
local function plan_firmware(self, disk)
  local sector = self._firmware.firmware and "" or disk_contents.first_sector(disk.file, disk.path, disk.format)
  local args, err, code = check_loader(self, disk, sector or "")
  if args then args, err, code = firmware.arguments(self._firmware, sector or "") end
  if not args then return nil, err, code end
  self._args = args
  local agent
  agent, err, code = add_file(self, "agent", self._firmware.agent, false, "raw")
  if not agent then return nil, err, code end
  drive(self, "agent", firmware.AGENT_SERIAL, "file={agent},format=raw,read-only=on")
  if not self._firmware.ways.nocloud then return true end
  local path
  path, err, code = make_seed(self)
  if not path then return nil, err, code end
  local seed
  seed, err, code = add_file(self, "seed", path, false, "raw")
  if not seed then return nil, err, code end
  drive(self, "seed", firmware.SEED_SERIAL, "file={seed},format=raw,read-only=on")
  return true
end

local function plan_disk(self, at, writes)
  local path, through = core.fs.real(at.path) or at.path, writes == "through"
  local file, format, code = add_file(self, "root", path, through, self._options.format)
  if not file then return nil, format, code end
  self._disk = { file = file, format = format, path = path,
    may_differ = writes == "keep" and M.kept_of_disk(self) ~= nil or self._layer ~= nil and not self._layer.is_new }
  if writes == "keep" then
    local stat, err
    stat, err, code = file:stat()
    if not stat then return nil, err, code end
    local size
    size, err, code = root_disk.size(file, format)
    if not size then return nil, err, code end
    local mark = ("disk %s %d %d\n"):format(path, stat.size, stat.changed)
    local kept
    kept, err, code = open_kept(self, ".qcow2", mark, function(to) return root_disk.make_overlay(to, size) end)
    if not kept then return nil, err, code end
    local opened
    opened, err, code = add_file(self, "kept", kept, true, "qcow2")
    if not opened then return nil, err, code end
    drive(self, "root", ROOT_SERIAL,
      ("file={kept},format=qcow2,backing.driver=%s,backing.file.driver=file,backing.file.filename={root}"):format(format))
  elseif through then
    drive(self, "root", ROOT_SERIAL, ("file={root},format=%s"):format(format))
  else
    local ok, err
    ok, err, code = drive_discarded(self, file, format)
    if not ok then return nil, err, code end
  end
  if self._firmware then return plan_firmware(self, self._disk) end
  self._word = "disk" .. (at.partition and ":" .. M.encode(tostring(at.partition)) or "")
  return true
end

local function plan_image(self, image, writes)
  local file, err, code = add_file(self, "root", image.path, false, "raw")
  if not file then return nil, err, code end
  drive(self, "root", ROOT_SERIAL, "file={root},format=raw,read-only=on")
  self._word, self.config = "image", image.config or {}
  if writes == "through" then return errors.fail("EINVAL", 'root: an image is never written: writes = "keep" or "discard"') end
  if writes ~= "keep" then return true end
  local mark = ("image %s\n"):format(image.digest or core.fs.real(image.path) or image.path)
  local kept
  kept, err, code = open_kept(self, ".ext4", mark, function(to) return root_disk.make_ext4(to, self._options.size or UPPER_SIZE) end)
  if not kept then return nil, err, code end
  file, err, code = add_file(self, "kept", kept, true, "raw")
  if not file then return nil, err, code end
  drive(self, "upper", UPPER_SERIAL, "file={kept},format=raw")
  self._append = self._append .. " vmctl.upper=disk"
  return true
end

-- An empty root is a disk of its own, which is kept or lost with the guest.
local function plan_empty(self, at, writes)
  local path, err, code
  if writes == "keep" then
    path, err, code = open_kept(self, ".ext4", "empty\n", function(to) return root_disk.make_ext4(to, at.size) end)
  else
    path = self._cache .. ("/empty/%s.ext4"):format(tostring(at.size):gsub("[^%w]", "_"))
    if not core.fs.stat(path) then
      local ok
      ok, err, code = root_disk.make_ext4(path, at.size)
      path = ok and path
    end
  end
  if not path then return nil, err, code end
  local file
  file, err, code = add_file(self, "root", path, writes == "keep", "raw")
  if not file then return nil, err, code end
  self._word = "disk:0"
  if writes ~= "keep" then return drive_discarded(self, file, "raw") end
  drive(self, "root", ROOT_SERIAL, "file={root},format=raw")
  return true
end

--- Opens and locks the files of a root, and chooses their drives and the words for stage 1. Waits while a file is made.
---@param self table the root: _options, _named, _cache, _layer; gets _files, _drives, _word, _append, config, and
-- _disk: the disk as it is read here
---@param at { kind: "disk"|"empty"|"erofs" }
---@param writes "discard"|"keep"|"through"
---@return true|nil, string?, string? code as of root_disk
function M.plan(self, at, writes)
  if at.kind == "disk" then return plan_disk(self, at, writes) end
  if at.kind == "empty" then return plan_empty(self, at, writes) end
  return plan_image(self, at, writes)
end

return M
