--- Chooses the kernel of a guest with a root, and notes the reason: the disk's own where that can start the agent, else ours.
local disk_contents = require "vmctl.machine.disk_contents"
local errors = require "vmctl.errors"
local firmware = require "vmctl.machine.firmware"
local own_kernel = require "vmctl.machine.own_kernel"
local platform = require "vmctl.machine.platform"
local root_files = require "vmctl.machine.root_files"
local root_fits = require "vmctl.machine.root_fits"
local stage1 = require "vmctl.machine.stage1"

local M = {}

-- MiB that a guest needs to start. A distribution's initrd is unpacked beside its archive.
local LEAST_MEMORY = { agent = 128, system = 192, own = 256 }
local TRIED = "x86_64" -- where own kernels are the default
-- The modules of the file systems that an fstab may have.
local MODULE_OF = { ext2 = "ext4", ext3 = "ext4", ext4 = "ext4", xfs = "xfs", btrfs = "btrfs", erofs = "erofs", squashfs = "squashfs",
  vfat = "vfat", f2fs = "f2fs", jfs = "jfs", exfat = "exfat" }

--- A size of memory in MiB. Does not wait.
---@param memory integer|string as "256M"
---@return number|nil
function M.mebibytes(memory)
  if math.type(memory) == "integer" then return memory end
  local number, unit = tostring(memory):match "^(%d+)([KMGT]?)$"
  local factor = ({ K = 1 / 1024, [""] = 1, M = 1, G = 1024, T = 1024 * 1024 })[unit or "?"]
  return factor and tonumber(number) * factor
end

local function least_of(self, init)
  if self._own then return LEAST_MEMORY.own, "the disk's own kernel and initrd need" end
  return LEAST_MEMORY[init] or LEAST_MEMORY.system, "its kernel needs"
end

--- Refuses memory that is too little for the kernel to start. Does not wait.
---@param self table the root, whose kernel is chosen
---@param memory integer|string|nil
---@param init string|table
---@return true|nil, string?, string? code EINVAL
function M.check_memory(self, memory, init)
  local given = memory and M.mebibytes(memory)
  local least, who = least_of(self, init)
  if given and given < least then
    return errors.fail("EINVAL", "root: memory %s is too little: %s %d MiB to start", memory, who, least)
  end
  return true
end

-- The reason why a guest without `boot` has our kernel, as far as the options tell; nil where the disk has to be looked into.
local function rules_out(opts, at)
  if at.kind ~= "disk" then return "an image has no kernel" end
  if opts.init and opts.init ~= "system" then return "ours starts any init" end
  if opts.kernel then return "a kernel is named" end
  local arch = platform.get(opts.arch)
  if not arch or arch.arch ~= TRIED then return "it was asked for nothing else" end
  if opts.machine and opts.machine ~= arch.fallback then return ("a %s is asked for"):format(opts.machine) end
  if opts.memory and (M.mebibytes(opts.memory) or 0) < LEAST_MEMORY.own then
    return ("the disk's own needs %d MiB of memory"):format(LEAST_MEMORY.own)
  end
end

local function plan_firmware(self, at, agent, beside)
  if at.partition or beside.words ~= "" then
    return errors.fail("EINVAL", 'root: with boot = "firmware" the disk chooses its partition, and nobody tells it of shares and networks')
  end
  local ways, err, code = firmware.ways(self._options.ways)
  if not ways then return nil, err, code end
  self._firmware = { firmware = self._options.firmware, ways = ways, agent = agent }
  self.boot, self.boot_reason = "firmware", "asked for"
  return true
end

local function look(self, opts, at, launch)
  local found, err, code = own_kernel.find(launch, opts, self._options, {
    path = at.path, partition = at.partition, kept = opts.writes == "keep" and root_files.kept_of_disk(self) or nil, cache = self._cache,
  })
  if not found and err:find "^root: " then return nil, err, code end -- the disk is at fault
  local said = not found and err:match "vmctl%-agent: root: ([^\n]*)"
  if said then return errors.fail("ENOTSUP", "root: %s: %s", at.path, said) end
  if not found then return nil, ("root: look for the kernel of %s: %s"):format(at.path, err), code end
  return found
end

