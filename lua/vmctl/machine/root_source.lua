--- The source of a root, and the files that it needs to start: the kernel, the agent's program, an image that becomes a file system.
local errors = require "vmctl.errors"
local guest_parts = require "vmctl.machine.guest_parts"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local rootfs = require "vmctl.rootfs"

local M = {}

local IMAGES = { oci = true, ["oci-archive"] = true, ["docker-archive"] = true, docker = true, image = true, dir = true,
  tar = true }
local IMAGE_ARCHITECTURES = { x86_64 = "amd64", aarch64 = "arm64" } -- as images name them

local KNOWN = {
  [1] = "string", size = "string|integer", read_only = "boolean", keep = "string", format = { "raw", "qcow2" },
  partition = "string|integer", firmware = { "bios", "efi" }, ways = "table",
  digest = "string", config = "table", stage1 = "string", has_init = "boolean|string",
}

local function folder_of(path) return path:match "^(.*)/[^/]*$" or "." end

--- The kernel, the agent's program and the folder of the kernel's modules, that the options name or this machine has. Does not wait.
---@param opts table kernel, agent, modules_dir
---@return string|nil kernel, string agent, string? modules_dir; or nil, message, code
function M.parts(opts)
  local kernel = opts.kernel or guest_parts.kernel()
  if not kernel then return errors.fail("ENOENT", "root: no kernel: name one, set VMCTL_KERNEL, or run `make guest` in a checkout") end
  local agent = opts.agent or os.getenv "VMCTL_AGENT" or
    guest_parts.first_file(guest_parts.built() .. "vmctl-agent", folder_of(kernel) .. "/vmctl-agent")
  if not agent then return errors.fail("ENOENT", "root: no agent's program: name one (agent), or set VMCTL_AGENT") end
  return kernel, agent, opts.modules_dir or os.getenv "VMCTL_MODULES" or guest_parts.first_file(folder_of(kernel) .. "/modules")
end

--- Reads the option. A wrong one raises at the line of the launch. Does not wait.
---@param given string|vmctl.MachineRootOptions
---@param level? integer as for `error` (5)
---@return table|nil at { kind: "disk"|"erofs"|"empty"|…, path, partition, size }
---@return vmctl.MachineRootOptions|string options, or a message
---@return string? code EINVAL
function M.parse(given, level)
  local spec = type(given) == "table" and given or { given }
  if type(given) == "table" then options.check(given, KNOWN, "machine.launch: root", level or 5) end
  if not spec[1] then
    if not spec.size then return errors.fail("EINVAL", "root: neither a source nor a size is given") end
    return { kind = "empty", size = spec.size }, spec
  end
  local path, partition = spec[1]:match "^disk:(.+)#([^#/]+)$"
  path = path or spec[1]:match "^disk:(.+)$"
  if path then return { kind = "disk", path = path, partition = partition or spec.partition }, spec end
  path = spec[1]:match "^erofs:(.+)$"
  if path then return { kind = "erofs", path = path, digest = spec.digest, config = spec.config, has_init = spec.has_init }, spec end
  local what, err, code = rootfs.parse(spec[1])
  if not what then return nil, err, code end
  return what, spec
end

--- Makes a file system of an image, unless it is one already. Waits.
---@param spec vmctl.MachineRootOptions
---@param at table as `parse` gives it
---@param arch? string
---@param folder string where it is kept
---@return table|nil at with kind "erofs", digest, config and has_init if it is of an image; string?, string?
function M.image(spec, at, arch, folder)
  if not IMAGES[at.kind] then return at end
  local image, err, code = rootfs.image(spec[1], { cache = folder, arch = IMAGE_ARCHITECTURES[arch],
    on_progress = function(state) log.progress(("making an image of the root: %d MiB"):format(state.bytes >> 20)) end })
  log.progress(nil)
  if not image then return nil, err, code end
  local ok
  ok, err, code = rootfs.check_root(spec[1], image)
  if not ok then return nil, err, code end
  -- An OCI image's init is a leftover of the system that the image was made of; a named image has an init only if it is to be used.
  local has_init = (at.kind == "dir" or at.kind == "tar" or at.kind == "image") and image.has_init
  return { kind = "erofs", path = image.path, digest = image.digest, config = image.config, has_init = has_init }
end

return M
