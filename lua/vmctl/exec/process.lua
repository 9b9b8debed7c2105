--- A command that runs in a guest, seen from the host.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local kept_output = require "vmctl.exec.kept_output"
local locks = require "vmctl.base.lock"
local messages = require "vmctl.exec.process_messages"
local signals = require "vmctl.signals"
local torn = require "vmctl.exec.torn"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local KILL = 9
local TELL_TIMEOUT, TELL_AGAIN, TELL_PAUSE = 10, 1, 0.05 -- seconds: for a signal to be taken; for attempts; between them

---@class vmctl.ExecProcess
local methods = {}
local mt = { __name = "vmctl.ExecProcess", __index = methods }

--- Wraps a connection on which the request has been sent.
---@param stream vmctl.Stream
---@param mode integer T.EXEC …
---@param revision string
---@param title string for messages
function M.new(stream, mode, revision, title, target)
  return setmetatable({
    _stream = stream, _frames = mode == T.EXEC_TTY and revision ~= "vmctl" and torn.new(stream) or nil,
    _mode = mode, _revision = revision, _lock = locks.lock(), _kept = kept_output.new(), name = ("%s on %s"):format(title, target),
  }, mt)
end

--- Reads the next output, in the order in which it came. Waits.
---@param timeout? number seconds
---@return string|nil data, string stream "stdout" or "stderr"; nil, message, code: EOF after the last output (then `wait`
--- has the record), ETIMEDOUT, ERESET when the link was lost
function methods:read(timeout)
  if not self._kept:is_empty() then return self._kept:take() end
  local deadline = core.now() + (timeout or self._timeout or math.huge)
  repeat
    local data, stream, code = messages.step(self, deadline - core.now())
    if not data then return nil, stream, code end
    if stream == "stdout" or stream == "stderr" then return data, stream end
    if not self._record and core.now() >= deadline then -- empty messages do not extend the time
      return errors.fail("ETIMEDOUT", "%s: no output in time", self.name)
    end
  until self._record
  if not self._kept:is_empty() then return self._kept:take() end
  return nil, ("%s: end of output"):format(self.name), "EOF"
end

--- Waits for the end. Unread output is kept for `read` up to 1 MiB; the rest is only counted (`discarded`).
---@param timeout? number seconds
---@return { exit_code: integer?, signal: string?, error: string?, lingering: true? }|nil record: `error` of a command that could
-- not be started (exit code 126 or 127) or whose end the agent did not see; `lingering` when others still hold its output
---@return string? message, string? code ERESET: the link was lost and how the command ended is unknown
function methods:wait(timeout)
  local deadline = core.now() + (timeout or self._timeout or math.huge)
  while not self._record do
    local data, stream, code = messages.step(self, deadline - core.now())
    if not data then return nil, stream, code end
    if stream == "stdout" or stream == "stderr" then messages.keep(self, data, stream) end
    if not self._record and core.now() >= deadline then -- even if output still comes
      return errors.fail("ETIMEDOUT", "%s: it still runs", self.name)
    end
  end
  return self._record
end

local function send(self, what, type, payload, timeout)
  if self._record then return errors.fail("ESRCH", "%s: %s: it has ended", self.name, what) end
  local ok, err, code = self._lock:with(timeout, function()
    return self._stream:write_frame(type, payload, timeout)
  end)
  if not ok then return nil, ("%s: %s: %s"):format(self.name, what, err), code end
  return true
end

-- Unread input blocks all later messages on the connection. Our agent is therefore told over a second connection, repeatedly
-- while it may not have started the command yet.
local function tell(self, what, payload, timeout)
  timeout = timeout or TELL_TIMEOUT
  if not self._beside or not self._fed or self._record then
    return send(self, what, T.SIGNAL, payload, timeout)
  end
  local deadline, last_try = core.now() + timeout, core.now() + math.min(timeout, TELL_AGAIN)
  while true do
    local ok, err, code = self._beside((payload .. "\0"):sub(1, 2), deadline - core.now())
    if ok or code ~= "ESRCH" or self._record or core.now() > last_try or not core.sleep(TELL_PAUSE) then return ok, err, code end
  end
