--- The root of a guest on another machine: its files are made here, and sent. An image becomes a file system here, so that the other
--- machine needs no program for that, and stage 1 is made here, of this machine's agent and kernel.
local beside = require "vmctl.machine.beside"
local errors = require "vmctl.errors"
local firmware = require "vmctl.machine.firmware"
local image_defaults = require "vmctl.machine.image_defaults"
local source = require "vmctl.machine.root_source"
local stage1 = require "vmctl.machine.stage1"

local M = {}

local LEVEL = 6 -- of the script that launches, seen from the check of its options

---@class vmctl.FarRoot
---@field files table<string, string> paths by the names of options
---@field told table its options for the other machine
local methods = {}
local mt = { __name = "vmctl.FarRoot", __index = methods }

local function check(opts)
  local writes = opts.writes or "discard"
  if writes ~= "discard" then
    return errors.fail("ENOTSUP", 'root: writes = "%s" would leave them on the other machine: only "discard" goes there', writes)
  elseif opts.boot == "kernel" then
    return errors.fail("ENOTSUP", 'root: boot = "kernel" looks at the disk first, and so is for guests of this machine')
  elseif opts.initrd then
    return errors.fail("EINVAL", "launch: an initrd and a root: stage 1 is the root's initrd")
  end
  return true
end

-- The options of the root that are of use there.
local PASSED = { "size", "read_only", "format", "partition", "firmware", "ways" }

local function describe(at, spec)
  local told = { kind = at.kind, has_init = at.has_init, config = at.config and { cwd = at.config.cwd } }
  for _, name in ipairs(PASSED) do told[name] = spec[name] end
  told.partition = at.partition
  return told
end

local function add_stage1(self, opts, at, parts, cache)
  local extras, err, code = beside.plan { network = opts.network }
  if not extras then return nil, err, code end
  local path
  path, err, code = stage1.make {
    agent = parts.agent, modules_dir = parts.modules_dir, set = at.kind == "erofs" and "image" or "disk", more = extras.modules,
    cache = cache,
  }
  if not path then return nil, err, code end
  self.files.stage1 = path
  return true
end

--- Plans it. Waits while an image or stage 1 is made.
---@param opts vmctl.MachineOptions
---@return vmctl.FarRoot|nil, string?, string? code ENOTSUP: an option that does not go to another machine; as vmctl.machine.launch
function M.plan(opts)
  local ok, err, code = check(opts)
  if not ok then return nil, err, code end
  local at, spec, why = source.parse(opts.root, LEVEL)
  if not at then return nil, spec, why end
  local kernel, agent, modules_dir = source.parts(opts)
  if not kernel then return nil, agent, modules_dir end
  local cache = opts.cache_dir or stage1.cache()
  at, err, code = source.image(spec, at, opts.arch, cache)
  if not at then return nil, err, code end
  local self = setmetatable({
    files = { kernel = kernel, agent = agent, root = at.path }, told = describe(at, spec), _config = at.config or {},
    _firmware = opts.boot == "firmware",
  }, mt)
  if self._firmware then return self end
  ok, err, code = add_stage1(self, opts, at, { agent = agent, modules_dir = modules_dir }, cache)
  if not ok then return nil, err, code end
  return self
end

--- As vmctl.MachineRoot has it. Does not wait.
function methods:complete(command) return image_defaults.complete(self._config, command) end

--- As vmctl.MachineRoot has it. Waits where firmware has started the guest.
function methods:way(client)
  if self._firmware then return firmware.answered(client) end
  return "stage1"
end

return M
