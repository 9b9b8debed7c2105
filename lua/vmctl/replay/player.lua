--- Plays one side of one recorded connection over a stream: waits for the other side's messages, and sends the recorded ones.
local compare = require "vmctl.replay.compare"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local protocols = require "vmctl.trace.protocols"
local recorded = require "vmctl.replay.recorded"

local M = {}

local MAX_LINE = 16 << 20

---@class vmctl.Player
local methods = {}
local mt = { __name = "vmctl.Player", __index = methods }

--- Makes a player, which takes the stream.
---@param session vmctl.ReplaySession
---@param stream vmctl.Stream
---@param opts { path: string, side: "server"|"client", strict: boolean, timeout: number, speed: number?, format: any }
function M.new(session, stream, opts)
  return setmetatable({
    _session = session, _stream = stream, _opts = opts, _mine = session.role == opts.side and "out" or "in",
  }, mt)
end

local function fail(self, step, code, text, ...)
  local where = ("replay %s, session %s, line %d: "):format(self._opts.path, self._session.id, step.line)
  return errors.fail(code, "%s", where .. text:format(...))
end

local function difference(self, step, got, text)
  local want = recorded.is_message(step) and compare.describe(self._session.protocol, step) or "the end of the connection"
  local message = select(2, fail(self, step, "EPROTO", "expected %s, got %s", want, text))
  return nil, message, "EPROTO", { expected = step, got = got }
end

-- Checks that everything to send was recorded, so that a replay fails before its first byte and not in the middle.
local function check(self)
  local format = self._opts.format or protocols.format_of(self._session.protocol)
  for _, step in ipairs(self._session.steps) do
    if step.ev == "frame" and not format then
      return fail(self, step, "EINVAL", "frames of a protocol that is not known here want their format")
    end
    local kept = step.payload and not step.cut or step.fill or step.size == 0
    if recorded.is_message(step) and step.dir == self._mine and not kept then
      return fail(self, step, "EINVAL", "a message of %d bytes is to be sent that was not recorded", step.size or 0)
    end
  end
  if format then self._stream:set_format(format) end
  return true
end

local function payload_of(step)
  return step.payload or ("*"):rep(step.size or 0)
end

local function await_time(self, step)
  local speed = self._opts.speed
  if not speed then return end
  self._begin = self._begin or core.now() - (step.t - self._session.steps[1].t) / speed
  core.sleep(math.max(0, self._begin + (step.t - self._session.steps[1].t) / speed - core.now()))
end

local function send(self, step)
  await_time(self, step)
  local stream, payload, timeout = self._stream, payload_of(step), self._opts.timeout
  local ok, err, code
  if step.ev == "line" then
    ok, err, code = stream:write(payload .. "\n", timeout)
  elseif step.ev == "bytes" then
    ok, err, code = stream:write(payload, timeout)
  elseif step.type and step.stream then
    ok, err, code = stream:write_frame(step.type, payload, step.stream, step.flags or 0, timeout)
  elseif step.type then
    ok, err, code = stream:write_frame(step.type, payload, timeout)
  else
    ok, err, code = stream:write_frame(payload, timeout)
  end
  if ok then return true end
  if code == "EPIPE" or code == "ECONNRESET" then
    return difference(self, step, nil, ("nobody who takes it (%s)"):format(code))
  end
  return nil, err, code
end

local function receive(self, step)
  local stream, timeout = self._stream, self._opts.timeout
  local first, second, third, fourth
  if step.ev == "line" then
    first, second, third = stream:read_line(MAX_LINE, timeout)
  elseif step.ev == "bytes" then
    first, second, third = stream:read_exact(step.size or #(step.payload or ""), timeout)
  else
    first, second, third, fourth = stream:read_frame(timeout)
  end
  if first == nil then return nil, second, third end
  if step.ev == "frame" and step.type then return { type = first, payload = second, stream = third, flags = fourth } end
  return { payload = first }
end

local function expect(self, step)
  local got, err, code = receive(self, step)
  if got then
    if compare.same(step, got, self._opts.strict) then return true end
    got = compare.without_secrets(self._session.protocol, step, got)
    return difference(self, step, got, compare.describe(self._session.protocol, got))
  elseif code == "ETIMEDOUT" then
    local want = compare.describe(self._session.protocol, step)
    return fail(self, step, "ETIMEDOUT", "waited %g s for %s, nothing came", self._opts.timeout, want)
  end
  return difference(self, step, nil, code == "EOF" and "the end of the connection" or err)
end

local function expect_end(self, step)
  local bytes, err, code = self._stream:read(4096, self._opts.timeout)
  if bytes then return difference(self, step, { payload = bytes }, ("%d bytes more"):format(#bytes)) end
  if code == "ETIMEDOUT" then
    return fail(self, step, "ETIMEDOUT", "waited %g s for the end of the connection, nothing came", self._opts.timeout)
  end
  if code == "EOF" or code == "ECONNRESET" or code == "EPROTO" or code == "ECLOSED" then return true, "over" end
  return nil, err, code
end

-- The side that recorded it saw its input end, or closed it.
local function finish(self, step)
  if step.ev == "end" and step.dir == "out" then return true end -- a consequence
  local mine = (step.ev == "end") == (self._mine == "in")
  if not mine then return expect_end(self, step) end
  await_time(self, step)
  if step.ev == "end" and step.code == "EOF" then
    self._stream:shutdown(self._opts.timeout)
    return true
  end
  return true, "over"
end

local function perform(self, step)
  if not recorded.is_message(step) then return finish(self, step) end
  if step.dir == self._mine then return send(self, step) end
  return expect(self, step)
end

--- Plays it, and closes the stream. Waits.
---@return true|nil, string?, string? code EPROTO (the other side did something else), ETIMEDOUT, EINVAL (it can not be played), table?
-- of EPROTO: { expected = record, got = the received message }
function methods:play()
  local closing <close> = self._stream -- luacheck: ignore
  local ok, err, code, more = check(self)
  for _, step in ipairs(ok and self._session.steps or {}) do
    ok, err, code, more = perform(self, step)
    if not ok or err == "over" then break end
  end
  if ok then return true end
  return nil, err, code, more
end

return M
