--- The files of a guest's root: opened and locked here, and given to QEMU as descriptors, so that it needs no right to their paths.
-- flock(2)'s lock belongs to the open file: QEMU holds it as long as it runs.
local core = require "vmctl.core"
local disk_format = require "vmctl.machine.disk_format"
local errors = require "vmctl.errors"
local overlay = require "vmctl.machine.overlay"
local foreign_locks = require "vmctl.machine.foreign_locks"
local process = require "vmctl.process"
local stage1 = require "vmctl.machine.stage1"
local staged = require "vmctl.base.staged"

local M = {}

local TOOL = 120                            -- seconds for a program that makes a file system
local LEAST, MOST = 1 << 20, 1 << 46        -- bytes of a disk that is made

--- The format of a disk: see vmctl.machine.disk_format.
M.format = disk_format.of

local READ_ONLY = { EACCES = true, EROFS = true, EPERM = true }

-- Suggests another meaning of a path.
local OTHERWISE = { directory = "a folder with a root file system is dir:%s, a layout of an image oci:%s" }

-- A failure to open a disk, with advice if it can be read.
local function cannot_open(path, write, err, code)
  local readable <close> = write and READ_ONLY[code] and core.fs.open(path) or nil -- luacheck: ignore
  if not readable then return nil, "root: " .. err, code end
  return errors.fail(code, 'root: %s can only be read here: writes = "discard" or "keep" (--writes) leaves it as it is', path)
end

--- Opens and locks a file: one writer, or any number of readers. Does not wait.
---@param path string
---@param write? boolean
---@return vmctl.File|nil, string?, string? code EBUSY: another guest or another QEMU has it; EACCES, EROFS …
function M.open(path, write)
  local found, err, code = core.fs.stat(path)
  if not found then return nil, "root: " .. err, code end
  if found.type ~= "file" and found.type ~= "block" then
    local otherwise = OTHERWISE[found.type]
    return errors.fail("EINVAL", "root: %s is a %s, and no disk%s", path, found.type,
      otherwise and ": " .. otherwise:format(path, path) or "")
  end
  local file
  file, err, code = core.fs.open(path, write)
  if not file then return cannot_open(path, write, err, code) end
  local ok
  ok, err, code = file:lock(write)
  local foreign = ok and foreign_locks.find(path, write)
  if ok and not foreign then return file end
  file:close()
  if foreign then return errors.fail("EBUSY", "root: %s: another process %s", path, foreign) end
  if code ~= "EBUSY" then return nil, "root: " .. err, code end
  return errors.fail("EBUSY", "root: %s: another guest %s (vmctl list shows which run)", path, write and "uses it" or "writes it")
end

local function run(what, argv)
  argv.stdout, argv.stderr, argv.stdin = "null", "pipe", "null"
  local deadline = core.now() + TOOL
  local child <close>, err, code = process.spawn(argv) -- luacheck: ignore
  if not child then return nil, ("root: %s: %s"):format(what, err), code end
  local said = child.stderr:read(4096, TOOL) or ""
  local record
  record, err, code = child:wait(deadline - core.now())
  if not record then return nil, ("root: %s: %s"):format(what, err), code end
  if record.exit_code == 0 then return true end
  return errors.fail("EIO", "root: %s: %s: %s", what, argv[1], said:match "[^\n]+" or "it failed")
end

local function parse_size(size)
  local number, unit = tostring(size):match "^(%d+)([MGT]?)$"
  local bytes = number and #number < 15 and math.tointeger(tonumber(number)) << ({ [""] = 0, M = 20, G = 30, T = 40 })[unit]
  if not bytes or bytes < LEAST or bytes > MOST then return errors.fail("EINVAL", "root: size: %s is none (4G, 512M)", size) end
  return bytes
end

-- Makes a file by a program, under a name of its own until it is whole.
local function make(path, size, program)
  local folder = path:match "^(.*)/[^/]*$" or "."
  local there = core.fs.stat(path, true)
  local ok, err, code
  if there and there.type ~= "file" then return errors.fail("EEXIST", "root: %s is there, and no regular file", path) end
  if folder:sub(1, 1) == "/" then
    ok, err, code = stage1.make_folders(folder)
    if not ok then return nil, "root: " .. err, code end
  end
  return staged.make(path, function(name)
    local file, why, how = core.fs.private(name, true)
    if not file then return nil, "root: " .. why, how end
    local done
    done, why, how = file:truncate(size)
    file:close()
    if not done then return nil, why, how end
    return program(name)
  end)
end

--- Makes an empty ext4 in a sparse file. Waits.
---@param path string
---@param size string|integer bytes, or as "4G"
---@return true|nil, string?, string? code EINVAL; ENOENT: no mke2fs
function M.make_ext4(path, size)
  local bytes, err, code = parse_size(size)
  if not bytes then return nil, err, code end
  return make(path, bytes, function(name)
    return run("make an ext4", { "mke2fs", "-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
      "-F", name, env = { PATH = (os.getenv "PATH" or "/usr/bin:/bin") .. ":/usr/sbin:/sbin" } })
  end)
end

--- Makes a qcow2 of the size of its backing disk. Its header does not name that disk: the launch does. Waits for the file system at most.
---@param path string
---@param size integer bytes
---@return true|nil, string?, string?
function M.make_overlay(path, size)
  return make(path, 0, function(name)
    local file <close>, err, code = core.fs.open(name, true) -- luacheck: ignore
    if not file then return nil, err, code end
    return overlay.write(file, size)
  end)
end

--- The size of a disk as its guest sees it. Does not wait.
---@param file vmctl.File
---@param format "raw"|"qcow2"
---@return integer|nil, string?, string?
function M.size(file, format)
  if format == "raw" then return file:seek(0, 2) end
  local head, err, code = file:read(32, 0)
  if not head then return nil, err, code end
  return (">I8"):unpack(head, 25)
end

--- Tells if an overlay was made for a disk, by the note beside it: it is of no use on another disk, or on one that has changed. Does not
--- wait.
---@param path string of the overlay
---@param mark string
---@return boolean|nil same nil: there is none
function M.mark_is(path, mark)
  local file = io.open(path .. ".base", "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text == mark
end

--- Notes beside an overlay the disk that it is made for. Does not wait, but for the file system.
---@return true|nil, string?, string?
function M.set_mark(path, mark)
  local folder = path:match "^(/.*)/[^/]*$"
  local ok, err, code = true, nil, nil
  if folder then ok, err, code = stage1.make_folders(folder) end
  if not ok then return nil, "root: " .. err, code end
  return core.fs.replace(path .. ".base", mark)
end

return M
