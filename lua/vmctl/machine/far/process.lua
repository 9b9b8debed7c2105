--- The QEMU of a guest on another machine, as vmctl.QemuProcess has one of this machine: its end comes on the stream of its launch.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local qemu_process = require "vmctl.machine.qemu_process"
local text = require "vmctl.text"
local wire = require "vmctl.remote.wire"

local M = {}

local SAID = 16 << 10   -- bytes

---@class vmctl.FarProcess
local methods = {}
local mt = { __name = "vmctl.FarProcess", __index = methods }

--- Makes the object; `start` gives it a stream.
---@param name string of the guest
---@param host vmctl.RemoteHost
function M.new(name, host)
  return setmetatable({ _name = name, _host = host, _known = core.queue(), _said = "" }, mt)
end

local function note(self, told)
  local code, signal = told.exit_code, told.signal
  self._record = {
    exit_code = math.type(code) == "integer" and code or nil,
    signal = type(signal) == "string" and log.one_line(signal, 20) or nil,
  }
  if type(told.said) == "string" then self._said = log.sanitize(told.said, SAID) end
end

-- Waits for the end of QEMU as the stream tells it. A stream that ends without a message was cut off.
local function watch(self)
  local told, err, code = wire.receive(self._stream, math.huge)
  if self._closed then return end
  if told then
    note(self, told)
  else
    local _, why, how = self._host:explain(err, code == "EPROTO" and "EOF" or code) -- it may have ended inside a line
    self._lost = { why, how }
  end
  self._known:wake()
end

--- Takes over the stream of the launch. Does not wait.
---@param stream vmctl.Stream
function methods:start(stream)
  self._stream = stream
  self._task = background.spawn(self._name .. " process", watch, self)
end

--- As vmctl.QemuProcess has it.
function methods:record() return self._record end

--- As vmctl.QemuProcess has it.
function methods:ending()
  local record = self._record
  return ("QEMU ended on %s with %s"):format(self._host.label,
    record.signal and "signal " .. record.signal or "exit code " .. tostring(record.exit_code))
end

--- True if the process still runs, as far as is known. Does not wait.
---@return true|nil, string?, string? code ECLOSED; ERESET: it has ended; EHOSTDOWN: its host went away
function methods:check()
  if self._closed then return errors.fail("ECLOSED", "%s: closed", self._name) end
  if self._record then return errors.fail("ERESET", "%s: %s", self._name, self:ending()) end
  if self._lost then return nil, ("%s: %s"):format(self._name, self._lost[1]), self._lost[2] end
  return true
end

--- As vmctl.QemuProcess has it.
methods.wait = qemu_process.wait

--- As vmctl.QemuProcess has it: its last words come with its end.
function methods:await_last_words(timeout)
  if not self._closed then self:wait(timeout) end
end

--- As vmctl.QemuProcess has it.
function methods:last_words(lines) return text.tail(self._said, lines) end

--- Kills the process. Does not wait.
function methods:kill()
  if self._closed or not self._stream then return end
  background.spawn("kill " .. self._name, wire.send, self._stream, { op = "kill" })
end

--- Closes the stream, with which the process ends. Idempotent, never waits.
function methods:close()
  self._closed = true
  if self._task then self._task:cancel() end
  if self._stream then self._stream:close() end
  self._known:wake()
end

return M
