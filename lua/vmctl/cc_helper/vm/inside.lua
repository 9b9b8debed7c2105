--- Prepares a guest to be an instance: puts into it the image's settings, folders, and copies of folders of this machine.
local cc = require "vmctl.cc"
local dial = require "vmctl.net.dial"
local files = require "vmctl.files"
local inside = require "vmctl.cc.backend.inside"
local json = require "vmctl.json"
local core = require "vmctl.core"
local users = require "vmctl.process.users"

local M = {}

local PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
local TIMEOUT = 120     -- seconds for one step
local PRIVATE = 384     -- mode 0600

local function has_path(environment)
  for _, entry in ipairs(environment) do
    if entry:find "^PATH=" then return true end
  end
  return false
end

-- The file that tells the agent about the image.
local function describe(about)
  local environment = { table.unpack(about.environment or {}) }
  if not has_path(environment) then table.insert(environment, 1, PATH) end
  return { entrypoint = about.entrypoint, command = about.command, environment = environment, user = about.user, work_dir = about.work_dir }
end

-- Looks the user up in the guest's own files, without programs of the guest: it may have none.
local function check_user(vm, user, folder)
  if not user then return true end
  assert(core.fs.mkdir(folder .. "/etc", 448))
  for _, name in ipairs { "/etc/passwd", "/etc/group" } do
    local bytes = vm:read_file(name)
    local ok, err, code = core.fs.replace(folder .. name, bytes or "", PRIVATE)
    if not ok then return nil, err, code end
  end
  local found, err, code = users.resolve(user, folder)
  if not found then return nil, ("the image's commands are to run as '%s': %s"):format(user, err), code end
  return true
end

--- The mounts that write to this machine, as shares of the guest; the others are copies. Does not wait.
---@param mounts { tag: string, host_path: string, writable: boolean }[]
---@return { host: string, guest: string }[]
function M.shares(mounts)
  local shares = {}
  for _, mount in ipairs(mounts) do
    if mount.writable and mount.host_path ~= "" then shares[#shares + 1] = { host = mount.host_path, guest = "/mnt/" .. mount.tag } end
  end
  return shares
end

--- Checks the tags of the mounts. Does not wait.
---@return true|nil, string?, string?
function M.check_mounts(mounts)
  for _, mount in ipairs(mounts) do
    if not mount.tag:find "^[%w._-]+$" or mount.tag:find "^%.+$" then
      return nil, "a mount's tag has letters, digits, '.', '_' and '-'", "EINVAL"
    end
  end
  return true
end

-- Makes /mnt/TAG: an empty folder, or a copy of a folder as it is now.
local function add_mount(instance, mount)
  local at = "/mnt/" .. mount.tag
  local ok, err, code = instance.fs:mkdir_all(at, 493, TIMEOUT)
  if not ok or mount.host_path == "" or mount.writable then return ok, err, code end
  ok, err, code = files.push(instance, mount.host_path, at, { exact = true, verify = false })
  if not ok then return nil, ("mount %s: %s"):format(mount.tag, err), code end
  return true
end

local function add_folders(where, about, mounts)
  local stream, err, code = dial.dial(where, { timeout = TIMEOUT })
  if not stream then return nil, err, code end
  local client <close> = cc.client(stream)
  local instance = client:current_instance()
  if about.work_dir then
    local ok, why, how = instance.fs:mkdir_all(about.work_dir, 493, TIMEOUT)
    if not ok then return nil, ("the image's folder for commands: %s"):format(why), how end
  end
  for _, mount in ipairs(mounts) do
    local ok, why, how = add_mount(instance, mount)
    if not ok then return nil, why, how end
  end
  return true
end

--- Prepares a guest that is ready, before any request of a client is passed to its agent. Waits.
---@param vm vmctl.Machine
---@param where vmctl.Address of the agent's port for helpers
---@param about table of the image: entrypoint, command, environment, user, work_dir
---@param mounts { tag: string, host_path: string }[]
---@param folder string temporary, of this guest
---@return true|nil, string?, string? code EINVAL: the image's user is unknown
function M.prepare(vm, where, about, mounts, folder)
  local ok, err, code = check_user(vm, about.user, folder)
  if ok then ok, err, code = vm:write_file(inside.IMAGE_FILE, assert(json.encode(describe(about))), { mode = PRIVATE }) end
  if ok then ok, err, code = add_folders(where, about, mounts) end
  return ok, err, code
end

return M
