--- A command that runs in a guest, seen from the host.
local channel = require "vmctl.base.channel"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local pieces = require "vmctl.base.pieces"
local result = require "vmctl.exec.result"
local signals = require "vmctl.signals"
local torn = require "vmctl.exec.torn"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local KEPT = 1 << 20 -- bytes of output that `wait` keeps for a later `read`
local ENTRY = 64     -- bytes that an entry for it counts, so that those of single bytes are not many
local KILL = 9
local TELL_TIMEOUT, TELL_AGAIN, TELL_PAUSE = 10, 1, 0.05 -- seconds: for a signal to be taken; for attempts; between them
local TAIL_QUIET, TAIL_MOST = 0.025, 2 -- seconds: a reference agent's terminal output may come after its Exit

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
    _mode = mode, _revision = revision, _lock = channel.lock(), _kept = {}, _kept_bytes = 0,
    _first = 1, _last = 0, name = ("%s on %s"):format(title, target),
  }, mt)
end

local function lost(self, err, code)
  if code == "ETIMEDOUT" or code == "ECANCELED" or code == "EBUSY" then
    return nil, ("%s: %s"):format(self.name, err), code
  end
  local what = code == "EOF" and "the link ended" or err
  if code ~= "ECLOSED" and code ~= "EPROTO" and code ~= "ETOOBIG" then code = "ERESET" end
  self._failure = { ("%s: %s before the exit code came"):format(self.name, what), code }
  self._stream:close()
  return nil, table.unpack(self._failure)
end

local function settle(self, record)
  self._record = record
  return "end"
end

-- The record of what an agent said of the end.
local function conclude(self, said)
  local record = { lingering = said.lingering }
  if said.error ~= "" then record.error = said.error end
  if said.exit_code ~= -1 then
    record.exit_code = said.exit_code
  elseif said.signal or not record.error then
    record.signal = said.signal and signals.name(said.signal) or "unknown"
  end
  return settle(self, record)
end

local function read_message(self, timeout)
  if self._frames then return self._frames:read(timeout) end
  return wire.read(self._stream, timeout)
end

-- Output that a reference agent sends behind Exit in a terminal session, until it has been silent twice: this process may have
-- slept the first time.
local function read_tail(self)
  if not self._frames then return end
  local deadline, silences = core.now() + TAIL_MOST, 0
  while silences < 2 and core.now() < deadline do
    local before = self._stream:stats().bytes_in
    local type, payload, code = self._frames:read(TAIL_QUIET)
    if type == T.STDOUT then self:_keep(payload, "stdout", KEPT) elseif code ~= "ETIMEDOUT" then break end
    silences = not type and self._stream:stats().bytes_in == before and silences + 1 or 0
  end
end

local function on_exit(self, payload)
  local code, signal, more = wire.decode_exit(payload)
  if not code then return lost(self, signal, "EPROTO") end
  read_tail(self)
  return conclude(self, { exit_code = code, signal = signal, error = more and more.error or "",
    lingering = more and more.lingering })
end

local function on_result(self, payload)
  local response, err, code = wire.decode_response(payload)
  if not response then return lost(self, err, code) end
  if not self._streamed then
    if #response.stdout > 0 then self:_keep(response.stdout, "stdout", math.huge) end
    if #response.stderr > 0 then self:_keep(response.stderr, "stderr", math.huge) end
  end
  return conclude(self, response)
end

-- The next part of an answer that is decoded as it comes. Its output does not count where output has come before it.
local function read_result(self, timeout)
  local part, name, code = self._result:read(timeout)
  if not part then return lost(self, name, code) end
  if type(part) == "table" then return conclude(self, part) end
  if self._streamed then return "", "none" end
  return part, name
end

