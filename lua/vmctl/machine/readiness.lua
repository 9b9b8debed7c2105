--- Waiting until a guest is ready: until its agent answers, or its QEMU has ended.
local core = require "vmctl.core"
local explain = require "vmctl.machine.explain"
local log = require "vmctl.log"
local system = require "vmctl.system"
local task = require "vmctl.base.task"

local M = {}

---@class vmctl.Readiness
local methods = {}
local mt = { __name = "vmctl.Readiness", __index = methods }

-- Kernels that trust none of their clocks count the interrupts of a timer, of which a busy host loses many.
local BAD_CLOCKS = { jiffies = true, ["refined-jiffies"] = true }

--- Makes it. Does not wait.
---@param name string of the machine
---@param clients vmctl.AgentClients
---@param qemu vmctl.QemuProcess
---@param report vmctl.Report of what is known where the wait fails
---@return vmctl.Readiness
function M.new(name, clients, qemu, report)
  return setmetatable({ _name = name, _clients = clients, _qemu = qemu, _report = report }, mt)
end

--- Has a function called beside each wait, in a task that ends with it. Does not wait.
---@param watch function
function methods:beside(watch) self._watch = watch end

local function warn_of_clock(self)
  local source = self._clients:told().clock_source
  if self._warned or not BAD_CLOCKS[source] then return end
  self._warned = true
  log.error("%s: warning: its clock source is %s, so its time may run slow: tell its kernel of a better one (append)", self._name, source)
end

local function await(self, timeout, of_system)
  local deadline = core.now() + timeout
  local ok, err, code = self._clients:ready(timeout)
  if not ok then return nil, err, code end
  warn_of_clock(self)
  if not of_system then return true end
  local exec
  exec, err, code = self._clients:exec()
  if not exec then return nil, err, code end
  return system.await(exec, math.max(0, deadline - core.now()))
end

--- Waits until the agent answers, which is asked each time, and then until the system is up.
---@param timeout number seconds for all of it
---@param of_system? boolean see vmctl.system.await
---@return number|nil seconds since the call, string? with the console's last lines, string? code ETIMEDOUT; ERESET: QEMU has ended;
--- EREMOTE: the system is degraded
---@return table? details of the system
function methods:wait(timeout, of_system)
  local begin = core.now()
  local ok, err, code, details = task.race {
    function() return await(self, timeout, of_system) end,
    function()
      local ended, why, how = self._qemu:wait(math.huge)
      return nil, ended and "it has ended" or why, ended and "ERESET" or how
    end,
    self._watch and function()
      self._watch()
      return core.sleep(math.huge) -- it returns only a failure, which ends them all
    end,
  }
  if ok then return core.now() - begin end
  if explain.is_broken(code) then code = "ERESET" end
  local text = ("not ready after %.1f s: %s"):format(core.now() - begin, err)
  if code == "EREMOTE" and details then return nil, ("%s: %s"):format(self._name, text), code, details end -- the journal says more
  err, code = select(2, self._report:explain(text, code))
  return nil, err, code, details
end

return M
