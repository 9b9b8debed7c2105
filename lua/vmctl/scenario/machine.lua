--- One machine of a scenario: starting and ending it, and the verbs that act on it. Verbs raise.
local cards = require "vmctl.scenario.cards"
local commands = require "vmctl.scenario.commands"
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"
local launch = require "vmctl.machine".launch
local options = require "vmctl.base.options"
local plans = require "vmctl.scenario.plan"
local screen = require "vmctl.scenario.screen"
local snapshot = require "vmctl.scenario.snapshot"
local transfer = require "vmctl.scenario.transfer"
local units = require "vmctl.scenario.units"
local waits = require "vmctl.scenario.waits"

local M = {}

local BOOT = 60         -- seconds
local CONSOLE_LINES = 12

---@class vmctl.ScenarioMachine
---@field name string
---@field vm? vmctl.Machine while it runs: for features that have no verb
local methods = {}
local mt = { __name = "vmctl.ScenarioMachine", __index = methods }

for _, part in ipairs { cards, commands, waits, transfer, units, screen } do
  for name, fn in pairs(part) do methods[name] = fn end
end

local OWN = { networks = true, lazy = true, boot_timeout = true, ready = true } -- options that are not machine.launch's

--- Makes a machine, which is not started yet.
---@param group vmctl.Scenario
---@param run vmctl.TestRun
---@param name string
---@param number integer its index among the machines, from 1
---@param spec table
---@return vmctl.ScenarioMachine
function M.new(group, run, name, number, spec)
  local for_launch = {}
  for key, value in pairs(spec) do
    if not OWN[key] then for_launch[key] = value end
  end
  return setmetatable({
    name = name, lazy = spec.lazy == true, number = number, _group = group, _run = run, _spec = for_launch, _state = "new",
    _networks = plans.names_of(spec.networks), _boot_timeout = spec.boot_timeout or BOOT, _ready = spec.ready, _owned = {},
  }, mt)
end

--- The machine's state, as far as the scenario knows.
---@return "new"|"on"|"off" state new: not started in this test
function methods:state()
  return self._state
end

-- The options for machine.launch: the given ones, a file for the console, cards for the networks, and those of a snapshot.
local function launch_options(self, how, files)
  local nics, err, code = self:_cards(self._spec.nics or {})
  if not nics then return nil, err, code end
  local all = options.merge(self._spec, {
    name = self.name, nics = nics, console_log = self._run:path() .. "/" .. self.name .. ".console.log",
  })
  if how == "kernel" then return self._group:_with_host(self.name, all) end
  return options.merge(all, snapshot.options(self._spec, files, how == "copy"))
end

local function bring_up(self, how, files)
  local ok, err, code
  if how == "copy" then
    ok, err, code = snapshot.resume(self.vm, files, self._boot_timeout)
  else
    ok, err, code = self.vm:wait_ready { timeout = self._boot_timeout, target = self._ready }
    if ok then ok, err, code = self:_configure_cards(self._boot_timeout) end
  end
  if not ok then return nil, err, code end
  self:_join_networks()
  return true
end

-- machine.launch raises for a wrong option. Here it is a failed start, which the verb raises at the user's line.
local function try_launch(opts)
  local ok, vm, err, code = pcall(launch, opts)
  if ok then return vm, err, code end
  return nil, tostring(vm):gsub("^[^\n]-:%d+: ", ""), "EINVAL"
end

--- Launches the machine and waits until it is ready. A machine that does not become ready is closed.
---@param how "kernel"|"template"|"copy"
---@param files? table of the snapshot
---@return true|nil, string?, string?
function methods:_launch(how, files)
  local begin = core.now()
  local opts, err, code = launch_options(self, how, files)
  if not opts then return nil, err, code end
  self.vm, err, code = try_launch(opts)
  if not self.vm then return nil, err, code end
  self._state = "on"
  local ok
  ok, err, code = bring_up(self, how, files)
  if not ok then
    self:_release():close()
    self._run:note("%s: did not start: %s", self.name, err)
    return nil, err, code
  end
  self._run:note("%s: %s after %.2f s", self.name, how == "copy" and "started from its snapshot" or "booted", core.now() - begin)
  return true
end

--- Registers something that is closed when the machine is off.
---@param closeable { close: function }
function methods:_own(closeable)
  table.insert(self._owned, closeable)
