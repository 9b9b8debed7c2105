--- Folders of this machine in a guest, by virtiofs: a virtiofsd for each, in a user namespace of its own, so that no guest can make
--- setuid programs or devices of another user than the folder's. QEMU serves them by 9p where that is the only way (choose_server).
local background = require "vmctl.base.background"
local console = require "vmctl.machine.console"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local devices = require "vmctl.machine.host_devices"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"
local process = require "vmctl.process"
local texts = require "vmctl.text"

local M = {}

local MOST, LONGEST = 16, 255   -- shares; bytes of a path in the guest: STAGE1_SHARES and STAGE1_PATH of src/agent/stage1.h
local SAID = 2048               -- bytes of a virtiofsd's standard error that are kept
local SERVER_FD = 3             -- the listener, as virtiofsd has it
local CONNECT = 5               -- seconds

local PLACES = devices.VIRTIOFSD
local COVERED = { "/dev", "/proc", "/sys", "/run", "/tmp" } -- an init mounts file systems of its own there

local known = { host = "string", guest = "string", read_only = "boolean", xattrs = "boolean" }

-- A guest's extended attributes of a share, in the rules of virtiofsd: user.* is passed as it is; file capabilities become
-- user.virtiofs.security.capability, which has no meaning here (without a rule for them virtiofsd does not start); others are refused.
local XATTRS = "xattrmap=:prefix:all:security.capability:user.virtiofs.::ok:all:user.:user.::bad:server::::unsupported:client:::"

-- A mount of its own keeps a share read-only, whatever the guest asks for: virtiofsd itself has no such option.
local READ_ONLY = 'mount --bind -o ro "$0" "$0" && exec "$@"'

--- The virtiofsd of this machine. Does not wait.
---@param places? string[] instead of the usual ones
---@return string|nil path, string?, string? code ENOENT
function M.program(places)
  for _, path in ipairs(places or { os.getenv "VMCTL_VIRTIOFSD" or PLACES[1], table.unpack(PLACES) }) do
    if core.fs.stat(path) then return path end
  end
  return errors.fail("ENOENT", "shares need virtiofsd (Debian 12: qemu-system-common, later: virtiofsd), or its path in VMCTL_VIRTIOFSD")
end

