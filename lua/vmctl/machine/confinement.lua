--- Confines QEMU, in case a guest takes it over: a user of its own where vmctl is root, a filter of system calls, no capabilities, no
--- new privileges, no core dumps (which would contain the guest's memory), few open files, and by Landlock no files but its own.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local named_paths = require "vmctl.machine.named_paths"
local nics = require "vmctl.machine.nics"
local own_user = require "vmctl.machine.own_user"

local M = {}

local SANDBOX = "on,obsolete=deny,elevateprivileges=deny,resourcecontrol=deny,spawn="
local FILTERED = "2"    -- of /proc/PID/status: Seccomp
local OPEN_FILES = 4096
local CONNECT = 5       -- seconds for a local socket
local PIECE = 1 << 20   -- bytes

local KVM = require("vmctl.machine.host_devices").KVM
local OTHERS_READ = 4   -- of a mode

-- The files that any QEMU reads: itself, its libraries and firmware, facts about this machine. And those that it writes.
local SYSTEM = {
  "/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/opt", "/nix/store", "/gnu/store", "/proc", "/sys",
  "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/qemu", "/etc/localtime", "/etc/resolv.conf",
  "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/services", "/etc/ssl", "/etc/gnutls",
  "/etc/crypto-policies",
}
local BESIDE = { "pc-bios", "qemu-bundle", "../share/qemu", "../share/seabios", "../lib" } -- of a program elsewhere: its firmware
local DEVICES = { "kvm", "null", "zero", "full", "random", "urandom", "ptmx", "pts", "net/tun", "vhost-net", "vhost-vsock", "dri",
  "hugepages" }
local TEMPORARY = { "/var/tmp", "/tmp" } -- of `-snapshot`

local function below(path, folders)
  for _, folder in ipairs(folders) do
    if path == folder or path:sub(1, #folder + 1) == folder .. "/" then return true end
  end
  return false
end

local function real(path) return core.fs.real(path) or path end

local function find_program(name)
  if name:find("/", 1, true) then return real(name) end
  for folder in ((os.getenv "PATH" or "/usr/bin:/bin") .. ":"):gmatch "([^:]*):" do
    local path = folder .. "/" .. name
    if own_user.can(path, "run") then return real(path) end
  end
  return name
end

---@class vmctl.Confinement
---@field user_reason string why QEMU has a user of its own, or none
---@field landlock integer|false the version of Landlock that keeps it, false: none does
local methods = {}
local mt = { __index = methods }

local function keep(self, closeable)
  self._owned[#self._owned + 1] = closeable
  return closeable
end

-- Says why QEMU must remain our user, nil when it need not.
local function needs_us(spec, program, named)
  if not own_user.can(program, "run") then return program .. " is for its owner alone" end
  if spec.accel == "kvm" and own_user.group_for(KVM) == false then return KVM .. " is for its owner alone" end
  for _, each in ipairs(named) do
    if not below(each.path, SYSTEM) and not own_user.can(each.path, each.write and "write" or "read") then
      return ("%s, which its arguments name, is for its owner alone"):format(each.path)
    end
  end
end

-- A file that only we can read is copied into memory.
local function readable_by_others(self, file)
  local found, err, code = file:stat()
  if not found then return nil, err, code end
  if found.mode & OTHERS_READ ~= 0 then return file end
  local copy
  copy, err, code = core.fs.unnamed()
  if not copy then return nil, err, code end
  keep(self, copy)
  local data, ok
  repeat
    data, err, code = file:read(PIECE)
    ok = data
    if data then ok, err, code = copy:write(data) end
    if not ok then return nil, err, code end
  until data == ""
  return copy
end

-- QEMU opens the file by its descriptor, whatever folder it is in.
local function hand_over(self, path, add)
  local file, err, code = core.fs.open(path)
  if not file then return nil, err, code end
  keep(self, file)
  file, err, code = readable_by_others(self, file)
  if not file then return nil, err, code end
  local fd = file:fileno()
  self._given[#self._given + 1] = fd
  return ("/proc/self/fd/%d"):format(add(fd))
end

local function connect(self, add)
  return function(path)
    local stream = dial.dial({ kind = "unix", path = path }, CONNECT)
    return stream and add(keep(self, stream):fileno())
  end
end

-- Makes the spec one for a QEMU of another user.
local function change_user(self, spec, id, add)
  for _, name in ipairs { "kernel", "initrd" } do
    if spec[name] then
      local path, err, code = hand_over(self, spec[name], add)
      if not path then return nil, ("launch: the %s: %s"):format(name, err), code end
      spec[name] = path
    end
  end
  spec.cards = nics.hand_over(spec.cards, connect(self, add))
  local group = spec.accel == "kvm" and own_user.group_for(KVM) or nil
  self._user, self._groups, self.user_reason = ("%d:%d"):format(id, id), { group or id }, "vmctl is root"
  return true
end

-- A path that does not exist needs no rule; files without a folder (sockets, memory) can have none, and access to them stays.
local function allow(rules, path, write)
  core.landlock_allow(rules:fileno(), path, write)
end

local function make_rules(self, spec, program, named, fds)
  local rules, err = core.landlock()
  if not rules then return false, err end
  keep(self, rules)
  for _, path in ipairs(SYSTEM) do allow(rules, path) end
  for _, name in ipairs(DEVICES) do allow(rules, "/dev/" .. name, true) end
  allow(rules, program)
  for _, name in ipairs(BESIDE) do allow(rules, (program:match "^.*/" or "./") .. name) end
  for _, each in ipairs(named) do allow(rules, each.path, each.write and not below(each.path, SYSTEM)) end
  for _, name in ipairs { "kernel", "initrd" } do
    if spec[name] then allow(rules, spec[name]) end
  end
  for _, fd in ipairs(self._given) do allow(rules, ("/proc/self/fd/%d"):format(fd)) end
  for _, fd in ipairs(fds) do allow(rules, ("/proc/self/fd/%d"):format(fd), true) end
  local arguments = table.concat(spec.args, " ")
  if arguments:find("-snapshot", 1, true) or arguments:find("snapshot=on", 1, true) then
    for _, path in ipairs(TEMPORARY) do allow(rules, path, true) end
    if os.getenv "TMPDIR" then allow(rules, os.getenv "TMPDIR", true) end
  end
  return rules
end

--- Decides how QEMU is confined, and changes `spec` where it gets descriptors in place of paths. Waits a moment at most.
---@param spec table of vmctl.machine.qemu
---@param opts table of the launch: sandbox, fds, paths
---@param add fun(fd: integer): integer gives QEMU a descriptor: its number there
---@return vmctl.Confinement|nil, string?, string?
function M.plan(spec, opts, add)
  local self = setmetatable({ landlock = false, _owned = {}, _given = {}, _sandbox = opts.sandbox }, mt)
  if opts.sandbox == false then
    self.user_reason = "the sandbox is off"
    return self
  end
  local program, arguments = find_program(spec.qemu), {}
  for _, list in ipairs { spec.args, nics.own_paths(spec.cards), opts.paths or {} } do
    table.move(list, 1, #list, #arguments + 1, arguments)
  end
  local named, err, code = named_paths.of(arguments)
  if not named then return nil, err, code end
  local id, reason = own_user.id()
  reason = reason or needs_us(spec, program, named)
  if reason then
    self.user_reason = reason
  else
    local ok
    ok, err, code = change_user(self, spec, id, add)
    if not ok then
      self:close()
      return nil, err, code
    end
  end
  self._rules = make_rules(self, spec, program, named, opts.fds or {})
  self.landlock = self._rules and core.landlock_abi() or false
  return self
end

--- Adds the confinement to QEMU's command line and to the options of its process. Does not wait.
---@param argv table as for vmctl.process.spawn
function methods:apply(argv)
  if self._sandbox == false then return end
  argv[#argv + 1] = "-sandbox"
  argv[#argv + 1] = SANDBOX .. (self._sandbox == "programs" and "allow" or "deny")
  argv.confine, argv.open_files, argv.user, argv.groups = true, OPEN_FILES, self._user, self._groups
  argv.landlock = self._rules and self._rules:fileno() or nil
end

--- Closes our copies of QEMU's descriptors, when QEMU has its own or will never start. Idempotent, does not wait.
function methods:close()
  for _, each in ipairs(self._owned) do each:close() end
  self._owned = {}
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

--- The restrictions of a process, read from the kernel. Does not wait.
---@param pid integer
---@return { sandbox: boolean, no_new_privileges: boolean, capabilities: boolean, core_dumps: boolean, uid: integer, gid: integer,
--- open_files: integer? }|nil sandbox: a filter of system calls; capabilities: it has some, or could get them; uid, gid: the user and
-- group that it runs as; open_files: at most
function M.of(pid)
  local status, limits = read(("/proc/%d/status"):format(pid)), read(("/proc/%d/limits"):format(pid))
  local uid = math.tointeger(tonumber(status:match "\nUid:%s+%d+%s+(%d+)"))
  if not uid then return nil end
  local effective, permitted = status:match "\nCapEff:%s*(%x+)", status:match "\nCapPrm:%s*(%x+)"
  local none = "^0+$"
  return {
    sandbox = status:match "\nSeccomp:%s*(%d)" == FILTERED, no_new_privileges = status:match "\nNoNewPrivs:%s*(%d)" == "1",
    capabilities = not (effective and effective:find(none) and permitted:find(none)), uid = uid,
    gid = math.tointeger(tonumber(status:match "\nGid:%s+%d+%s+(%d+)")),
    core_dumps = limits:match "Max core file size%s+(%S+)" ~= "0",
    open_files = math.tointeger(tonumber(limits:match "Max open files%s+%S+%s+(%S+)")),
  }
end

return M
