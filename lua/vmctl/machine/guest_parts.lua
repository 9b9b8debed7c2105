--- The kernel and the image of guests that name none: the environment's, or those that `make guest` leaves in a checkout.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

--- The first of some paths that is there. Does not wait.
---@param ... string|nil
---@return string|nil
function M.first_file(...)
  for i = 1, select("#", ...) do
    local path = select(i, ...)
    if path and core.fs.stat(path) then return path end
  end
end

--- The folder of `make`, seen from this module in a checkout.
---@return string path with a slash at its end
function M.built()
  return (debug.getinfo(1, "S").source:match "^@(.*)lua/vmctl/machine/guest_parts.lua$" or "./") .. "build/"
end

--- The kernel of guests that name none.
---@return string|nil
function M.kernel() return os.getenv "VMCTL_KERNEL" or M.first_file(M.built() .. "kernel/vmlinuz") end

--- Completes the options of a guest without a root: one that names no kernel gets kernel and image. Does not wait.
---@param opts table of machine.launch
---@return table|nil opts, string?, string? code ENOENT
function M.complete(opts)
  if opts.kernel ~= nil then return opts end
  local kernel = M.kernel()
  local initrd = opts.initrd or os.getenv "VMCTL_INITRD" or M.first_file(M.built() .. "guest.img")
  if not kernel or not initrd then
    return errors.fail("ENOENT", "launch: no %s: name kernel and initrd, set VMCTL_KERNEL and VMCTL_INITRD, or run `make guest` in a "
      .. "checkout", kernel and "guest image" or "kernel")
  end
  return options.merge(opts, { kernel = kernel, initrd = initrd })
end

return M
