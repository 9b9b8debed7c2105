--- The agent's commands: starts them, feeds them, reports their end after their last output, and ends them with their host.
local answer_output = require "vmctl.exec.answer_output"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local job = require "vmctl.process.job"
local launch = require "vmctl.exec.launch"
local log = require "vmctl.log"
local signals = require "vmctl.signals"
local task = require "vmctl.base.task"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local SEND_TIMEOUT = 30
local GRACE = 2           -- seconds for which a host may still send when it has its answer
local LINGER = job.LINGER
local CANNOT = 126        -- the exit code of a command that cannot be run
local PIPES = 4 << 20     -- bytes: more than both pipes of a command can hold
local INPUT_CLOSED = { EPIPE = true, ECLOSED = true } -- of a write to a child: further input is dropped
local ENDED = { EOF = true, ECLOSED = true, ECANCELED = true } -- of a read from a child: nothing is lost

-- Writes to the child's standard input, and watches the host meanwhile: a child that does not read must not hide its end.
-- Returns nil when the host has gone; nil, message when its input is lost.
local function feed(conn, child, data, mode)
  local input = child.stdin
  local ok, err, code, taken = input:write(data, LINGER)
  while not ok and code == "ETIMEDOUT" do
    if conn:hung_up() then return nil end
    data = data:sub(taken + 1)
    if #data > 0 then
      ok, err, code, taken = input:write(data, LINGER)
    else
      ok, err, code = input:flush(LINGER)
      taken = 0
    end
  end
  if ok or INPUT_CLOSED[code] or code == "EIO" and mode == T.EXEC_TTY then return true end
  return nil, "its input is lost: " .. err
end

-- The running commands by the token of their request. A host whose connection is full of input signals over another one.
local running = {}

local function register(token, entry)
  if token then running[token] = entry end
  return setmetatable({}, { __close = function()
    if token then running[token] = nil end
  end })
end

local function signal(entry, payload)
  if payload:sub(1, 2) == wire.CLOSE_OUTPUT and entry.merge then
    entry.merge:drop(entry.child.stdout)
  else
    entry.child:kill(math.min(payload:byte(1), 64))
  end
end

--- Signal as a first message, which only a host of ours sends: two bytes as on the command's own connection, and its token.
-- A command that has ended gets no answer, as any first message that makes no sense.
function M.signal(conn, payload)
  local entry = running[payload:sub(3)]
  if not entry then return errors.fail("ESRCH", "a signal for a command that is not there") end
  signal(entry, payload)
  return conn:write_frame(T.READY, "", SEND_TIMEOUT)
end

-- Reads the host's messages while the command runs. When the host has gone, ends the command.
local function listen(conn, entry, mode)
  local child = entry.child
  while true do
    local type, payload = conn:read_frame(math.huge)
    if not type then break end
    if type == T.STDIN and mode == T.EXEC_PIPE and payload == "" then
      child.stdin:shutdown(LINGER)
      child.stdin:close()
    elseif type == T.STDIN and child.stdin then
      local fed
      fed, entry.lost = feed(conn, child, payload, mode)
      if not fed then break end
    elseif type == T.SIGNAL and #payload > 0 then
      signal(entry, payload)
    elseif type == T.RESIZE and mode == T.EXEC_TTY then
      local rows, cols = wire.decode_resize(payload)
      if rows then child.stdin:resize(rows, cols) end
    end
  end
  job.hang_up(child, mode == T.EXEC_TTY and "HUP" or "TERM")
end

-- Sends all output before the exit: the merge ends with the pipes. Other processes may keep a pipe open; it is read until they are
-- silent for a moment, or have sent more than a pipe can have held when the command ended. Returns a message if output is lost.
local function drain(conn, merge)
  local quiet, before = 0, conn:stats().bytes_out
  while quiet < LINGER and conn:stats().bytes_out - before < PIPES do
    local ok, err, code = merge:wait(LINGER / 4)
    if ok or code == "ECANCELED" then return nil end
    if code ~= "ETIMEDOUT" then return "its output is lost: " .. err end
    quiet = merge:idle() and quiet + LINGER / 4 or 0
  end
  merge:finish()
  merge:wait(math.huge)
end

-- Describes the end of a command for wire.encode_exit and encode_response. A command whose input or output was lost has no exit code.
local function exit_of(record, lingering, lost)
  if lost then return { exit_code = -1, error = lost } end
  local signalled = record.signal and signals.number(record.signal)
  return { exit_code = signalled and -1 or record.exit_code, signal = signalled, lingering = lingering or nil }
end

-- Describes a command whose end was not seen, because the host program has the kernel reap its children for instance. A command that
-- is ended with its server has no result; its host sees the link end.
local function unseen(why, code)
  if code ~= "ECHILD" then return nil, why end
  return { exit_code = -1, error = why }
end

-- Ends a command whose output cannot be delivered: the host has gone, or the command itself has read some of it.
local function watch(child, merge)
  local ok, _, code = merge:wait(math.huge)
  if not ok and code ~= "ECANCELED" then job.hang_up(child, "TERM") end
end

