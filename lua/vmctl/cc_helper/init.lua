--- A cc-helper: the handlers of its 63 requests, for vmctl.cc.server, and their objects.
---
--- With `root` its instance is a folder of this machine; without, each InstanceNew boots a guest with vmctl-agent inside, which answers
--- requests for files, commands and the network.
local backend = require "vmctl.cc.backend"
local folder = require "vmctl.cc_helper.folder"
local handles = require "vmctl.cc.backend.handles"
local instances = require "vmctl.cc_helper.instances"
local router = require "vmctl.cc.router"
local options = require "vmctl.base.options"
local snapshots = require "vmctl.cc_helper.snapshots"

local M = {}

---@class vmctl.CcHelper
local methods = {}
local mt = { __name = "vmctl.CcHelper", __index = methods }

local known = {
  root = "string", kernel = "string", modules_dir = "string", agent = "string", cache_dir = "string", most_handles = "integer>=1",
  boot_timeout = "number>0", launch = "table", on_output = "callable",
}

local function with_folder(self, opts)
  local b, err, code = backend.new(self._handles, { root = opts.root })
  if not b then return nil, err, code end
  b:open(false)
  b:install(self._router)
  self._backend = b
  self._instances = instances.new(function() return folder.new(b, self._snapshots, opts.on_output) end)
  return true
end

local function with_guests(self, opts)
  local guests = require("vmctl.cc_helper.vm.guests").new(self._snapshots, opts)
  self._instances = instances.new(function(source) return guests:boot(source) end)
  self._handler = require("vmctl.cc_helper.vm.relay").handler(self._handles, function()
    local instance, err, code = self._instances:get()
    if not instance then return nil, err, code end
    return instance.pool
  end, self._router)
  return true
end

--- Makes a helper. Does not wait.
---@param opts? { root: string?, kernel: string?, modules_dir: string?, agent: string?, cache_dir: string?, most_handles: integer?,
--- boot_timeout: number?, launch: table?, on_output: fun(bytes: string)? }
-- root: the folder that is the instance; else the parts of guests: the kernel (without it
--- $VMCTL_KERNEL, then build/kernel/vmlinuz), the folder of its modules, the static agent; launch: further options of
-- vmctl.machine.launch. cache_dir: where snapshots are kept when a request names no place; most_handles: of a kind (1024);
-- boot_timeout: seconds (120); on_output: gets the output of InstanceExec's program, as it comes
---@return vmctl.CcHelper|nil, string?, string?
function M.new(opts)
  opts = options.check(opts, known, "cc_helper.new")
  local self = setmetatable({ _router = router.new(), _handles = handles.new(opts.most_handles) }, mt)
  self._snapshots = snapshots.new(self._handles, opts.cache_dir)
  local ok, err, code = (opts.root and with_folder or with_guests)(self, opts)
  if not ok then return nil, err, code end
  -- Handles end with the instance.
  self._instances:on_close(function() self._handles:clear() end)
  self._instances:install(self._router)
  self._snapshots:install(self._router, self._instances)
  return self
end

--- The handler for vmctl.cc.server.
---@return function|vmctl.CcRouter
function methods:handler()
  return self._handler or self._router
end

--- Ends the instance and closes all handles, as after the last client. The helper can be used again. Waits for the end of a guest.
function methods:reset()
  self._instances:close()
  self._handles:clear()
end

--- Ends it.
function methods:close()
  self:reset()
  if self._backend then self._backend:close() end
  self._backend = nil
  return true
end

mt.__close = methods.close

return M