local function check_guest(path)
  if path:sub(1, 1) ~= "/" or path == "/" or #path > LONGEST or path:find "[%z\1-\31]" then
    return errors.fail("EINVAL", "an absolute path expected, other than /, of %d bytes at most", LONGEST)
  end
  for part in path:gmatch "[^/]+" do
    if part == "." or part == ".." then return errors.fail("EINVAL", "a path without '%s' expected", part) end
  end
  for _, folder in ipairs(COVERED) do
    if path == folder or path:sub(1, #folder + 1) == folder .. "/" then
      return errors.fail("EINVAL", "below %s the guest's init mounts file systems of its own", folder)
    end
  end
  return true
end

-- The user that serves a folder: nil for us, or its owner where we are root.
local function choose_user(found, read_only)
  if core.fs.identity() ~= 0 then return nil end
  if found.uid ~= 0 then return ("%d:%d"):format(found.uid, found.gid) end
  if read_only then return nil end
  return nil, "it is root's, and a guest could make setuid programs of root in it: share it read-only, or give it to another user", "EPERM"
end

local function has_groups()
  local file <close> = io.open "/proc/self/status"
  return file ~= nil and file:read "a":find "\nGroups:[^\n]*%d" ~= nil
end

-- QEMU's own virtiofsd ends where it cannot drop its supplementary groups, which nobody but root can in a user namespace. QEMU itself
-- serves an ordinary user then, by 9p: it can do no more than that user.
local function choose_server(self)
  local is_root = core.fs.identity() == 0
  local program, err, code = M.program()
  if program and (is_root or not program:find("/qemu/", 1, true) or not has_groups()) then
    self._program = program
    return true
  end
  if is_root then return nil, err, code end
  self._nine = true
  return true
end

local function plan_one(share)
  local ok, err, code = check_guest(share.guest)
  if not ok then return nil, ("%s in the guest: %s"):format(share.guest, err), code end
  local path
  path, err, code = core.fs.real(share.host)
  local found = path and core.fs.stat(path)
  if not found then return nil, err, code end
  if found.type ~= "directory" then return errors.fail("ENOTDIR", "%s is a %s, and no folder", share.host, found.type) end
  if path:find "[,%c]" then return errors.fail("EINVAL", "%s: its path has a comma, or a control character", share.host) end
  local user
  user, err, code = choose_user(found, share.read_only)
  if err then return nil, ("%s: %s"):format(share.host, err), code end
  return { path = path, guest = share.guest, read_only = share.read_only or false, xattrs = share.xattrs or false, user = user }
end

---@class vmctl.MachineShares
---@field words string[] for stage 1
---@field modules string[] of the kernel, that it needs
local methods = {}
local mt = { __name = "vmctl.MachineShares", __index = methods }

local function encode(text) return (text:gsub("[^%w/._:+-]", function(c) return ("%%%02x"):format(c:byte()) end)) end

--- Checks shares. Does not wait.
---@param list { host: string, guest: string, read_only: boolean?, xattrs: boolean? }[]
---@return vmctl.MachineShares|nil, string?, string? code ENOENT: no such folder, or no virtiofsd; EPERM; EINVAL
function M.plan(list)
  local self = setmetatable({ words = {}, _all = {}, _tasks = {} }, mt)
  if #list > MOST then return errors.fail("EINVAL", "launch: at most %d shares", MOST) end
  local ok, err, code = choose_server(self)
  if not ok then return nil, "launch: " .. err, code end
  for i, share in ipairs(list) do
    options.check(share, known, ("machine.launch: shares[%d]"):format(i), 4)
    if not share.host or not share.guest then error(("machine.launch: shares[%d]: host and guest expected"):format(i), 4) end
    local one
    one, err, code = plan_one(share)
    if not one then return nil, ("launch: share %s"):format(err), code end
    if one.xattrs and self._nine then
      return errors.fail("ENOTSUP", "launch: share %s: extended attributes need a virtiofsd that serves this user (VMCTL_VIRTIOFSD)",
        share.host)
    end
    self._all[i] = one
    local flags = (one.read_only and ",ro" or "") .. (self._nine and ",9p" or "")
    self.words[i] = ("vmctl.share=share%d,%s%s"):format(i, encode(one.guest), flags)
  end
  self.modules = self._nine and { "9p", "9pnet_virtio" } or { "virtiofs" }
  return self
end

local function command(self, one, fd)
  local argv = { "unshare", "-Ur" }
  if one.read_only then table.move({ "-m", "sh", "-c", READ_ONLY, one.path }, 1, 5, 3, argv) end
  for _, word in ipairs { self._program, ("--fd=%d"):format(SERVER_FD), "-o", "source=" .. one.path } do argv[#argv + 1] = word end
  if one.xattrs then table.move({ "-o", XATTRS }, 1, 2, #argv + 1, argv) end
  argv.stdin, argv.stdout, argv.stderr, argv.fds = "null", "null", "pipe", { fd }
  argv.user, argv.groups, argv.death_signal, argv.sweep = one.user, one.user and {}, "KILL", true
  return argv
end

-- A private folder has the socket for a moment: QEMU gets its connected end, virtiofsd the listening one.
local function serve(self, folder, one, i)
  local path = ("%s/%d"):format(folder, i)
  local listener <close>, err, code = dial.listen { kind = "unix", path = path } -- luacheck: ignore
  if not listener then return nil, err, code end
  one.stream, err, code = dial.dial({ kind = "unix", path = path }, CONNECT)
  if not one.stream then return nil, err, code end
  one.child, err, code = process.spawn(command(self, one, listener:fileno()))
  if not one.child then return nil, err, code end
  self._said = self._said or console.ring(SAID)
  self._tasks[#self._tasks + 1] = background.spawn("virtiofsd", self._said.follow, self._said, one.child.stderr)
  return true
end

-- systemd.unit(5): the name that a mount's unit must have.
local function unit_name(path)
  local name = texts.bare(path):gsub("/+", "/"):gsub("[^/%w:_.]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return name:gsub("^%.", "\\x2e"):gsub("/", "-") .. ".mount"
end

local UNIT = [[
cat >'/run/systemd/system/%s' <<'END'
[Unit]
Description=vmctl's share
[Mount]
What=share%d
Where=%s
Type=%s
Options=nosuid,nodev%s
END
ln -s '../%s' '/run/systemd/system/local-fs.target.wants/%s'
]]

--- For a systemd whose kernel is its own: a shell's script that leaves units of the mounts in /run. Does not wait.
---@return string
function methods:script()
  local parts = { "mkdir -p /run/systemd/system/local-fs.target.wants\n" }
  for i, one in ipairs(self._all) do
    local name = unit_name(one.guest)
    parts[#parts + 1] = UNIT:format(name, i, (one.guest:gsub("%%", "%%%%")), self._nine and "9p" or "virtiofs",
      (one.read_only and ",ro" or "") .. (self._nine and ",trans=virtio,version=9p2000.L" or ""), name, name)
  end
  return table.concat(parts)
end

--- Starts the servers. Does not wait for them.
---@return true|nil, string?, string?
function methods:start()
  if self._nine then return true end
  local folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-shares")
  if not folder then return nil, "launch: share: " .. err, code end
  local ok = true
  for i, one in ipairs(self._all) do
    if ok then ok, err, code = serve(self, folder, one, i) end
    core.fs.remove(("%s/%d"):format(folder, i))
  end
  core.fs.remove(folder)
  if not ok then
    self:close()
    return nil, "launch: share: " .. err, code
  end
  return true
end

-- QEMU keeps the owner that a file has here; new files belong to its own user.
local function nine_arguments(self, spec)
  local args = {}
  for i, one in ipairs(self._all) do
    table.move({ "-fsdev", ("local,id=share%d,path=%s,security_model=none%s"):format(i, one.path, one.read_only and ",readonly=on" or ""),
      "-device", ("virtio-9p%s,fsdev=share%d,mount_tag=share%d"):format(spec.suffix, i, i) }, 1, 4, #args + 1, args)
  end
  return args
end

--- QEMU's arguments. It shares its memory with the servers. Does not wait.
---@param spec table of vmctl.machine.qemu
---@param add fun(fd: integer): integer gives QEMU a descriptor: its number there
---@return string[]
function methods:arguments(spec, add)
  if self._nine then return nine_arguments(self, spec) end
  local args = { "-object", ("memory-backend-memfd,id=memory,size=%s,share=on"):format(spec.memory), "-machine", "memory-backend=memory" }
  local function more(...) table.move({ ... }, 1, select("#", ...), #args + 1, args) end
  if spec.suffix == "-device" then more("-global", "virtio-mmio.force-legacy=false") end
  for i, one in ipairs(self._all) do
    more("-chardev", ("socket,id=share%d,fd=%d"):format(i, add(one.stream:fileno())),
      "-device", ("vhost-user-fs%s,chardev=share%d,tag=share%d"):format(spec.suffix, i, i))
  end
  return args
end

--- Closes our copies of QEMU's ends, when QEMU has started. Does not wait.
function methods:started()
  for _, one in ipairs(self._all) do
    if one.stream then one.stream:close() end
  end
end

--- The last words of the servers. Does not wait.
---@return string
function methods:last_words() return self._said and self._said:tail(8) or "" end

--- Ends the servers. Idempotent, does not wait.
function methods:close()
  self:started()
  for _, task in ipairs(self._tasks) do task:cancel() end
  for _, one in ipairs(self._all) do
    if one.child then one.child:close() end
  end
end

return M
