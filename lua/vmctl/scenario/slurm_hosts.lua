--- Nodes of Slurm as the hosts of a scenario. salloc keeps them until its input ends, and so no longer than this program lives, however
--- that ends. srun starts `vmctl serve --stdio` on each.
local children = require "vmctl.remote.child"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local WAIT = 600        -- seconds for an allocation
local LINE = 256        -- bytes of a node's name
local MOST = 1024       -- nodes

local KNOWN = { slurm = "table", command = "string", timeout = "number>0", keepalive = "number>=1<=3600" }

---@class vmctl.ScenarioSlurm hosts that Slurm gives
---@field slurm string[] words for salloc: { "-p", "part", "-N", "2" }; without any, up to as many nodes as there are machines
---@field command? string vmctl on the nodes ("vmctl")
---@field timeout? number seconds until there is an allocation (600)
---@field keepalive? number seconds within which a node that has gone away is noticed (15)

--- Checks the options. Raises at the line that `level` names.
function M.check(given, level) options.check(given, KNOWN, "scenario: hosts", level + 1) end

local SCRIPT = 'echo "job $SLURM_JOB_ID"; scontrol show hostnames "$SLURM_JOB_NODELIST"; echo; exec cat >/dev/null'

-- Runs salloc in a session of its own, so that it outlives this program, and ends it at the end of the standard input: it then
-- withdraws a waiting request, or gives the nodes back.
local WATCH = [[
exec 3<&0
"$@" <&3 &
pid=$!
(cat <&3; kill -TERM $pid) >/dev/null 2>&1 &
watcher=$!
wait $pid
code=$?
kill $watcher
exit $code
]]

---@class vmctl.SlurmAllocation
---@field id string
---@field hosts vmctl.RemoteWhere[]
local methods = {}
local mt = { __name = "vmctl.SlurmAllocation", __index = methods }

-- The script's output: the job's number, and the nodes' names.
local function read(child, deadline)
  local id, nodes = nil, {}
  while #nodes < MOST do
    local line, err, code = child.pipes:read_line(LINE, deadline - core.now())
    if not line then return nil, err, code end
    if line == "" then break end
    local number = line:match "^job (%d+)$"
    if number then
      id = number
    elseif line:find "^[%w._-]+$" and line:sub(1, 1) ~= "-" then
      nodes[#nodes + 1] = line
    end
  end
  if not id or #nodes == 0 then return errors.fail("EPROTO", "salloc names no nodes") end
  return id, nodes
end

-- Without -u Slurm would keep a task's output until a line is full.
local function host_of(given, id, node)
  return {
    "slurm:" .. node, keepalive = given.keepalive,
    argv = { "srun", "-u", "--jobid=" .. id, "--overlap", "--mem=0", "-N1", "-n1", "-w", node,
      given.command or "vmctl", "serve", "--stdio" },
  }
end

--- Asks for nodes. Waits until there are some.
---@param given vmctl.ScenarioSlurm
---@param most integer nodes, unless the words for salloc say how many
---@return vmctl.SlurmAllocation|nil, string?, string? code ENOENT: no salloc here; ETIMEDOUT: the queue is full
function M.allocate(given, most)
  local timeout = given.timeout or WAIT
  local argv = { "setsid", "--fork", "--wait", "sh", "-c", WATCH, "sh", "salloc", ("--nodes=1-%d"):format(math.max(most, 1)) }
  table.move(given.slurm, 1, #given.slurm, #argv + 1, argv)
  table.move({ "sh", "-c", SCRIPT }, 1, 3, #argv + 1, argv)
  local child, err, code = children.start { argv = argv, label = "slurm", program = "salloc" }
  if not child then return nil, err, code end
  local id, nodes, how = read(child, core.now() + timeout)
  if not id and (how == "ETIMEDOUT" or how == "ECANCELED") then
    child:close()
    if how == "ECANCELED" then return nil, nodes, how end
    return errors.fail(how, "slurm: no nodes within %g s", timeout)
  elseif not id then
    local _, why, what = child:explain(nodes, how)
    child:close()
    return nil, why, what
  end
  local hosts = {}
  for i, node in ipairs(nodes) do hosts[i] = host_of(given, id, node) end
  return setmetatable({ id = id, hosts = hosts, _child = child }, mt)
end

--- Gives the nodes back. Idempotent, never waits.
function methods:close()
  if self._child then self._child:close() end
  self._child = nil
end

return M
