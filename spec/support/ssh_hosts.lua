--- Hosts with a real sshd each, in namespaces of their own (network, processes, mounts) on a bridge of ours. All ends with `close`.
--- Needs root, and is for `make test-ssh`, which runs in a network namespace that has nothing but loopback.
local artefacts = require "vmctl.scenario.artefacts"
local assert = require "luassert"
local core = require "vmctl.core"
local process = require "vmctl.process"
local support = require "spec.support"
local vmctl = require "vmctl"

local M = {}

local LIMIT = 30        -- seconds that a step may take
local ATTEMPT = 2       -- seconds for one look whether sshd answers
local NETWORKS = 250    -- bridges that may be there at a time

local SSHD = [[
Port 22
HostKey %D%/host_key
AuthorizedKeysFile %D%/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
MaxStartups 100
PidFile none
Subsystem sftp internal-sftp
SetEnv PATH=%BIN%:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "LUA_PATH=%LUA_PATH%" "LUA_CPATH=%LUA_CPATH%"
]]

local SSH = [[
Host %NAMES%
  User root
  IdentityFile %D%/key
  IdentitiesOnly yes
  UserKnownHostsFile %D%/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  LogLevel ERROR
]]

-- The first process of a host. It waits for its network; then folders that it is not to share are its own, and empty.
local INIT = [[
set -e
echo made
read -r go
mount -t proc proc /proc
for folder in /root /run "$@"; do mount -t tmpfs -o mode=755 none "$folder"; done
mkdir -p /run/sshd
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
exec /usr/sbin/sshd -D -e -f "$CONF" 2>"$LOG"
]]

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

local function fill(text, values)
  return (text:gsub("%%([%u_]+)%%", values))
end

local function run(...)
  local result = assert(vmctl.host:run { timeout = LIMIT, ... })
  assert.equal(0, result.exit_code, result.stderr)
  return result.stdout
end

--- Says why there can be no hosts here, nil where there can.
---@return string|nil
function M.missing()
  if core.fs.stat("/proc/self").uid ~= 0 then return "only root can start sshd in namespaces" end
  if not os.getenv "VMCTL_SSH" then return "this is for make test-ssh" end
  for _, name in ipairs { "ssh", "ssh-keygen", "/usr/sbin/sshd", "unshare", "nsenter", "ip" } do
    if not os.execute(("command -v %s >/dev/null"):format(name)) then return "no " .. name .. " here" end
  end
end

---@class spec.SshHost
---@field name string for ssh
---@field address string
---@field pid integer of the program that holds its namespaces
local host = {}
local host_mt = { __index = host }

