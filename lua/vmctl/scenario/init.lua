--- Test scenarios: machines that a test starts, commands, breaks and watches, with verbs that raise and say all that is known.
-- In busted they belong to a describe; elsewhere to a block.
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

local open = setmetatable({}, { __mode = "k" }) -- scenarios whose logs hear of subtests

---@class (exact) vmctl.ScenarioSpec one machine: options for vmctl.machine.launch, and
---@field kernel? string as for vmctl.machine.launch, here and below
---@field initrd? string
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
---@field networks? table names: a card each, in that network's switch, with an address and a line of /etc/hosts;
-- `{ "lan", wan = "192.0.2.7" }` chooses the address in wan
---@field lazy? boolean only its own verbs start it
---@field boot_timeout? number seconds (60)

---@class (exact) vmctl.ScenarioOptions
---@field defaults? vmctl.ScenarioSpec options that every machine has
---@field shared? boolean where busted runs: the machines live as long as the describe, not as each test
---@field snapshot? boolean machines boot once; each test begins with what they were then, in well under a second
---@field prepare? fun(vms: vmctl.Scenario) runs once before that snapshot
---@field timeout? number seconds for a verb that is given none (60)
---@field limit? number seconds for a test (600)
---@field artefacts? string folder for what tests leave (VMCTL_ARTEFACTS, "build/artefacts")
---@field keep? boolean keep that after success too (VMCTL_KEEP_ARTEFACTS=1)
---@field configure? boolean false: leave the cards of `networks` as they are, without addresses
---@field networks? table<string, string> subnets by the networks' names, "192.168.7.0/24" or "fd00:7::/64"; else 10.77.N.0/24
---@field seed? integer of the networks' faults

--- Machines for the tests of the describe in which this is called: new ones for each, started side by side when a test first
--- uses one of them, and ended with it, whatever happens. (They are gone before the after_each of one's own: use `finally`.)
--- Does not wait.
---@param specs table<string, vmctl.ScenarioSpec>|string[] by name; names alone have the defaults
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

--- Runs a test without busted: `fn(vms)` with machines that end with it. Raises what it raises, with the report.
---@param name string of the test
---@param specs table<string, vmctl.ScenarioSpec>|string[] as for `machines`
---@param opts? vmctl.ScenarioOptions may be left out
---@param fn fun(vms: vmctl.Scenario): ...
---@return any ... what fn returned
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

--- A named part of a test: failures in it bear its name, and the test's log says how long it took.
---@param name string
---@param fn function
---@return any ... what fn returned
function M.subtest(name, fn, ...)
  local begin = core.now()
  note("subtest '%s'", name)
  local results = table.pack(pcall(fn, ...))
  note("subtest '%s': %s (%.2f s)", name, results[1] and "passed" or "failed", core.now() - begin)
  if not results[1] then error(named(name, results[2]), 0) end
  return table.unpack(results, 2, results.n)
end

return M