end

--- Writes to its standard input. Waits while the command does not read.
---@param data string
---@param timeout? number seconds
---@return true|nil, string?, string? code EPIPE and others; ESRCH once it has ended; ENOTSUP: it was started without a stdin
function methods:write(data, timeout)
  if not self:has_stdin() then
    return errors.fail("ENOTSUP", "%s: it has no standard input", self.name)
  end
  self._fed = true
  for at = 1, #data, wire.CHUNK do
    local ok, err, code = send(self, "write", T.STDIN, data:sub(at, at + wire.CHUNK - 1), timeout)
    if not ok then return nil, err, code end
  end
  return true
end

--- Ends its standard input (in a terminal: the end-of-file character). Waits until that is sent.
---@return true|nil, string?, string?
function methods:close_stdin(timeout)
  if self._mode == T.EXEC_TTY then return send(self, "close stdin", T.STDIN, "\4", timeout) end
  if self._mode ~= T.EXEC_PIPE then return true end
  return send(self, "close stdin", T.STDIN, "", timeout)
end

--- Sets the size of its terminal. Waits until that is sent.
---@return true|nil, string?, string? code ENOTTY
function methods:resize(rows, cols, timeout)
  if self._mode ~= T.EXEC_TTY then return errors.fail("ENOTTY", "%s: it has no terminal", self.name) end
  return send(self, "resize", T.RESIZE, wire.encode_resize(rows, cols), timeout)
end

--- Sends a signal. Agents of the reference let a command be signalled only with a terminal or a standard input that has not been
--- ended, and a command that is PID 1 of its namespace there ignores most of them, but not "KILL". Waits until it is sent.
---@param signal? string|integer "TERM" by default
---@return true|nil, string?, string? code ENOTSUP: it takes no signals
function methods:kill(signal, timeout)
  local number = signals.number(signal or "TERM")
  if self._revision ~= "vmctl" and (self._mode == T.EXEC or self._mode == T.EXEC_STREAM) then
    return errors.fail("ENOTSUP", "%s: this agent takes no signals for a command without standard input", self.name)
  end
  return tell(self, "signal", string.char(number), timeout)
end

--- Closes its standard output: the next write to it gets SIGPIPE, as in a shell's pipeline.
---@return true|nil, string?, string? code ENOTSUP: only an agent of ours can, and only without a terminal
function methods:close_stdout(timeout)
  if self._revision ~= "vmctl" or self._mode == T.EXEC_TTY then
    return errors.fail("ENOTSUP", "%s: its output cannot be closed", self.name)
  end
  return tell(self, "close stdout", wire.CLOSE_OUTPUT, timeout)
end

--- Tells if the command has a standard input.
---@return boolean
function methods:has_stdin()
  return self._mode == T.EXEC_PIPE or self._mode == T.EXEC_TTY
end

-- An agent of the reference lets a terminal session live on when its host closes: at both revisions.
local function kill_session(self)
  if not self._frames or self._record or self._failure then return end
  self._stream:write_frame(T.SIGNAL, string.char(KILL), 0)
end

--- Drops the command. An agent of ours ends it. One of the reference is sent SIGKILL for a terminal session, if the connection takes
--- that at once (unread input may prevent it); its newer revision ends other commands, unless their input has been ended, and 0.1.9
--- ends none. Idempotent, never waits.
function methods:close()
  kill_session(self)
  self._stream:close()
  if not self._record and not self._failure then
    self._failure = { ("%s: closed"):format(self.name), "ECLOSED" }
  end
  return true
end

mt.__close = methods.close
mt.__gc = methods.close

function mt:__tostring()
  return ("vmctl.ExecProcess(%s)"):format(self.name)
end

return M
