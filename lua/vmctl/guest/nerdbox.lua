--- The other services of nerdbox's guest (docs/wire/socketforward.md#other-guest-services), as far as they make sense
--- without its containers: Info, bundles, mounts of the host's shares. Other requests are answered with UNIMPLEMENTED.
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local mounts = require "vmctl.guest.mounts"
local safe_file = require "vmctl.base.safe_file"

local M = {}

local BUNDLES = "/run/bundles"
local NAME_LENGTH = 255

local function info(version)
  return function()
    local file = io.open "/proc/version"
    local kernel = file and file:read "l" or "unknown"
    if file then file:close() end
    return { version = version, kernel_version = kernel }
  end
end

-- Checks that a name is a single part of a path.
local function check_name(name, what)
  if safe_file.unfit(name) or #name > NAME_LENGTH or name:find "/" or name:find "^%.%.?$" then
    return errors.fail("EINVAL", "%s: not usable as a name", what)
  end
  return true
end

local function check_bundle(request)
  local ok, err, code = check_name(request.id, "the bundle's id")
  for name in pairs(request.files) do
    if ok then ok, err, code = check_name(name, "a file's name") end
    if ok and name == "rootfs" then ok, err, code = errors.fail("EINVAL", "rootfs is a folder") end
  end
  return ok, err, code
end

-- Checks all names before anything is made.
local function create_bundle(root)
  return function(request)
    local ok, err, code = check_bundle(request)
    if not ok then return nil, err, code end
    local folder
    folder, err, code = safe_file.folder(root .. BUNDLES)
    if not folder then return nil, err, code end
    local path = folder .. "/" .. request.id
    ok, err, code = fs.mkdir(path)
    if ok then ok, err, code = fs.mkdir(path .. "/rootfs") end
    for name, bytes in pairs(request.files) do
      if ok then ok, err, code = fs.replace_in("/", path, name, bytes) end
    end
    if not ok then return nil, err, code end
    return { bundle = path:sub(#root + 1) }
  end
end

local function payload_of(spec)
  local read_only = false
  for _, option in ipairs(spec.options) do read_only = read_only or option == "ro" end
  return { tag = spec.source, guest_path = spec.target, fs_type = spec.type, read_only = read_only }
end

local function mount_all(guest_mounts)
  return function(request)
    for _, spec in ipairs(request.mounts) do
      local ok, err, code = guest_mounts:mount(payload_of(spec))
      if not ok then return nil, ("mount %s: %s"):format(spec.target, err), code == "EBUSY" and "EEXIST" or code end
    end
    return true
  end
end

--- The handlers, by the names of the services, for ttrpc.server.
---@param opts { root: string?, version: string, system: table? } root: a folder that stands for "/"; system: see
-- vmctl.guest.mounts
---@return table<string, table<string, function>> services, vmctl.GuestMounts mounts to be taken off at the end
function M.services(opts)
  local root = (opts.root or ""):gsub("/+$", "")
  local guest_mounts = mounts.new { root = root, system = opts.system }
  return {
    ["containerd.vminitd.services.system.v1.System"] = { Info = info(opts.version) },
    ["containerd.vminitd.services.bundle.v1.Bundle"] = { Create = create_bundle(root) },
    ["containerd.vminitd.services.mount.v1.Mount"] = {
      MountAll = mount_all(guest_mounts),
      UnmountAll = function()
        guest_mounts:unmount_all()
        return true
      end,
    },
  }, guest_mounts
end

return M
