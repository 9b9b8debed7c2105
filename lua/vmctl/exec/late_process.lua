--- A command of an agent that gives commands no input (the reference's revision 0.1.9). Its input is gathered in a file of the guest,
--- and it begins when that has been ended.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local locks = require "vmctl.base.lock"

local M = {}

local CLEANUP = 10 -- seconds

---@class vmctl.ExecLateProcess has the methods of vmctl.ExecProcess
local methods = {}
local mt = { __name = "vmctl.ExecLateProcess", __index = methods }

--- Makes the command, which has not begun. Does not wait.
---@param input vmctl.ExecUpload
---@param begin fun(deadline: number): vmctl.ExecProcess|nil, string?, string?
---@param name string
---@param timeout number seconds for each call
---@return vmctl.ExecLateProcess
function M.new(input, begin, name, timeout)
  return setmetatable({ name = name, _input = input, _begin = begin, _timeout = timeout, _lock = locks.lock(),
    _begun = core.queue() }, mt)
end

local function fail(self, err, code)
  self._failure = self._failure or { ("%s: %s"):format(self.name, err), code }
  self._begun:wake()
  return nil, table.unpack(self._failure)
end

-- Does a step before its beginning. A failed step cannot be repeated: part of the input may be in the guest.
local function step(self, timeout, fn)
  local deadline = core.now() + (timeout or self._timeout)
  return self._lock:with(timeout or self._timeout, function()
    if self._failure then return nil, table.unpack(self._failure) end
    local ok, err, code = fn(deadline)
    if not ok then return fail(self, err, code) end
    if not self._failure then return ok end
    if self._process then self._process:close() end
    return nil, table.unpack(self._failure)
  end)
end

--- Writes to its standard input. Waits.
---@param data string
---@param timeout? number seconds
---@return true|nil, string?, string? code ESRCH: the input has been ended; EREMOTE with the guest's words …
function methods:write(data, timeout)
  if self._ended then return errors.fail("ESRCH", "%s: write: its input has been ended", self.name) end
  return step(self, timeout, function(deadline) return self._input:write(data, deadline) end)
end

--- Ends its standard input, and starts the command. Waits for both.
---@return true|nil, string?, string?
function methods:close_stdin(timeout)
  if self._ended then return true end
  self._ended = true
  return step(self, timeout, function(deadline)
    local err, code
    self._process, err, code = self._begin(deadline)
    if not self._process then return nil, err, code end
    self._process.name, self._process._timeout = self.name, self._timeout
    self._begun:wake()
    return true
  end)
end

-- Calls a method of the command once it has begun.
local function call(name)
  return function(self, timeout)
    local deadline = core.now() + (timeout or self._timeout)
    while not self._process do
      if self._failure then return nil, table.unpack(self._failure) end
      local ok, err, code = self._begun:wait(math.max(0, deadline - core.now()), ("%s: the end of its input"):format(self.name))
      if not ok then return nil, err, code end
    end
    return self._process[name](self._process, math.max(0, deadline - core.now()))
  end
end

--- As in vmctl.ExecProcess. They wait until another task has ended the input.
methods.read, methods.wait = call "read", call "wait"

--- Tells if the command has a standard input.
function methods:has_stdin() -- luacheck: ignore
  return true
end

--- Agents of this revision pass no signals on. Does not wait.
---@return nil, string, string code ENOTSUP
function methods:kill()
  return errors.fail("ENOTSUP", "%s: this agent takes no signals for a command without a terminal", self.name)
end

--- It has no terminal.
---@return nil, string, string code ENOTTY
function methods:resize()
  return errors.fail("ENOTTY", "%s: it has no terminal", self.name)
end

--- The agent cannot close its output.
---@return nil, string, string code ENOTSUP
function methods:close_stdout()
  return errors.fail("ENOTSUP", "%s: its output cannot be closed", self.name)
end

--- Drops the command. One that has begun goes on in the guest. Idempotent, never waits.
function methods:close()
  fail(self, "closed", "ECLOSED")
  if self._process then self._process:close() else self._input:discard(CLEANUP) end
  return true
end

mt.__close = methods.close

function mt:__tostring()
  return ("vmctl.ExecLateProcess(%s)"):format(self.name)
end

return M