--- Starts it; waits until its sshd answers.
function host:start()
  local all = self._all
  local words = { "unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "sh", "-c", INIT, "sh",
    stdin = "pipe", stdout = "pipe", stderr = "inherit", death_signal = "KILL",
    env = { ADDRESS = self.address, CONF = all.folder .. "/sshd_config", LOG = ("%s/%s.log"):format(all.folder, self.name) } }
  for _, folder in ipairs(all.hide) do words[#words + 1] = folder end
  local child = assert(process.spawn(words))
  self._child, self.pid = child, child.pid
  assert.equal("made\n", child.stdout:read_exact(5, LIMIT))
  run("ip", "link", "add", self._link, "master", all.bridge, "type", "veth", "peer", "name", "eth0", "address", self._mac,
    "netns", tostring(child.pid))
  run("ip", "link", "set", self._link, "up")
  assert(child.stdin:write "go\n")
  support.eventually(function()
    local stream <close> = vmctl.dial(("tcp:%s:22"):format(self.address), { timeout = ATTEMPT }) -- luacheck: ignore
    return stream ~= nil
  end)
end

--- It dies: all of its processes are killed, its network is gone.
function host:kill()
  if not self._child then return end
  self._child:kill("KILL", true)
  assert(self._child:wait(LIMIT))
  self._child:close()
  self._child = nil
  assert(vmctl.host:run { "ip", "link", "delete", self._link }) -- or the kernel has done it with the namespace
end

--- Cuts its wire, or mends it: nothing comes from it, and nobody is told.
---@param mended? boolean
function host:cut(mended)
  run("ip", "link", "set", self._link, mended and "up" or "down")
end

--- Runs a command there, without ssh; its standard output.
---@return string
function host:run(...)
  local inside = run("cat", ("/proc/%d/task/%d/children"):format(self.pid, self.pid)):match "%d+"
  return run("nsenter", "-t", inside, "-a", ...)
end

--- The command lines of its processes, without sshd's own.
---@return string[]
function host:processes()
  local list = {}
  local said = self:run("sh", "-c", [[for one in /proc/[0-9]*/cmdline; do tr '\0' ' ' <"$one" && echo; done 2>/dev/null; true]])
  for line in said:gmatch "[^\n]+" do
    if not line:find "^sshd:" and not line:find "^/usr/sbin/sshd" and not line:find "^sh %-c for one" and not line:find "^tr " then
      list[#list + 1] = line
    end
  end
  return list
end

---@class spec.SshHosts
---@field config string ssh's configuration, which knows the hosts by name (ssh -F)
---@field key string the private key
---@field folder string
local hosts = {}
local mt = { __index = hosts, __close = function(self) self:close() end }

-- A bridge of ours, with a network of its own: several files may have hosts at a time.
local function make_bridge(self)
  for i = 1, NETWORKS do
    local name = "vmctl" .. i
    if assert(vmctl.host:run { "ip", "link", "add", name, "type", "bridge" }).exit_code == 0 then
      self.bridge, self.network = name, ("10.213.%d."):format(i)
      run("ip", "address", "add", self.network .. "254/24", "dev", name)
      run("ip", "link", "set", name, "up")
      return
    end
  end
  error "no bridge could be made"
end

local function write_files(self, bin)
  local D, names, known = self.folder, {}, {}
  for _, name in ipairs { "host_key", "key" } do run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", D .. "/" .. name) end
  local public = io.open(D .. "/host_key.pub"):read "a":match "^%S+ %S+"
  local config = {}
  for i, one in ipairs(self) do
    names[i], known[i] = one.name, ("%s,%s %s\n"):format(one.name, one.address, public)
    config[i] = ("Host %s\n  HostName %s\n"):format(one.name, one.address)
  end
  write(D .. "/known_hosts", table.concat(known))
  write(self.config, table.concat(config) .. fill(SSH, { D = D, NAMES = table.concat(names, " ") .. " " .. self.network .. "*" }))
  write(D .. "/sshd_config", fill(SSHD, { D = D, BIN = bin, LUA_PATH = package.path, LUA_CPATH = package.cpath }))
  assert(core.fs.mkdir(D .. "/bin"))
  write(D .. "/bin/ssh", ('#!/bin/sh\nexec %s -F %s "$@"\n'):format(run("sh", "-c", "command -v ssh"):match "%S+", self.config))
  run("chmod", "755", D .. "/bin/ssh")
end

--- Starts hosts "h1", "h2", … They see this machine's files, but for their homes, /run, and the folders of `hide`: of these each has
--- one of its own, which is empty. vmctl is on their PATH.
---@param count integer
---@param opts? { hide: string[]? } folders
---@return spec.SshHosts with the hosts by number
function M.start(count, opts)
  assert.is_nil(M.missing())
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-ssh"))
  local self = setmetatable({ folder = folder, key = folder .. "/key", config = folder .. "/ssh_config" }, mt)
  self.hide = opts and opts.hide or {}
  make_bridge(self)
  for i = 1, count do
    self[i] = setmetatable({ name = "h" .. i, address = self.network .. i, _all = self, _link = ("%s-%d"):format(self.bridge, i),
      _mac = ("02:00:00:00:00:%02x"):format(i) }, host_mt) -- the same after a start: the others would look for the old one
  end
  write_files(self, assert(core.fs.real "bin"))
  for _, one in ipairs(self) do one:start() end
  return self
end

--- The environment of programs that call ssh by its name: it knows the hosts.
---@return table<string, string>
function hosts:environment()
  return { PATH = ("%s/bin:%s"):format(self.folder, os.getenv "PATH") }
end

--- Ends all of them.
function hosts:close()
  for _, one in ipairs(self) do one:kill() end
  run("ip", "link", "delete", self.bridge)
  artefacts.remove(self.folder)
end

return M
