--- Test scenarios: the machines of a test, and verbs that act on them. A verb that fails raises an error with a full report. In busted
-- the machines belong to a describe; elsewhere to a block.
--
--     local scenario = require "vmctl".scenario
--     describe("a pair", function()
--       local vms = scenario.machines({ "one", "two" }, { defaults = { kernel = …, initrd = …, networks = { "lan" } } })
--       it("talks", function()
--         vms.one:succeed("ping -c 1 two")
--         vms:partition { { "one" }, { "two" } }
--         vms.one:fail("ping -c 1 -W 1 two")
--       end)
--     end)
local core = require "vmctl.core"
local groups = require "vmctl.scenario.group"
local guard = require "vmctl.scenario.test_body"
local hooks = require "vmctl.scenario.busted"

local M = {}

local open = setmetatable({}, { __mode = "k" }) -- scenarios whose logs have a line for each subtest

---@class (exact) vmctl.ScenarioSpec one machine: options for vmctl.machine.launch, and
---@field kernel? string as for vmctl.machine.launch, here and below
---@field initrd? string
---@field root? string|vmctl.MachineRootOptions
---@field init? "agent"|"system"|string[]
---@field boot? "ours"|"kernel"|"firmware"
---@field writes? "discard"|"keep"|"through"
---@field modules_dir? string
---@field agent? string
---@field cache_dir? string
---@field shares? { host: string, guest: string, read_only: boolean?, xattrs: boolean? }[]
---@field network? "none"|"user"
---@field ports? string[]
---@field append? string
---@field memory? string|integer
---@field cpus? integer
---@field accel? "auto"|"kvm"|"tcg"
---@field machine? string
---@field arch? string
---@field qemu? string
---@field args? string[]
---@field nics? table[]
---@field channel? "auto"|"vsock"|"mux"
---@field cid? integer
---@field console_size? integer
---@field exec_timeout? number
---@field display? boolean|"std"|"virtio"
---@field reboot? boolean
---@field on? string|vmctl.RemoteWhere|vmctl.RemoteHost another machine that runs it
---@field networks? table names of networks: the machine has a card in each, with an address, and a line in its peers' /etc/hosts;
-- `{ "lan", wan = "192.0.2.7" }` chooses the address in wan
---@field lazy? boolean the machine is started by its own verbs only
---@field boot_timeout? number seconds (60)
---@field ready? "agent"|"system" its state before a verb: its agent answers (default), or its system is up

---@class (exact) vmctl.ScenarioOptions
---@field defaults? vmctl.ScenarioSpec options that every machine has
---@field shared? boolean # in busted: the machines exist for the whole describe, not for one test
---@field snapshot? boolean machines boot once; each test starts from a snapshot of that, in well under a second
---@field prepare? fun(vms: vmctl.Scenario) runs once, before the snapshots are taken
---@field timeout? number seconds, the default of verbs (60)
---@field limit? number seconds for a test (600)
---@field artefacts? string folder of the tests' artefacts (VMCTL_ARTEFACTS, "build/artefacts")
---@field keep? boolean artefacts are kept after a success, too (VMCTL_KEEP_ARTEFACTS=1)
---@field configure? boolean false: the cards of `networks` get no addresses
---@field networks? table<string, string> subnets by network, "192.168.7.0/24" or "fd00:7::/64"; by default 10.77.N.0/24
---@field seed? integer of the networks' faults
---@field hosts? "slurm"|vmctl.ScenarioSlurm|(string|vmctl.RemoteWhere|vmctl.RemoteHost)[] other machines that run those of the scenario,
-- spread by their memory: { "ssh:a", "ssh:b" }, or nodes that Slurm gives. Their networks are here (docs/remote.md)

--- Declares the machines of the current describe's tests. Each test has new ones: they are started concurrently at its first verb, and
--- ended with it, also when it fails. (They have ended before a user's own after_each runs; use `finally`.) Does not wait.
---@param specs table<string, vmctl.ScenarioSpec>|string[] by name; a list of names: with default options
---@param opts? vmctl.ScenarioOptions
---@return vmctl.Scenario vms: `vms.NAME` is a machine; start, partition, heal, switch, artefacts
function M.machines(specs, opts)
  local busted = hooks.busted()
  if not busted then error("scenario.machines: busted does not run; see scenario.open and scenario.run", 2) end
  local group = groups.new(specs, opts, 2)
  open[group] = true
  hooks.end_at_interrupt(busted, function()
    for each in pairs(open) do each:close(true) end
  end)
  hooks.attach(busted, group, opts ~= nil and opts.shared == true)
  return group
end

--- Machines for a block, without busted: `local vms <close> = scenario.open({ … })`. Does not wait.
---@param specs table<string, vmctl.ScenarioSpec>|string[] as for `machines`
---@param opts? vmctl.ScenarioOptions
---@return vmctl.Scenario
function M.open(specs, opts)
  local group = groups.new(specs, opts, 2)
  local ok, err = groups.run_of(group):begin "scenario"
  if not ok then error(err, 2) end
  open[group] = true
  return group
end

--- Runs a test without busted: calls `fn(vms)` and then ends the machines. Raises the function's error, with a report added. Waits.
---@param name string of the test
---@param specs table<string, vmctl.ScenarioSpec>|string[] as for `machines`
---@param opts? vmctl.ScenarioOptions may be left out
---@param fn fun(vms: vmctl.Scenario): ...
---@return any ... results of fn
function M.run(name, specs, opts, fn)
  if fn == nil then opts, fn = nil, opts end
  local group <close> = groups.new(specs, opts, 2)
  local ok, err = groups.run_of(group):begin(name)
  if not ok then error(err, 2) end
  open[group] = true
  return guard.call(group, fn, group)
end

local function note(...)
  for group in pairs(open) do group:note(...) end
end

local function named(name, err)
  local head = ("subtest '%s': "):format(name)
  if type(err) == "table" and type(err.message) == "string" then
    err.message = head .. err.message
  elseif type(err) == "string" then
    err = head .. err
  end
  return err
end

--- Runs a named part of a test. The name is added to its failures, and its duration to the test's log.
---@param name string
---@param fn function
---@return any ... results of fn
function M.subtest(name, fn, ...)
  local begin = core.now()
  note("subtest '%s'", name)
  local results = table.pack(pcall(fn, ...))
  note("subtest '%s': %s (%.2f s)", name, results[1] and "passed" or "failed", core.now() - begin)
  if not results[1] then error(named(name, results[2]), 0) end
  return table.unpack(results, 2, results.n)
end

return M
