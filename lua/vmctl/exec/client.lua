--- The host's side of the exec protocol: for our agent and for both revisions of the reference's.
local core = require "vmctl.core"
local address = require "vmctl.net.address"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local files = require "vmctl.exec.files"
local forward = require "vmctl.exec.forward"
local late_process = require "vmctl.exec.late_process"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local pipeline = require "vmctl.exec.pipeline"
local prepare = require "vmctl.exec.prepare"
local probe = require "vmctl.exec.probe"
local process = require "vmctl.exec.process"
local request = require "vmctl.exec.request"
local runner = require "vmctl.process.collect"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local TIMEOUT, DIAL_TIMEOUT = 600, 10    -- seconds: a command, a connection

---@class vmctl.ExecClient
local methods = {}
local mt = { __name = "vmctl.ExecClient", __index = methods }

local known = { timeout = "number", dial_timeout = "number", revision = { "vmctl", "0.2", "0.1.9" } }

--- A client for the exec agent at an address. Does not connect yet; each command has a connection of its own.
---@param where string|table|function e.g. "vsock:3:5000", "hybrid:/run/vm.sock:5000", "unix:/run/agent.sock"
---@param opts? { timeout: number?, dial_timeout: number?, revision: string? } seconds for a command (600) and for a connection
-- (10); the agent's revision, if it is known: "vmctl", "0.2" or "0.1.9" (else the client finds out)
---@return vmctl.ExecClient|nil, string?, string? code EINVAL
function M.new(where, opts)
  opts = options.check(opts or {}, known, "exec.client")
  local at, err, code = address.parse(where)
  if not at then return nil, err, code end
  return setmetatable({
    address = at, revision = opts.revision, _given = opts.revision ~= nil, _timeout = opts.timeout or TIMEOUT,
    _dial_timeout = opts.dial_timeout or DIAL_TIMEOUT,
  }, mt)
end

function methods:_dial(deadline)
  local timeout = math.min(self._dial_timeout, deadline - core.now())
  return dial.dial(self.address, { timeout = timeout, format = wire.format })
end

local NOTHING = { stdout = "", stderr = "" }

local function is_function(value) return type(value) == "function" end

-- Opens a connection and sends its first message. A function as payload is called when the connection is open.
function methods:_open(type, payload, deadline)
  local s, err, code = self:_dial(deadline)
  if not s then return nil, err, code end
  if is_function(payload) then payload = payload() end
  local ok
  ok, err, code = s:write_frame(type, payload, deadline - core.now())
  if not ok and code ~= "EPIPE" and code ~= "ECONNRESET" then -- there may still be an answer to read
    s:close()
    return nil, err, code
  end
  return s
end

-- One message and the first answer to it. An agent that does not know the type closes: EOF or ECONNRESET.
function methods:_ask(type, payload, deadline)
  local s <close>, err, code = self:_open(type, payload, deadline)
  if not s then return nil, err, code end
  local answer, body
  repeat
    answer, body, code = wire.read(s, deadline - core.now())
    if answer ~= T.STDOUT and answer ~= T.STDERR then return answer, body, code end
  until core.now() >= deadline
  return errors.fail("ETIMEDOUT", "read %s: no answer in time", s:label())
end

