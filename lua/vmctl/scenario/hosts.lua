--- The hosts on which the machines of a scenario run: the choice of a host for each machine, and the connections of a test.
local locks = require "vmctl.base.lock"
local log = require "vmctl.log"
local machine = require "vmctl.machine"
local needs = require "vmctl.scenario.needs"
local options = require "vmctl.base.options"
local slurm = require "vmctl.scenario.slurm_hosts"

local M = {}

local CONNECT = 900     -- seconds: an allocation of Slurm's may have to wait for others

---@class vmctl.ScenarioHosts
local methods = {}
local mt = { __name = "vmctl.ScenarioHosts", __index = methods }

--- Checks the option `hosts`. Raises at the line that `level` names. Does not wait.
---@param given "slurm"|vmctl.ScenarioSlurm|(string|vmctl.RemoteWhere|vmctl.RemoteHost)[]
---@param specs table<string, vmctl.ScenarioSpec> by name
---@param level integer as for `error`
---@return vmctl.ScenarioHosts
function M.new(given, specs, level)
  if given == "slurm" then given = { slurm = {} } end
  if type(given) ~= "table" or not given.slurm and #given == 0 then
    error('scenario: hosts: a list of machines or "slurm" expected', level + 1)
  end
  if given.slurm then slurm.check(given, level + 1) end
  return setmetatable({ _given = given, _specs = specs, _lock = locks.lock(), _open = {} }, mt)
end

-- Chooses hosts by memory: the machine that needs most comes first, and each goes to the host with the least load so far.
local function spread(specs, count)
  local names, load, host_of = {}, {}, {}
  for name, spec in pairs(specs) do
    if spec.on == nil then names[#names + 1] = name end
  end
  local function need(name) return needs.of({ specs[name] }).memory end
  table.sort(names, function(a, b) return need(a) > need(b) or need(a) == need(b) and a < b end)
  for i = 1, count do load[i] = 0 end
  for _, name in ipairs(names) do
    local best = 1
    for i = 2, count do
      if load[i] < load[best] then best = i end
    end
    host_of[name], load[best] = best, load[best] + need(name)
  end
  return host_of, #names
end

-- Finds the hosts: those of a list, or nodes of Slurm, which this allocates.
local function find(self)
  if self._list then return true end
  local list = self._given
  if list.slurm then
    local given, err, code = slurm.allocate(list, select(2, spread(self._specs, 1)))
    if not given then return nil, err, code end
    self._allocation, list = given, given.hosts
  end
  self._list, self._host_of = list, spread(self._specs, #list)
  return true
end

local function connect(self, name)
  local ok, err, code = find(self)
  if not ok then return nil, err, code end
  local i = self._host_of[name]
  if not self._open[i] then
    self._open[i], err, code = machine.host(self._list[i])
    if not self._open[i] then return nil, err, code end
    log.info("scenario: %s runs %s", self._open[i].label, name)
  end
  return self._open[i]
end

--- The options of a launch for the machine of a name, with the host that runs it. Waits until that is connected.
---@param name string
---@param opts table
---@return table|nil, string?, string?
function methods:with_host(name, opts)
  if opts.on ~= nil then return opts end
  local host, err, code = self._lock:with(CONNECT, connect, self, name)
  if not host then return nil, err, code end
  return options.merge(opts, { on = host })
end

--- Ends the connections of a test, and returns its nodes to Slurm. Idempotent, never waits.
function methods:close()
  for _, host in pairs(self._open) do host:close() end
  if self._allocation then self._allocation:close() end
  self._open, self._list, self._host_of, self._allocation = {}, nil, nil, nil
end

return M
