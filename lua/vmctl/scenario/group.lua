--- The machines of one test. They start concurrently, share networks, and are ended in any case.
local failure = require "vmctl.scenario.failure"
local hosts = require "vmctl.scenario.hosts"
local locks = require "vmctl.base.lock"
local machines = require "vmctl.scenario.machine"
local needs = require "vmctl.scenario.needs"
local options = require "vmctl.base.options"
local plans = require "vmctl.scenario.plan"
local side_by_side = require("vmctl.scenario.side_by_side").call
local snapshot = require "vmctl.scenario.snapshot"
local steps = require "vmctl.scenario.steps"
local store = require "vmctl.scenario.snapshot_store"
local test_run = require "vmctl.scenario.test_run"

local M = {}

local START = 600 -- seconds until all machines are ready

---@class vmctl.Scenario
---@field [string] vmctl.ScenarioMachine by name
local methods = {}
local mt = { __name = "vmctl.Scenario" }

for name, fn in pairs(steps) do methods[name] = fn end

local known = {
  defaults = "table", shared = "boolean", snapshot = "boolean", prepare = "callable", timeout = "number>0", limit = "number>0",
  artefacts = "string", keep = "boolean", configure = "boolean", seed = "integer", networks = "table",
  hosts = "string|table",
}

function mt:__index(key)
  return methods[key] or rawget(self, "_machines")[key]
end

