--- Turns the option `root` of a launch into a kernel's command line, an initramfs and disks.
local errors = require "vmctl.errors"
local firmware = require "vmctl.machine.firmware"
local image_defaults = require "vmctl.machine.image_defaults"
local options = require "vmctl.base.options"
local own_kernel = require "vmctl.machine.own_kernel"
local platform = require "vmctl.machine.platform"
local root_boot = require "vmctl.machine.root_boot"
local root_files = require "vmctl.machine.root_files"
local root_source = require "vmctl.machine.root_source"
local stage1 = require "vmctl.machine.stage1"

local M = {}

local NO_BYTES = "%00"    -- an empty word, as stage 1 reads it
local LONGEST_WORD = 900 -- bytes of an init; a kernel's command line has 2048

---@class vmctl.MachineRoot
---@field config table of an image: env, user, cwd, entrypoint, cmd
---@field boot "ours"|"kernel"|"firmware" the guest's start: by our kernel, by the disk's own, or by its loader
---@field boot_reason string why it is that
local methods = {}
local mt = { __name = "vmctl.MachineRoot", __index = methods }

local function init_word(init)
  if type(init) == "string" then return init end
  local words = {}
  for i, word in ipairs(init) do
    if type(word) ~= "string" or word:find("\0", 1, true) then error("machine.launch: init: words expected", 5) end
    words[i] = word == "" and NO_BYTES or root_files.encode(word)
  end
  if #words == 0 or init[1] == "" then error("machine.launch: init: a command expected", 5) end
  return "run:" .. table.concat(words, ",")
end

-- The kernel, and the initrd and words that lead it into the root.
local function start_own(self, parts, beside)
  local initrd, err, code = own_kernel.initrd(self._own, parts.agent, beside:script())
  if not initrd then return nil, "root: " .. err, code end
  local mode = self._options.read_only and "ro vmctl.ro" or "rw"
  return {
    kernel = self._own.folder .. "/kernel", initrd = initrd,
    append = ("%s %s %s"):format(own_kernel.words(self._own, root_files.ROOT_SERIAL), mode, beside.address),
  }
end

local function start_ours(self, at, parts, beside, init)
  local word = init_word(init)
  if #word > LONGEST_WORD then return errors.fail("ETOOBIG", "root: the init has more than %d bytes", LONGEST_WORD) end
  local initrd, err, code = self._options.stage1, nil, nil
  if not initrd then initrd, err, code = root_boot.stage1(self, at, parts, beside) end
  if not initrd then return nil, err, code end
  return {
    kernel = parts.kernel, initrd = initrd,
    append = ("vmctl.root=%s%s%s vmctl.init=%s %s"):format(
      self._word, self._append, image_defaults.word(self.config, root_files.encode), word, beside.words),
  }
end

-- Sets the options of the launch that depend on the root, where the caller has not.
local function complete(self, opts, at, parts, beside)
  local arch, err, code = platform.get(opts.arch)
  if not arch then return nil, "launch: " .. err, code end
  local init = opts.init or (at.kind == "disk" or at.has_init) and "system" or "agent"
  local ok
  ok, err, code = root_boot.check_memory(self, opts.memory, init)
  if not ok then return nil, err, code end
  local first
  if self._firmware then
    first = { append = "", firmware = true }
  elseif self._own then
    first, err, code = start_own(self, parts, beside)
  else
    first, err, code = start_ours(self, at, parts, beside, init)
  end
  if not first then return nil, err, code end
  local machine = opts.machine
  if not machine and init ~= "agent" and arch.machines[arch.fallback] then machine = arch.fallback end -- with ACPI to power it off
  local memory = opts.memory or (init == "agent" and "256M" or "512M")
  return options.merge(opts, {
    kernel = first.kernel or false, initrd = first.initrd, machine = machine, memory = memory,
    append = ("%s %s"):format(first.append, opts.append or ""),
  })
end

