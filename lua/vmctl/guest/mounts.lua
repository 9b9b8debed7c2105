--- mount: mounts folders that the host shares by virtiofs or 9p, under the rules of docs/wire/stereos.md#guest-actions. Requests are
--- idempotent; shares are unmounted before the guest ends.
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local log = require "vmctl.log"
local safe_file = require "vmctl.base.safe_file"
local process = require "vmctl.process"
local task = require "vmctl.base.task"
local users = require "vmctl.process.users"

local M = {}

local DATA = { virtiofs = false, ["9p"] = "trans=virtio,version=9p2000.L" }
local MODULES = { virtiofs = { "virtiofs" }, ["9p"] = { "9p", "9pnet_virtio" } }
local FORBIDDEN = { "/nix", "/etc", "/bin", "/boot", "/dev", "/proc", "/sys", "/run" }
local USER = "agent" -- the owner of shares in StereOS
local TAG_LENGTH, PATH_LENGTH = 255, 4095
local LOAD_TIMEOUT = 10
local UNMOUNT_TIMEOUT = 5 -- seconds: a share whose server is gone must not keep the guest from ending

---@class vmctl.GuestMounts
local methods = {}
local mt = { __name = "vmctl.GuestMounts", __index = methods }

local function unescape(text)
  return (text:gsub("\\(%d%d%d)", function(digits) return string.char(tonumber(digits, 8)) end))
end