-- Agents of the reference get the plain mode when output may come at the end, or has to: with both streams busy, their other
-- modes corrupt the framing (docs/wire/exec.md#traps).
local function choose_mode(parsed, revision, wants_input, at_once)
  if parsed.options.tty then return T.EXEC_TTY end
  if wants_input and revision ~= "0.1.9" then return T.EXEC_PIPE end
  return (at_once or revision == "vmctl") and T.EXEC_STREAM or T.EXEC
end

-- Sends a signal for a command over a separate connection.
function methods:_signal(token, title, payload, timeout)
  local answer, text, code = self:_ask(T.SIGNAL, payload .. token, core.now() + timeout)
  if answer == T.READY then return true end
  if not answer and probe.closed(code) then return errors.fail("ESRCH", "%s: signal: it has ended", title) end
  return nil, ("%s: signal: %s"):format(title, text), code
end

function methods:_begin(parsed, mode, deadline)
  local title = request.title(parsed)
  if parsed.options.user and self.revision == "0.1.9" then
    return errors.fail("ENOTSUP", "%s on %s: this agent cannot change the user", title, self.address)
  end
  local token = self.revision == "vmctl" and ("%016x%016x"):format(math.random(0), math.random(0)) or nil
  local body, err, code = request.encode(parsed, self.revision, mode, token)
  if not body then return nil, err, code end
  if #body > 1 << 20 then
    return errors.fail("ETOOBIG", "%s on %s: a request of %d bytes, the limit is 1 MiB", title, self.address, #body)
  end
  local s
  s, err, code = self:_open(mode, body, deadline)
  if not s then return nil, ("%s: %s"):format(title, err), code end
  s:set_timeout { read = math.huge, write = math.huge } -- the command's own limits count
  local p = process.new(s, mode, self.revision, title, tostring(self.address))
  p._timeout = self._timeout
  p._beside = token and function(payload, timeout) return self:_signal(token, p.name, payload, timeout) end
  return p
end

-- As _begin, for a command that may need more than a request.
local function begin_prepared(self, parsed, choose, deadline, input)
  local prepared, err, code = prepare.prepare(self, parsed, self.revision, deadline, input)
  if not prepared then return nil, err, code end
  local p
  p, err, code = self:_begin(prepared, choose(prepared), deadline)
  if not p then prepare.discard(prepared) end
  return p, err, code, prepared
end

local function start_late(self, parsed, timeout)
  local input = prepare.input(self)
  local function choose(prepared) return choose_mode(prepared, self.revision, false, parsed.options.merge_stderr) end
  local function begin(deadline) return begin_prepared(self, parsed, choose, deadline, input) end
  return late_process.new(input, begin, ("%s on %s"):format(request.title(parsed), self.address), timeout)
end

--- Starts a command. Waits until the agent has the request.
---@param command vmctl.Command|string a program and its arguments, exactly as given; a string is a shell command. Options by name:
-- cwd, env, user, tty with rows and cols, timeout (of each call of the process), merge_stderr, keep (false: the rest of its process
--- group is killed at its end; else it lives on, with agents of ours), stdin = false for none, "whole" for one that may be gathered
--- before the command begins. (Agents of the reference's revision 0.1.9 give commands no input, see has_stdin; with "whole" the
--- command has an input, and begins when that has been ended.)
---@return vmctl.ExecProcess|nil process with read, write, close_stdin, resize, kill, wait, close, string?, string?
function methods:start(command)
  local parsed = request.parse(command, "start")
  local timeout = parsed.options.timeout or self._timeout
  local deadline = core.now() + timeout
  local revision, err, code = self:probe(math.min(timeout, self._dial_timeout))
  if not revision then return nil, err, code end
  local opts = parsed.options
  if opts.stdin == "whole" and revision == "0.1.9" and not opts.tty then return start_late(self, parsed, timeout) end
  local wants_input = opts.stdin ~= false
  opts.stdin = nil
  local p
  p, err, code = begin_prepared(self, parsed, function(prepared) return choose_mode(prepared, revision, wants_input, true) end, deadline)
  if not p then return nil, err, code end
  p._timeout = timeout
  return p
end

local function run_once(self, parsed, deadline)
  local revision, err, code = self:probe(math.min(deadline - core.now(), self._dial_timeout))
  if not revision then return nil, err, code end
  local at_once = parsed.options.on_output ~= nil and parsed.options.merge_stderr
  local p, prepared
  p, err, code, prepared = begin_prepared(self, parsed, function(made)
    return choose_mode(made, revision, made.options.stdin ~= nil, at_once)
  end, deadline)
  if not p then return nil, err, code end
  local result, partial
  result, err, code, partial = runner.finish(p, prepared.options, deadline)
  if code == "ERESET" then self:forget() end
  if revision == "vmctl" and request.is_not_ours(result or partial or NOTHING) then
    self:forget()
    return errors.fail("ESTALE", "%s on %s: the agent is not vmctl's", request.title(parsed), self.address)
  end
  return result, err, code, partial
end

-- Runs the command again after the connection was lost and the agent has come back, as often as `retry` says.
local function run_again(self, parsed, deadline)
  local left = parsed.options.retry == true and math.huge or parsed.options.retry
  while true do
    local result, err, code, partial = run_once(self, parsed, deadline)
    if result or code ~= "ERESET" or left < 1 then return result, err, code, partial end
    left = left - 1
    log.info("%s: %s; it is run again", request.title(parsed), err)
    local ready, why, how = self:ready(deadline - core.now())
    if not ready then return nil, ("%s; waiting for the agent: %s"):format(err, why), how, partial end
  end
end

--- Runs a command to its end. Waits.
---@param command vmctl.Command|string as for start; further options: stdin (string, stream or function), timeout (seconds for all
--- of it), check (an exit code other than 0 is a failure, code "EEXIT"), max_output (bytes kept of each stream, 64 MiB; of a
--- longer one the head and the tail are kept, and `truncated` says how much is missing), on_output(data, "stdout"|"stderr")
-- (called instead of keeping the output; with an agent of the reference, which mixes up two streams, only merge_stderr and a terminal
--- give output before the end), retry (for a command that may run twice: it is run again when the connection was
--- lost, by a reboot for instance: so many times, or, if true, until the time is over; not with an input that can be read once)
---@return { stdout: string, stderr: string, exit_code: integer?, signal: string?, error: string?, lingering: true? }|nil result:
-- `error` with exit code 126 or 127 of a command that could not be started; `lingering` when a process that it left behind still
-- holds its output, of which nothing more is kept
---@return string? message, string? code ETIMEDOUT, ERESET, ESTALE (another agent is there than the client was told or has found
--- before; nothing was run) …, table? partial the output until then
function methods:run(command)
  local parsed = request.parse(command, "run")
  local deadline = core.now() + (parsed.options.timeout or self._timeout)
  if not parsed.options.retry then return run_once(self, parsed, deadline) end
  if parsed.options.stdin ~= nil and type(parsed.options.stdin) ~= "string" then
    error("run: option 'retry': the input can be read only once", 2)
  end
  return run_again(self, parsed, deadline)
end

--- Runs a pipeline of commands here (a stage may name another target with `on`). See vmctl.pipeline.
function methods:pipeline(stages)
  return pipeline.run(stages, self)
end

for _, part in ipairs { files, forward } do
  for name, fn in pairs(part) do methods[name] = fn end
end
for name, fn in pairs(probe.methods) do methods[name] = fn end

function mt:__tostring()
  return ("vmctl.ExecClient(%s)"):format(self.address)
end

return M