end

local function close_owned(self)
  for _, each in ipairs(self._owned) do each:close() end
  self._owned = {}
end

--- Marks the machine as off, and returns its vm.
function methods:_release()
  local vm = self.vm
  close_owned(self)
  self.vm, self._state = nil, "off"
  return vm
end

--- Ends the machine at the end of its test.
function methods:_forget()
  close_owned(self)
  if self.vm then self.vm:close() end
  self.vm, self._state = nil, "new"
end

--- True if the machine has a screen.
---@return boolean
function methods:has_screen()
  return self._spec.display ~= nil and self._spec.display ~= false
end

--- The running vm, for a verb. The first verb starts the scenario. Raises when the machine is off.
---@param verb string
---@return vmctl.Machine
function methods:_running(verb)
  self._run:check()
  if self._state == "new" then
    local ok, err = self._group:_start(self.lazy and { self } or nil)
    if not ok then self._run:raise(("%s: %s: it did not start: %s"):format(self.name, verb, err)) end
  end
  if not self.vm then self._run:raise(("%s: %s: it is off: start it first"):format(self.name, verb)) end
  return self.vm
end

--- The vmctl.Machine, for features that have no verb. Starts a machine that is new. Raises when the machine is off.
---@return vmctl.Machine
function methods:machine()
  return self:_running "machine"
end

--- Raises a failure of this machine, with the last lines of its console.
---@param verb string
---@param text string
---@param sections? string[] further parts of the report
function methods:_fail(verb, text, sections)
  local parts = { ("%s: %s: %s"):format(self.name, verb, text) }
  table.move(sections or {}, 1, #(sections or {}), 2, parts)
  if self.vm and not text:find("\nthe console's last lines:", 1, true) then
    parts[#parts + 1] = failure.section("console of " .. self.name, self.vm:console(), CONSOLE_LINES)
  end
  local journal = self.vm and self._spec.root and not text:find("\nthe journal of ", 1, true) and self.vm:_journal_tail()
  if journal then parts[#parts + 1] = failure.section("journal of " .. self.name, journal, CONSOLE_LINES) end
  self._run:raise(table.concat(parts, "\n"))
end

--- Starts the machine if it is off, and waits until it is ready.
---@return vmctl.ScenarioMachine
function methods:start()
  local ok, err = true, nil
  if self._state == "new" then
    ok, err = self._group:_start { self }
  elseif self._state == "off" then
    ok, err = self:_launch "kernel"
  end
  if not ok then self._run:raise(("%s: start: %s"):format(self.name, err)) end
  return self
end

--- Has the guest power itself off, and waits until it is off.
---@param opts? { timeout: number? }|number seconds
function methods:shutdown(opts)
  opts = options.check(opts, { timeout = "number" }, "shutdown")
  local vm = self:_running "shutdown"
  self._run:note("%s: shutdown", self.name)
  local ok, err = vm:shutdown { timeout = opts.timeout or self._run.timeout }
  self:_release()
  if not ok then self._run:raise(("%s: %s"):format(self.name, err)) end
end

--- Ends the machine at once, like a power failure.
function methods:crash()
  local vm = self:_running "crash"
  self._run:note("%s: crash", self.name)
  self:_release()
  vm:kill()
end

--- Has the guest power itself off, and boots it again, from its kernel also where the scenario has snapshots. Waits until it is ready.
---@param opts? { timeout: number? }|number seconds for the power-off
---@return vmctl.ScenarioMachine
function methods:reboot(opts)
  self:shutdown(opts)
  return self:start()
end

--- Waits until the machine is off without help of the test. Returns at once when it is off already.
---@param opts? { timeout: number? }|number seconds
function methods:wait_for_shutdown(opts)
  opts = options.check(opts, { timeout = "number" }, "wait_for_shutdown")
  if self._state == "off" then return end
  local vm, timeout = self:_running "wait_for_shutdown", opts.timeout or self._run.timeout
  local ended, err = vm:wait(timeout)
  if not ended then self:_fail("wait_for_shutdown", ("it still runs after %g s: %s"):format(timeout, err)) end
  self:_release():close()
end

function mt:__tostring()
  return ("vmctl.ScenarioMachine(%s, %s)"):format(self.name, self._state)
end

return M