--- The mounts, from the text of /proc/self/mountinfo, in the order of mounting.
---@param text string
---@return { path: string, type: string, source: string, read_only: boolean }[]
function M.parse(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do
    local path, options = line:match "^%S+ %S+ %S+ %S+ (%S+) (%S+)"
    local dash = line:find(" - ", 1, true)
    local kind, source = line:match("^(%S+) (%S*)", dash and dash + 3 or #line + 1)
    path = kind and path
    if path then
      list[#list + 1] = { path = unescape(path), type = kind, source = unescape(source),
        read_only = ("," .. options .. ","):find(",ro,", 1, true) ~= nil }
    end
  end
  return list
end

--- Checks a path by the rules: absolute, without "..", neither "/" nor at or below a folder of the system.
---@param path string
---@return string|nil path without doubled slashes and ".", string?, string? code EINVAL, EACCES
function M.check_path(path)
  if safe_file.unfit(path) or #path > PATH_LENGTH then return errors.fail("EINVAL", "the path is not usable") end
  if path:sub(1, 1) ~= "/" then return errors.fail("EINVAL", "the path is not absolute") end
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then return errors.fail("EINVAL", "the path has a '..'") end
    if part ~= "." then parts[#parts + 1] = part end
  end
  local plain = "/" .. table.concat(parts, "/")
  if plain == "/" then return errors.fail("EACCES", "nothing may be mounted at /") end
  for _, folder in ipairs(FORBIDDEN) do
    if (plain .. "/"):sub(1, #folder + 1) == folder .. "/" then
      return errors.fail("EACCES", "nothing may be mounted at or below %s", folder)
    end
  end
  return plain
end

-- Resolves the links of a path. The resolved path must follow the same rules.
local function find_target(root, asked)
  local path, err, code = M.check_path(asked)
  if not path then return nil, err, code end
  local top, target = "", nil
  if root ~= "" then top, err, code = fs.real(root) end
  if top then target, err, code = safe_file.resolve(top .. path) end
  if not target then return nil, err, code end
  if target:sub(1, #top) ~= top then return errors.fail("EACCES", "%s leads out of the root folder", asked) end
  path, err, code = M.check_path(target:sub(#top + 1))
  if not path then return nil, err, code end
  return top .. path
end

local function check(payload)
  if DATA[payload.fs_type] == nil then
    return errors.fail("EINVAL", "fs_type is 'virtiofs' or '9p'")
  elseif safe_file.unfit(payload.tag) or #payload.tag > TAG_LENGTH then
    return errors.fail("EINVAL", "the tag is not usable")
  end
  return true
end

-- The topmost mount at a path.
local function find_mount(system, path)
  local found
  for _, mount in ipairs(M.parse(system.mountinfo())) do
    if mount.path == path then found = mount end
  end
  return found
end

local function is_there(mount, payload)
  return mount.type == payload.fs_type and mount.source == payload.tag and mount.read_only == payload.read_only
end

local function make_folder(target)
  if fs.stat(target) then return true end
  return safe_file.folder(target)
end

-- Gives a mounted folder to StereOS' user, if there is one. As in the reference, a failure is ignored.
local function give(root, target)
  local user = users.resolve(USER, root)
  if user then fs.chown(target, user.uid, user.gid) end
end

local EXPLANATIONS = {
  ENODEV = "this kernel has no %s",
  ENOENT = "the host shares nothing with this tag by %s (or not to this device)",
  EINVAL = "%s refuses it: the host shares nothing with this tag",
}

local function attach(self, payload, target)
  local kind, flags = payload.fs_type, payload.read_only and "ro,nosuid,nodev" or "nosuid,nodev"
  local function try() return self._system.mount(payload.tag, target, kind, flags, DATA[kind] or nil) end
  local ok, err, code = try()
  if code == "ENODEV" and self._system.load(kind) then ok, err, code = try() end
  if ok then return true end
  if EXPLANATIONS[code] then err = ("%s: %s"):format(err, EXPLANATIONS[code]:format(kind)) end
  return nil, err, code
end

local function remember(self, target)
  for _, path in ipairs(self._paths) do
    if path == target then return end
  end
  table.insert(self._paths, target)
end

local function mount(self, payload)
  local ok, err, code = check(payload)
  if not ok then return nil, err, code end
  local target
  target, err, code = find_target(self._root, payload.guest_path)
  if not target then return nil, err, code end
  local there = find_mount(self._system, target)
  if there and is_there(there, payload) then
    remember(self, target)
    return true, false
  elseif there and DATA[there.type] ~= nil then
    return errors.fail("EBUSY", "%s has another share: %s '%s'%s", payload.guest_path, there.type, log.one_line(there.source),
      there.read_only and ", read-only" or "")
  end
  ok, err, code = make_folder(target)
  if ok then ok, err, code = attach(self, payload, target) end
  if not ok then return nil, err, code end
  remember(self, target)
  give(self._root, target)
  return true, true
end

--- The handler of mount. Waits while the kernel's module is loaded.
---@param payload { tag: string, guest_path: string, fs_type: string, read_only: boolean }
---@return true|nil, table|string, string? code EINVAL, EACCES: the rules; EBUSY: another share is there; ENODEV
function methods:mount(payload)
  local ok, changed, code = mount(self, payload)
  if not ok then return nil, changed, code end
  return true, { changed = changed }
end

--- Unmounts all, the last one first; a mount in use is detached. Waits only for the kernel.
function methods:unmount_all()
  for i = #self._paths, 1, -1 do
    local path = self._paths[i]
    local ok, err = task.timeout(UNMOUNT_TIMEOUT, self._system.unmount, path)
    if not ok then ok, err = task.timeout(UNMOUNT_TIMEOUT, self._system.unmount, path, true) end
    if not ok then log.error("%s", err) end
    self._paths[i] = nil
  end
end

-- Loads the file system's module: the kernel does not do it by itself here.
local function load(kind)
  for _, name in ipairs(MODULES[kind]) do
    local child <close> = process.spawn { "modprobe", "-q", "--", name, stdin = "null", stdout = "null", stderr = "null" }
    local record = child and child:wait(LOAD_TIMEOUT)
    if not record or record.exit_code ~= 0 then return false end
  end
  return true
end

local function mountinfo()
  local file = io.open "/proc/self/mountinfo"
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

--- Mounts of a guest.
---@param opts { root: string, system: table? } system: mount, unmount, mountinfo, load in place of the kernel's
---@return vmctl.GuestMounts
function M.new(opts)
  local system = opts.system or { mount = fs.mount, unmount = fs.unmount, mountinfo = mountinfo, load = load }
  return setmetatable({ _root = opts.root, _system = system, _paths = {} }, mt)
end

return M
