--- One machine of a scenario: its life, its network, its screen. Verbs raise.
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
---@field vm? vmctl.Machine  while it runs: everything that machines can
local methods = {}
local mt = { __name = "vmctl.ScenarioMachine", __index = methods }

for _, part in ipairs { cards, commands, waits, transfer, units, screen } do
  for name, fn in pairs(part) do methods[name] = fn end
end

local OWN = { networks = true, lazy = true, boot_timeout = true } -- options that are not machine.launch's

--- Makes a machine that does not run yet.
---@param group vmctl.Scenario
---@param run vmctl.TestRun
---@param name string
---@param number integer its place among the machines, from 1
---@param spec table
---@return vmctl.ScenarioMachine
function M.new(group, run, name, number, spec)
  local for_launch = {}
  for key, value in pairs(spec) do
    if not OWN[key] then for_launch[key] = value end
  end
  return setmetatable({
    name = name, lazy = spec.lazy == true, number = number, _group = group, _run = run, _spec = for_launch, _state = "new",
    _networks = plans.names_of(spec.networks), _boot_timeout = spec.boot_timeout or BOOT, _owned = {},
  }, mt)
end

--- Says if it runs, as far as the scenario knows.
---@return "new"|"on"|"off" state new: not started in this test
function methods:state()
  return self._state
end

-- Options of a launch: as given, with a file for the console, cards for the networks and what a snapshot wants.
local function launch_options(self, how, folder)
  local nics, err, code = self:_cards(self._spec.nics or {})
  if not nics then return nil, err, code end
  local sandbox = self._spec.sandbox
  if how ~= "kernel" and sandbox ~= false then sandbox = "programs" end -- which read and write the snapshot
  return options.merge(self._spec, {
    name = self.name, sandbox = sandbox, nics = nics, console_log = self._run:path() .. "/" .. self.name .. ".console.log",
    args = how ~= "kernel" and snapshot.arguments(self._spec, folder, how == "copy") or self._spec.args,
  })
end

local function bring_up(self, how, folder)
  local ok, err, code
  if how == "copy" then
    ok, err, code = snapshot.resume(self.vm, folder, self._boot_timeout)
  else
    ok, err, code = self.vm:wait_ready(self._boot_timeout)
    if ok then ok, err, code = self:_configure_cards(self._boot_timeout) end
  end
  if not ok then return nil, err, code end
  self:_join_networks()
  return true
end

-- A wrong option raises there: here it is a reason not to start, and the user's line is further up.
local function try_launch(opts)
  local ok, vm, err, code = pcall(launch, opts)
  if ok then return vm, err, code end
  return nil, tostring(vm):gsub("^[^\n]-:%d+: ", ""), "EINVAL"
end

--- Launches it and waits until it is ready; it is not left half started.
---@param how "kernel"|"template"|"copy"
---@param folder? string of the snapshot
---@return true|nil, string?, string?
function methods:_launch(how, folder)
  local begin = core.now()
  local opts, err, code = launch_options(self, how, folder)
  if not opts then return nil, err, code end
  self.vm, err, code = try_launch(opts)
  if not self.vm then return nil, err, code end
  self._state = "on"
  local ok
  ok, err, code = bring_up(self, how, folder)
  if not ok then
    self:_release():close()
    self._run:note("%s: did not start: %s", self.name, err)
    return nil, err, code
  end
  self._run:note("%s: %s after %.2f s", self.name, how == "copy" and "started from its snapshot" or "booted", core.now() - begin)
  return true
end

--- Has something closed when it is off.
---@param closeable { close: function }
function methods:_own(closeable)
  table.insert(self._owned, closeable)
end

local function close_owned(self)
  for _, each in ipairs(self._owned) do each:close() end
  self._owned = {}
end

--- Gives its vm away: it is off then.
function methods:_release()
  local vm = self.vm
  close_owned(self)
  self.vm, self._state = nil, "off"
  return vm
end

--- Ends it with its test.
function methods:_forget()
  close_owned(self)
  if self.vm then self.vm:close() end
  self.vm, self._state = nil, "new"
end

--- Says if it has a screen.
---@return boolean
function methods:has_screen()
  return self._spec.display ~= nil and self._spec.display ~= false
end

--- The running vm, for a verb: the first one starts the scenario. Raises for a machine that is off.
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

--- The machine itself, for what no verb does; a machine that is new is started. Raises for one that is off.
---@return vmctl.Machine
function methods:machine()
  return self:_running "machine"
end

--- Raises a failure of this machine, with its console's last lines.
---@param verb string
---@param text string
---@param sections? string[] further parts of the report
function methods:_fail(verb, text, sections)
  local parts = { ("%s: %s: %s"):format(self.name, verb, text) }
  table.move(sections or {}, 1, #(sections or {}), 2, parts)
  if self.vm and not text:find("\nthe console's last lines:", 1, true) then
    parts[#parts + 1] = failure.section("console of " .. self.name, self.vm:console(), CONSOLE_LINES)
  end
  self._run:raise(table.concat(parts, "\n"))
end

--- Starts it, if it is off, and waits until it is ready.
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

--- Powers it off by its own means, and waits for that.
---@param opts? { timeout: number? }|number seconds
function methods:shutdown(opts)
  opts = options.check(opts, { timeout = "number" }, "shutdown")
  local vm = self:_running "shutdown"
  self._run:note("%s: shutdown", self.name)
  local ok, err = vm:shutdown { timeout = opts.timeout or self._run.timeout }
  self:_release()
  if not ok then self._run:raise(("%s: %s"):format(self.name, err)) end
end

--- Ends it at once, as a power failure does.
function methods:crash()
  local vm = self:_running "crash"
  self._run:note("%s: crash", self.name)
  self:_release()
  vm:kill()
end

--- Powers it off by its own means and boots it again, always from its kernel. Waits until it is ready.
---@param opts? { timeout: number? }|number seconds for the power-off
---@return vmctl.ScenarioMachine
function methods:reboot(opts)
  self:shutdown(opts)
  return self:start()
end

--- Waits until it has ended by itself. One that is off already has.
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