-- Sends a started child's output to the host. Returns how it ended after the last output.
local function supervise(conn, child, token, mode, ...)
  local guard <close> = child -- luacheck: ignore
  local merge, err = core.merge(conn, ...)
  if not merge then return { exit_code = CANNOT, error = err } end
  local entry = { child = child, merge = merge }
  local registered <close> = register(token, entry) -- luacheck: ignore
  return task.scope(function(scope)
    task.spawn_in(scope, listen, conn, entry, mode)
    task.spawn_in(scope, watch, child, merge)
    local record, why, code = child:wait(math.huge)
    local lost = record and drain(conn, merge)
    scope:cancel()
    if not record then return unseen(why, code) end
    return exit_of(record, job.leave_output(child), entry.lost or lost)
  end)
end

-- Reads the host's further input until it closes: closing a socket with unread bytes may destroy the answer.
local function finish(conn, ...)
  local ok, err, code = conn:write_frame(...)
  if ok and conn:shutdown(SEND_TIMEOUT) then
    local deadline = core.now() + GRACE
    while core.now() < deadline and conn:read(wire.CHUNK, deadline - core.now()) do end
  end
  return ok, err, code
end

local function answer(conn, response)
  return finish(conn, T.EXEC_RESULT, wire.encode_response(response), SEND_TIMEOUT)
end

-- Exec: all output inside the one answer, if it is not too much.
function M.plain(conn, payload, opts)
  local child, request = launch.start(payload, opts, { stdout = "pipe", stderr = "pipe" })
  if not child then return answer(conn, { exit_code = request.exit_code, error = request.text }) end
  local guard <close> = child -- luacheck: ignore
  local kept, lost = answer_output.new(conn), nil
  local function collect(name)
    local data, err, code = child[name]:read(wire.CHUNK, math.huge)
    while data do
      if not kept.add(name, data) then return end -- the host has gone
      data, err, code = child[name]:read(wire.CHUNK, math.huge)
    end
    if not ENDED[code] then lost = "its output is lost: " .. err end
  end
  local ended, why = task.scope(function(scope)
    local listener = task.spawn_in(scope, listen, conn, { child = child }, T.EXEC)
    local out, err_out = task.spawn_in(scope, collect, "stdout"), task.spawn_in(scope, collect, "stderr")
    local record, err, code = child:wait(math.huge)
    kept.await(out)
    kept.await(err_out)
    listener:cancel()
    if not record then return unseen(err, code) end
    return exit_of(record, job.leave_output(child), lost)
  end)
  if not ended then return nil, why end
  ended.stdout, ended.stderr = kept.text "stdout", kept.text "stderr"
  return answer(conn, ended)
end

-- ExecStream: output as it comes, the result without it.
function M.streamed(conn, payload, opts)
  local child, request = launch.start(payload, opts, { stdout = "pipe", stderr = "pipe" })
  if not child then return answer(conn, { exit_code = request.exit_code, error = request.text }) end
  local ended, why = supervise(conn, child, request.token, T.EXEC_STREAM, T.STDOUT, child.stdout, T.STDERR, child.stderr)
  if not ended then return nil, why end
  return answer(conn, ended)
end

local function tell_exit(conn, ended, why)
  if not ended then return nil, why end
  return finish(conn, T.EXIT, wire.encode_exit(ended.exit_code, ended.signal, ended), SEND_TIMEOUT)
end

-- A host of the reference reads no reason in an exit message: it gets that as the command's stderr.
local function refuse(conn, failure)
  log.debug("exec: %s", failure.text)
  if not failure.ours then conn:write_frame(T.STDERR, wire.text(failure.text) .. "\n", SEND_TIMEOUT) end
  return tell_exit(conn, { exit_code = failure.exit_code, error = failure.ours and failure.text or nil })
end

--- Refuses a request with the answer of its type.
---@param type integer
---@param why string
function M.refuse_request(conn, type, why)
  if type == T.EXEC or type == T.EXEC_STREAM then return answer(conn, { exit_code = CANNOT, error = why }) end
  if type == T.EXEC_PIPE or type == T.EXEC_TTY then return refuse(conn, { exit_code = CANNOT, text = why }) end
  if type == T.PORT_FORWARD then return finish(conn, T.STDERR, wire.text(why) .. "\n", SEND_TIMEOUT) end
  if type < T.WRITE_FILE then return true end
  return finish(conn, T.FILE_RESULT, assert(json.encode(json.object { error = wire.text(why) })), SEND_TIMEOUT)
end

-- ExecPipe: standard input as well.
function M.piped(conn, payload, opts)
  local child, request = launch.start(payload, opts, { stdin = "pipe", stdout = "pipe", stderr = "pipe" })
  if not child then return refuse(conn, request) end
  return tell_exit(conn, supervise(conn, child, request.token, T.EXEC_PIPE, T.STDOUT, child.stdout, T.STDERR, child.stderr))
end

-- ExecTTY: a terminal; one stream.
function M.terminal(conn, payload, opts)
  local child, request = launch.start(payload, opts, { tty = true })
  if not child then return refuse(conn, request) end
  return tell_exit(conn, supervise(conn, child, request.token, T.EXEC_TTY, T.STDOUT, child.stdin))
end

return M
