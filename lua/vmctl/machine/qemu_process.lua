--- The QEMU process of a guest: its exit status and its standard error.
local background = require "vmctl.base.background"
local console = require "vmctl.machine.console"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local process = require "vmctl.process"

local M = {}

local SAID = 16 * 1024  -- bytes of its standard error that are kept

---@class vmctl.QemuProcess
local methods = {}
local mt = { __name = "vmctl.QemuProcess", __index = methods }

--- Makes the object; `start` starts the process. It holds no reference to the machine, because its tasks would keep the machine from
--- being collected.
---@param name string of the guest
function M.new(name)
  return setmetatable({ _name = name, _known = core.queue(), _stderr = console.ring(SAID), _tasks = {} }, mt)
end

local function watch(self, child)
  local record, _, code = child:wait(math.huge)
  if not record and code ~= "ECHILD" then return end -- closed
  self._record = record or {}
  self._known:wake()
end

--- Starts the process, as vmctl.process.spawn does. Does not wait.
---@param argv table
---@return true|nil, string?, string?
function methods:start(argv)
  local child, err, code = process.spawn(argv)
  if not child then return nil, err, code end
  self._child, self.pid = child, child.pid
  self._tasks.stderr = background.spawn(self._name .. " stderr", self._stderr.follow, self._stderr, child.stderr)
  self._tasks.process = background.spawn(self._name .. " process", watch, self, child)
  return true
end

--- The exit status, nil while the process runs. Does not wait.
---@return { exit_code: integer?, signal: string? }|nil
function methods:record() return self._record end

--- The exit status of an ended process as text.
---@return string
function methods:ending()
  local record = self._record
  return "QEMU ended with " .. (record.signal and "signal " .. record.signal or "exit code " .. tostring(record.exit_code))
end

--- True if the process still runs, so that a call may need the guest. Does not wait.
---@return true|nil, string?, string? code ECLOSED, ERESET: it has ended
function methods:check()
  if self._closed then return errors.fail("ECLOSED", "%s: closed", self._name) end
  if self._record then return errors.fail("ERESET", "%s: %s", self._name, self:ending()) end
  return true
end

--- Waits for the end of the process: a method of this class, and of that for a QEMU on another machine.
---@param timeout number seconds
---@return { exit_code: integer?, signal: string? }|nil, string?, string? code ETIMEDOUT, ECLOSED; EHOSTDOWN: its machine went away
function M.wait(self, timeout)
  local deadline = core.now() + timeout
  while not self._record do
    local ok, err, code = self:check()
    if ok then ok, err, code = self._known:wait(deadline - core.now(), ("wait for the end of %s"):format(self._name)) end
    if not ok then return nil, err, code end
  end
  return self._record
end

methods.wait = M.wait

--- Waits for the end of the process and of its error output. A QEMU whose link has ended usually ends as well.
---@param timeout number seconds
function methods:await_last_words(timeout)
  if self._closed or not self:wait(timeout) then return end
  self._tasks.stderr:join(timeout)
end

--- The last lines of its standard error.
---@return string
function methods:last_words(lines) return self._stderr:tail(lines) end

--- Kills the process. Does not wait.
function methods:kill()
  if not self._closed then self._child:kill "KILL" end
end

--- Kills the process if it still runs, and wakes the tasks that wait for it. Idempotent, never waits.
function methods:close()
  self._closed = true
  for _, task in pairs(self._tasks) do task:cancel() end
  if self._child then self._child:close() end
  self._known:wake()
end

return M