-- Reads one message, or a part of a long one. Returns data and the stream's name; or "end" when the record is there; or nil,
-- message, code.
local function step(self, timeout)
  if self._record then return "end" end
  if self._failure then return nil, table.unpack(self._failure) end
  if self._result then return read_result(self, timeout) end
  local type, payload, code, refused = read_message(self, timeout)
  if refused and refused.type == T.EXEC_RESULT then
    self._result = result.new(self._stream)
    return "", "none"
  end
  if not type then return lost(self, payload, code) end
  if type == T.STDOUT or type == T.STDERR then
    self._streamed = true
    if payload == "" then return "", "none" end -- nothing that could be kept, however many come
    return payload, type == T.STDOUT and "stdout" or "stderr"
  elseif type == T.EXIT then
    return on_exit(self, payload)
  elseif type == T.EXEC_RESULT then
    return on_result(self, payload)
  elseif not wire.from_guest(type) then
    return lost(self, ("a message of type %d, which no agent sends: the framing is lost"):format(type), "EPROTO")
  end
  return "", "none" -- of a later revision: skipped
end

-- Keeps output for a later `read`; where all of it would be above `most` bytes, only its amount.
function methods:_keep(data, stream, most)
  if data == "" then return end
  local entry = self._last >= self._first and self._kept[self._last]
  local cost = #data + (entry and entry.stream == stream and 0 or ENTRY)
  if self._kept_bytes + cost > most then
    self.discarded = (self.discarded or 0) + #data
    return
  end
  if cost > #data then
    entry = { data = pieces.new(), stream = stream }
    self._last = self._last + 1
    self._kept[self._last] = entry
  end
  entry.data:add(data)
  self._kept_bytes = self._kept_bytes + cost
end

function methods:_take_kept()
  local entry = self._kept[self._first]
  self._kept[self._first] = nil
  self._first = self._first + 1
  self._kept_bytes = self._kept_bytes - entry.data.bytes - ENTRY
  return entry.data:text(), entry.stream
end

--- Reads the next output, in the order in which it came. Waits.
---@param timeout? number seconds
---@return string|nil data, string stream "stdout" or "stderr"; nil, message, code: EOF after the last output (then `wait`
--- has the record), ETIMEDOUT, ERESET when the link was lost
function methods:read(timeout)
  if self._kept[self._first] then return self:_take_kept() end
  local deadline = core.now() + (timeout or self._timeout or math.huge)
  repeat
    local data, stream, code = step(self, deadline - core.now())
    if not data then return nil, stream, code end
    if stream == "stdout" or stream == "stderr" then return data, stream end
    if not self._record and core.now() >= deadline then -- messages that say nothing do not extend the time
      return errors.fail("ETIMEDOUT", "%s: no output in time", self.name)
    end
  until self._record
  if self._kept[self._first] then return self:read(timeout) end
  return nil, ("%s: end of output"):format(self.name), "EOF"
end

--- Waits for the end. Unread output is kept for `read` up to 1 MiB; of the rest only the amount (`discarded`).
---@param timeout? number seconds
---@return { exit_code: integer?, signal: string?, error: string?, lingering: true? }|nil record: `error` of a command that could
-- not be started (exit code 126 or 127) or whose end the agent did not see; `lingering` when others still hold its output
---@return string? message, string? code ERESET: the link was lost and how the command ended is unknown
function methods:wait(timeout)
  local deadline = core.now() + (timeout or self._timeout or math.huge)
  while not self._record do
    local data, stream, code = step(self, deadline - core.now())
    if not data then return nil, stream, code end
    if stream == "stdout" or stream == "stderr" then
      self:_keep(data, stream, KEPT)
    end
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

--- Says if the command has a standard input.
---@return boolean
function methods:has_stdin()
  return self._mode == T.EXEC_PIPE or self._mode == T.EXEC_TTY
end

-- An agent of the reference lets a terminal session live on when its host closes: at both revisions.
local function kill_session(self)
  if not self._frames or self._record or self._failure then return end
  self._stream:write_frame(T.SIGNAL, string.char(KILL), 0)
end

--- Drops the command. An agent of ours ends it. One of the reference gets SIGKILL for a terminal session, if the connection takes
--- that at once: not behind input that it does not read; it ends other commands at its newer revision, unless their input has been
--- ended, and none at 0.1.9. Idempotent, never waits.
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
