--- A real Slurm on this machine: a controller, munge, and nodes that are slurmds of their own. All ends with `close`.
local assert = require "luassert"
local artefacts = require "vmctl.scenario.artefacts"
local core = require "vmctl.core"
local process = require "vmctl.process"
local support = require "spec.support"
local vmctl = require "vmctl"

local M = {}

local UP = 120      -- seconds until something has happened
local PAUSE = 0.1   -- seconds between two looks
local NODES = 2

local CONF = [[
ClusterName=t
SlurmctldHost=%HOST%(127.0.0.1)
SlurmctldPort=%CTLD%
AuthType=auth/munge
AuthInfo=socket=%D%/munge/sock,cred_expire=5
CryptoType=crypto/munge
SlurmUser=root
StateSaveLocation=%D%/state
SlurmdSpoolDir=%D%/spool-%n
SlurmctldPidFile=%D%/ctld.pid
SlurmdPidFile=%D%/slurmd-%n.pid
SlurmctldLogFile=%D%/log/ctld.log
SlurmdLogFile=%D%/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
ReturnToService=2
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SlurmdTimeout=10
JobRequeue=1
]]

--- Says why there can be no cluster here, nil where there can.
---@return string|nil
function M.missing()
  for _, name in ipairs { "slurmctld", "slurmd", "munged", "sbatch" } do
    if not os.execute(("PATH=$PATH:/usr/sbin:/sbin command -v %s >/dev/null"):format(name)) then return "no " .. name .. " here" end
  end
  if core.fs.stat("/proc/self").uid ~= 0 then return "only root can start slurmd" end
end

local function free_port()
  local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
  return listener:address().port
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

local cluster = {}
local mt = { __index = cluster, __close = function(self) self:close() end }

local function spawn(self, command)
  command.stdin, command.stdout, command.stderr = "null", "null", "null"
  command.env = { SLURM_CONF = self.conf, PATH = os.getenv "PATH" .. ":/usr/sbin:/sbin" }
  return assert(process.spawn(command))
end

local function write_conf(self)
  local host = assert(io.popen "hostname"):read "l"
  local text = CONF:gsub("%%(%u+)%%", { HOST = host, D = self.folder, CTLD = tostring(free_port()) })
  local lines = { text }
  for i = 1, NODES do
    lines[#lines + 1] = ("NodeName=n%d NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=1 RealMemory=4000\n"):format(i, host, free_port())
  end
  lines[#lines + 1] = ("PartitionName=p Nodes=n[1-%d] Default=YES MaxTime=INFINITE State=UP\n"):format(NODES)
  write(self.conf, table.concat(lines))
end

--- Starts one; waits until its nodes are idle.
---@param opts? { hide: string? } a folder of which each node has one of its own, which is empty
function M.start(opts)
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-slurm"))
  assert(os.execute(("chmod 755 '%s'; cd '%s'; mkdir munge state log; head -c 1024 /dev/urandom > munge/key; chown -R munge: munge; " ..
    "chmod 711 munge; chmod 400 munge/key"):format(folder, folder)))
  local self = setmetatable({ folder = folder, conf = folder .. "/slurm.conf", nodes = {}, hide = opts and opts.hide }, mt)
  write_conf(self)
  local D = folder .. "/munge/"
  self.munged = spawn(self, { "munged", "--foreground", "--key-file=" .. D .. "key", "--socket=" .. D .. "sock",
    "--pid-file=" .. D .. "pid", "--log-file=" .. D .. "log", "--seed-file=" .. D .. "seed", user = "munge" })
  support.eventually(function() return core.fs.stat(D .. "sock") ~= nil end)
  self:start_controller()
  for i = 1, NODES do self:start_node(i) end
  self:wait_idle()
  return self
end

function cluster:start_controller()
  self.controller = spawn(self, { "slurmctld", "-D" })
end

function cluster:start_node(i)
  local command = { "slurmd", "-D", "-N", "n" .. i }
  if self.hide then
    command = { "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', self.hide, table.unpack(command) }
  end
  self.nodes[i] = spawn(self, command)
end

--- The environment of Slurm's programs.
function cluster:environment()
  return { SLURM_CONF = self.conf }
end

--- Runs one of Slurm's programs.
function cluster:ask(...)
  local command = { ... }
  command.env, command.timeout = self:environment(), 30
  return assert(vmctl.host:run(command))
end

--- Waits until a function says true: Slurm takes its time.
function M.wait_until(fn, what)
  local last = vmctl.now() + UP
  while not fn() do
    assert(vmctl.now() < last, what)
    assert(vmctl.sleep(PAUSE))
  end
end

function cluster:wait_idle()
  M.wait_until(function()
    local _, idle = self:ask("sinfo", "-h", "-N", "-o", "%T").stdout:gsub("idle\n", "")
    return idle == NODES
  end, "the nodes never became idle")
end

--- Waits until no task is left.
function cluster:wait_empty()
  M.wait_until(function() return self:ask("squeue", "-h").stdout == "" end, "tasks are left in the queue")
end

--- Ends the controller in order, and starts it again with what it has saved.
function cluster:restart_controller()
  self.controller:kill "TERM"
  assert(self.controller:wait(UP))
  self.controller:close()
  self:start_controller()
end

-- The processes above one, up to the step of Slurm's that has started it, the step first.
local function up_to_step(pid)
  local list = {}
  while pid and pid > 1 do
    local file = io.open(("/proc/%d/stat"):format(pid))
    if not file then break end
    local name, parent = file:read "a":match "%((.-)%) %S (%d+)"
    file:close()
    table.insert(list, 1, pid)
    if name:find "^slurmstepd" then return list end
    pid = math.tointeger(tonumber(parent))
  end
  error "the process has no slurmstepd"
end

--- Kills a node: its slurmd, and what it runs for a process.
function cluster:kill_node(i, pid)
  for _, each in ipairs(up_to_step(pid)) do os.execute("kill -9 " .. each) end
  self.nodes[i]:kill("KILL", true)
  self.nodes[i]:wait(UP)
  self.nodes[i]:close()
  self.nodes[i] = nil
end

function cluster:close()
  self:ask("scancel", "--user=root", "--quiet")
  for _, node in pairs(self.nodes) do node:kill "TERM" end
  self.controller:kill "TERM"
  for _, node in pairs(self.nodes) do
    node:wait(10)
    node:close()
  end
  self.controller:wait(10)
  self.controller:close()
  self.munged:kill "TERM"
  self.munged:wait(10)
  self.munged:close()
  artefacts.remove(self.folder)
end

return M