-- The specs by name. A list of names is a set of machines with default options.
local function by_name(specs, defaults, level)
  local all, names = {}, {}
  for key, spec in pairs(specs) do
    if math.type(key) == "integer" then key, spec = spec, {} end
    if type(key) ~= "string" or not key:find "^%a[%w-]*$" or methods[key] then
      error(("scenario: a machine cannot be called '%s': letters, digits and '-', and no name of a method"):format(tostring(key)),
        level + 1)
    elseif type(spec) ~= "table" then
      error(("scenario: machine '%s': a table of options expected, got %s"):format(key, type(spec)), level + 1)
    end
    all[key] = options.merge(defaults, spec)
    names[#names + 1] = key
  end
  if #names == 0 then error("scenario: at least one machine expected", level + 1) end
  table.sort(names)
  return all, names
end

-- A machine of which tests have copies.
local function check_copied(name, spec, level)
  local function refuse(what, why)
    error(("scenario: machine '%s': %s and 'snapshot' exclude each other%s"):format(name, what, why or ""), level + 2)
  end
  if spec.lazy then refuse "'lazy'" end
  if spec.writes and spec.writes ~= "discard" then refuse(("writes = '%s'"):format(spec.writes), ": each test begins with a copy") end
  if spec.shares and #spec.shares > 0 then refuse("'shares'", ": what serves them keeps a state of its own") end
end

--- Makes a scenario, in which nothing runs yet. Raises at the line that `level` names for malformed options.
---@param specs table
---@param opts? table
---@param level integer as for `error`
---@return vmctl.Scenario
function M.new(specs, opts, level)
  if type(specs) ~= "table" then error("scenario: a table of machines expected, got " .. type(specs), level + 1) end
  opts = options.check(opts, known, "scenario", level + 1)
  local all, names = by_name(specs, opts.defaults, level + 1)
  needs.tell(opts.hosts and {} or all) -- of this machine
  local self = setmetatable({
    _options = opts, _names = names, _machines = {}, _lock = locks.lock(), _store = store.new(),
    _hosts = opts.hosts and hosts.new(opts.hosts, all, level + 1) or false,
  }, mt)
  self._run = test_run.new(opts, plans.new(names, all, opts.networks, level + 1), function()
    for _, machine in ipairs(self:machines()) do machine:_forget() end
    if self._hosts then self._hosts:close() end
  end)
  for i, name in ipairs(names) do
    if opts.snapshot and (opts.hosts or all[name].on) then -- its files are of this machine
      error(("scenario: machine '%s': 'snapshot' is for machines that run here"):format(name), level + 1)
    end
    if opts.snapshot then check_copied(name, all[name], level + 1) end
    if all[name].ready ~= nil and all[name].ready ~= "agent" and all[name].ready ~= "system" then
      error(("scenario: machine '%s': ready: 'agent' or 'system' expected"):format(name), level + 1)
    end
    self._machines[name] = machines.new(self, self._run, name, i, all[name])
  end
  return self
end

--- The test run of a scenario, for the other modules of this room.
---@param group vmctl.Scenario
---@return vmctl.TestRun
function M.run_of(group)
  return rawget(group, "_run")
end

--- The machines, in the order of their names.
---@return vmctl.ScenarioMachine[]
function methods:machines()
  local list = {}
  for i, name in ipairs(self._names) do list[i] = self._machines[name] end
  return list
end

-- Boots the machines that have no snapshot yet, prepares them, and takes the snapshots.
local function make_snapshots(self, list)
  local missing = {}
  for _, machine in ipairs(list) do
    if not self._store:files(machine.name) then table.insert(missing, machine) end
  end
  if #missing == 0 then return true end
  local made = {}
  for _, machine in ipairs(missing) do
    local files, err, code = self._store:make(machine.name)
    if not files then return nil, err, code end
    made[machine.name] = files
  end
  local ok, err, code = side_by_side(missing, function(m) return m:_launch("template", made[m.name]) end)
  if not ok then return nil, err, code end
  if self._options.prepare then self._options.prepare(self) end
  ok, err, code = side_by_side(missing, function(m)
    local vm = m:_release()
    local taken, why, how = snapshot.take(vm, made[m.name])
    vm:close()
    return taken, why, how
  end)
  if not ok then return nil, err, code end
  for name in pairs(made) do self._store:finish(name) end
  return true
end

--- The options of a machine's launch, with the host that runs it. Waits until that is connected.
function methods:_with_host(name, opts)
  if not self._hosts then return opts end
  return self._hosts:with_host(name, opts)
end

local function start_new(self, list)
  local new = {}
  for _, machine in ipairs(list) do
    if machine:state() == "new" then table.insert(new, machine) end -- another task may have been here before
  end
  if self._options.snapshot then
    local ok, err, code = make_snapshots(self, new)
    if not ok then return nil, err, code end
  end
  return side_by_side(new, function(machine)
    local files = self._store:files(machine.name)
    return machine:_launch(files and "copy" or "kernel", files)
  end)
end

--- Starts those of the machines that were not yet started in this test, concurrently. Waits until they are ready.
---@param list? vmctl.ScenarioMachine[] by default all except the lazy ones
---@return true|nil, string?, string?
function methods:_start(list)
  if not self._run:is_on() then return nil, "no test is running", "ECLOSED" end
  if not list then
    list = {}
    for _, machine in ipairs(self:machines()) do
      if not machine.lazy then table.insert(list, machine) end
    end
  end
  return self._lock:with(START, start_new, self, list)
end

--- Starts all machines concurrently and waits until they are ready. The first verb does so as well, except for machines with
--- `lazy`. Raises when a machine does not start.
---@return vmctl.Scenario
function methods:start()
  local ok, err = self:_start()
  if not ok then self._run:raise("start: " .. err) end
  return self
end

local function names_of(self, groups, location)
  local list = {}
  for i, group in ipairs(groups) do
    list[i] = {}
    for j, member in ipairs(group) do
      local name = type(member) == "table" and member.name or member
      if not self._machines[name] then error(("%spartition: no machine '%s'"):format(location, tostring(name)), 0) end
      list[i][j] = name
    end
  end
  return list
end

--- Partitions the networks: no frame passes between groups. Machines in no group form one of their own. Replaces an earlier
--- partition.
---@param groups (string|vmctl.ScenarioMachine)[][]
---@param name? string one network; by default all
function methods:partition(groups, name)
  groups = names_of(self, groups, failure.location())
  self:note("partition")
  for _, each in pairs(self:_some_networks(name, "partition")) do each:partition(groups) end
  return self
end

--- Ends a partition.
---@param name? string one network; by default all
function methods:heal(name)
  self:note("heal")
  for _, each in pairs(self:_some_networks(name, "heal")) do each:partition(nil) end
  return self
end

--- The switch of a network, for faults, taps and counts. See vmctl.l2.switch.
---@param name? string may be left out when there is only one network
---@return vmctl.L2Switch
function methods:switch(name)
  local open = self:_some_networks(name, "switch")
  local first, found = next(open)
  if next(open, first) then self._run:raise "switch: there are several networks: name one" end
  return found.switch
end

--- The network of that name, or all networks. Raises when there is none.
function methods:_some_networks(name, verb)
  local open, err = self._run:open_networks()
  if not open then self._run:raise(verb .. ": " .. err) end
  if name and not open[name] then self._run:raise(("%s: no network '%s'"):format(verb, name)) end
  if not next(open) then self._run:raise(verb .. ": the machines have no 'networks'") end
  return name and { [name] = open[name] } or open
end

--- Adds a line to the test's commands.log.
---@param text string as for string.format
function methods:note(text, ...)
  self._run:note(text, ...)
end

--- The artefacts folder of the running test: logs, captures, screenshots.
---@return string|nil path
function methods:artefacts()
  return self._run:path()
end

--- Ends all machines and removes their snapshots. Idempotent, does not wait.
---@param failed? boolean keep the artefacts; by default true when a verb or the test's body failed
---@return string|nil path of the artefacts, if they are kept
function methods:close(failed)
  local path = self._run:finish(failed)
  self._store:close()
  return path
end

mt.__close = function(self, err) self:close(err ~= nil or nil) end

function mt:__tostring()
  return ("vmctl.Scenario(%s)"):format(table.concat(self._names, ", "))
end

return M