-- Looks into the disk before it is locked: another guest locks it for that.
local function choose_own(self, opts, at, launch)
  local found, err, code = look(self, opts, at, launch)
  if not found then return nil, err, code end
  if not found.reason then
    self._own, self.boot = found, "kernel"
    self.boot_reason = ("the disk has %s, with an initrd of %s"):format(found.version, found.maker)
    return true
  end
  if opts.boot == "kernel" then return errors.fail(found.code, "root: the kernel of %s: %s", at.path, found.reason) end
  self.boot_reason = found.reason
  for _, type in ipairs(found.types or {}) do self._types[#self._types + 1] = MODULE_OF[type] end
  return true
end

--- Chooses the kernel. Waits for a guest that looks into a disk, unless its kernel is known.
---@param self table the root: gets boot, boot_reason, and _own or _firmware
---@param opts table of the launch
---@param at table the root, as vmctl.machine.root_source gives it
---@param launch function vmctl.machine.launch
---@param agent string its program
---@param beside vmctl.MachineBeside
---@return true|nil, string?, string? code ENOENT, ENOTSUP: the disk's kernel was asked for, and cannot be had; EINVAL
function M.choose(self, opts, at, launch, agent, beside)
  self.boot, self.boot_reason, self._types = "ours", "asked for", {}
  if opts.boot == "ours" then return true end
  if not opts.boot then
    local why = rules_out(opts, at)
    if not why then return choose_own(self, opts, at, launch) end
    self.boot_reason = why
    return true
  end
  if at.kind ~= "disk" or opts.init and opts.init ~= "system" then
    return errors.fail("EINVAL", 'root: boot = "%s" is for the init of a disk: an image has no kernel, and ours starts any init', opts.boot)
  end
  if opts.boot == "firmware" then return plan_firmware(self, at, agent, beside) end
  return choose_own(self, opts, at, launch)
end

-- The modules that a root of ours cannot be without. An fstab's other types are served by a program, or over a network.
local function needs_of(self, at, beside)
  local needs = { "virtio_blk", table.unpack(beside.modules) }
  if at.kind == "erofs" then table.move({ "erofs", "overlay" }, 1, 2, #needs + 1, needs) end
  if at.kind == "empty" or self._append:find("vmctl.upper=disk", 1, true) then needs[#needs + 1] = "ext4" end
  table.move(self._types, 1, #self._types, #needs + 1, needs)
  return needs
end

-- Refuses a disk that stage 1 could not mount. Stage 1 itself refuses one that cannot be read here.
local function check_disk(self, at, lacks, modules_dir)
  local disk = self._disk
  if not disk or disk.may_differ then return true end
  local list = disk_contents.of(disk, self._cache)
  local why = list and root_fits.refusal(list, at.partition, lacks, modules_dir)
  if not why then return true end
  return errors.fail("ENOTSUP", "root: %s: %s", disk.path, why)
end

--- The initramfs of stage 1. Refuses our kernel where it lacks a module that the root or its extras need. Waits while it is made.
---@param self table the root, whose files are planned
---@param at table the root, as vmctl.machine.root_source gives it
---@param parts { agent: string, modules_dir: string? }
---@param beside vmctl.MachineBeside
---@return string|nil path, string?, string? code ENOTSUP: with the names of the modules
function M.stage1(self, at, parts, beside)
  local more = table.move(beside.modules, 1, #beside.modules, 1, {})
  table.move(self._types, 1, #self._types, #more + 1, more)
  local path, lacks, code = stage1.make { agent = parts.agent, modules_dir = parts.modules_dir, cache = self._cache,
    set = self._word == "image" and "image" or "disk", more = more }
  if not path then return nil, lacks, code end
  local missing = {}
  for _, name in ipairs(needs_of(self, at, beside)) do
    if lacks[name] then missing[#missing + 1] = name end
  end
  if #missing == 0 then
    local ok, err, why = check_disk(self, at, lacks, parts.modules_dir)
    if not ok then return nil, err, why end
    return path
  end
  return errors.fail("ENOTSUP", "root: our kernel lacks modules that this guest needs: %s (neither built in nor below %s)%s",
    table.concat(missing, ", "), parts.modules_dir, self._types[1] and "; the disk's own: " .. self.boot_reason or "")
end

return M
