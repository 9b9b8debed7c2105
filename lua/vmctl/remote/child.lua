--- The command that connects to `vmctl serve --stdio` on another machine, and its message when that cannot be reached.
local background = require "vmctl.base.background"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local pipes = require "vmctl.remote.pipes"
local process = require "vmctl.process"

local M = {}

local SAID = 4096       -- bytes of its standard error that are kept
local LAST_WORDS = 2    -- seconds for a command whose output has ended to end itself
local SHOWN = 400
local NOT_THERE, NOT_EXECUTABLE = 127, 126

---@class vmctl.RemoteChild
---@field pipes vmctl.PipePair its standard input and output
local methods = {}
local mt = { __name = "vmctl.RemoteChild", __index = methods }

local function listen(self, stream)
  for data in function() return (stream:read(SAID, math.huge)) end do self._said = (self._said .. data):sub(-SAID) end
end

--- Starts it. Does not wait.
---@param where table as vmctl.remote.where has it; program: its name in messages, if it is not to be asked for vmctl
---@return vmctl.RemoteChild|nil, string?, string? code ENOENT: no such program
function M.start(where)
  local argv = table.move(where.argv, 1, #where.argv, 1, {})
  argv.stdin, argv.stdout, argv.stderr, argv.death_signal, argv.sweep = "pipe", "pipe", "pipe", "KILL", true
  local child, err, code = process.spawn(argv)
  if not child then return nil, ("%s: %s"):format(where.label, err), code end
  local self = setmetatable({
    pipes = pipes.new(child.stdout, child.stdin, where.label), _child = child, _said = "", _where = where,
  }, mt)
  self._listener = background.spawn(where.label .. " stderr", listen, self, child.stderr)
  return self
end

-- Its last words, in one line.
local function said(self) return log.one_line(log.last_words(self._said, SHOWN), SHOWN) end

--- The reason why its output has ended, as a failure. Waits up to two seconds for its end.
---@param err string the failure that was seen
---@param code string
---@param output? string a line of its standard output, if it said nothing else
---@return nil, string message, string code
function methods:explain(err, code, output)
  local record = self._child:wait(LAST_WORDS)
  if record then self._listener:join(LAST_WORDS) end
  local name, words = self._where.program or self._where.argv[1], said(self)
  if words == "" and output then words = log.one_line(output, SHOWN) end
  local tail = words ~= "" and ": " .. words or ""
  local exit = record and record.exit_code
  if not self._where.program and (exit == NOT_THERE or exit == NOT_EXECUTABLE) then
    return errors.fail("ENOENT", "%s: no vmctl there (exit code %d%s): install it there (luarocks install vmctl, or `make install`), or " ..
      "name its path (command)", self._where.label, exit, tail)
  elseif record then
    local how = record.signal and "signal " .. record.signal or "exit code " .. tostring(exit)
    return errors.fail("EHOSTDOWN", "%s: %s ended with %s%s", self._where.label, name, how, tail)
  end
  return errors.fail(code == "EOF" and "EHOSTDOWN" or code, "%s: %s%s", self._where.label, err, tail)
end

--- Ends it. Idempotent, never waits.
function methods:close()
  self._listener:cancel()
  self.pipes:close()
  self._child:close()
end

--- Gives it a moment to end by itself, because its input has ended, and then ends it. Does not wait.
---@param seconds number
function methods:release(seconds)
  self.pipes:close()
  background.spawn("end of " .. self._where.label, function()
    local guard <close> = setmetatable({}, { __close = function() self:close() end }) -- luacheck: ignore
    self._child:wait(seconds)
  end)
end

return M