--- Plans a root: opens and locks its files. Waits while an image or a file system is made.
---@param opts table as for machine.launch, with `root`
---@param beside vmctl.MachineBeside the extras that stage 1 is told of
---@param launch function vmctl.machine.launch, for a guest that looks at a disk
---@return vmctl.MachineRoot|nil root
---@return table|string completed the options of the launch, or a message
---@return string? code EBUSY: another guest uses a file; EINVAL; ENOENT …
function M.plan(opts, beside, launch)
  local at, spec, code = root_source.parse(opts.root)
  if not at then return nil, spec, code end
  local kernel, agent, modules_dir = root_source.parts(opts)
  if not kernel then return nil, agent, modules_dir end
  if opts.initrd then return errors.fail("EINVAL", "launch: an initrd and a root: stage 1 is the root's initrd") end
  local self = setmetatable({
    config = {}, _cache = opts.cache_dir or stage1.cache(),
    _files = {}, _drives = {}, _options = spec, _named = opts.name, _layer = opts.layer, _append = spec.read_only and " vmctl.ro" or "",
  }, mt)
  local ok, err, image
  image, err, code = root_source.image(self._options, at, opts.arch, self._cache)
  if image then ok, err, code = root_files.check(self, at, opts.writes or "discard") end
  if ok then ok, err, code = root_boot.choose(self, opts, at, launch, agent, beside) end
  if ok then ok, err, code = root_files.plan(self, image, opts.writes or "discard") end
  at = image
  local completed
  if ok then completed, err, code = complete(self, opts, at, { kernel = kernel, agent = agent, modules_dir = modules_dir }, beside) end
  if completed then return self, completed end
  self:close()
  return nil, err, code
end

--- QEMU's arguments. Its files come as descriptors. Does not wait.
---@param suffix string of the names of virtio's devices
---@param add fun(fd: integer): integer gives QEMU a descriptor: its number there
---@return string[]
function methods:arguments(suffix, add)
  local args, sets = {}, {}
  for i, each in ipairs(self._files) do
    sets[each.name] = ("/dev/fdset/%d"):format(i)
    for _, file in ipairs { each.file, each.reader } do
      args[#args + 1] = "-add-fd"
      args[#args + 1] = ("fd=%d,set=%d"):format(add(file:fileno()), i)
    end
  end
  table.move(self._args or {}, 1, #(self._args or {}), #args + 1, args)
  for _, each in ipairs(self._drives) do
    args[#args + 1] = "-drive"
    args[#args + 1] = ("if=none,id=%s,%s"):format(each.id, (each.text:gsub("{(%w+)}", sets)))
    args[#args + 1] = "-device"
    args[#args + 1] = ("virtio-blk%s,drive=%s,serial=%s"):format(suffix, each.id, each.serial)
  end
  return args
end

--- Completes a command by the image's settings: environment, folder and user, and its own program where the command names none. Does
--- not wait.
---@param command string|table as for `run`
---@return string|table
function methods:complete(command) return image_defaults.complete(self.config, command) end

--- Leads a guest that firmware starts to its agent. Does not wait.
---@param parts table as for vmctl.machine.firmware.lead
---@return vmctl.Task|nil whose owner must cancel it
function methods:lead(parts) return self._firmware and firmware.lead(parts, self._firmware.ways) or nil end

--- Tells how the agent was started. Waits where firmware has started the guest.
---@param client vmctl.ExecClient
---@return string|nil way "stage1", "initrd", or one of firmware.WAYS
---@return string?, string?
function methods:way(client)
  if self._firmware then return firmware.answered(client) end
  return self._own and "initrd" or "stage1"
end

--- Closes our copies of QEMU's descriptors, when QEMU has its own or will never start. Idempotent, does not wait.
function methods:close()
  for _, each in ipairs(self._files) do
    each.file:close()
    if each.reader then each.reader:close() end
  end
  self._files = {}
end

return M
