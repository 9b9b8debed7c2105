--- One connection to a monitor: sends requests with numbers; a task reads, and passes each answer to its caller
--- (docs/wire/qmp-qga.md#qmp-messages). A late answer is recognised by its number, so a call that gives up harms no other.
local errors = require "vmctl.errors"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local locks = require "vmctl.base.lock"
local log = require "vmctl.log"
local wire = require "vmctl.qmp.wire"

local M = {}

local LOST = "the connection ended"
local ENDINGS = { EOF = true, ECONNRESET = true, EPIPE = true, EPROTO = true } -- EPROTO: in the middle of a line

---@class vmctl.QmpConnection
local methods = {}
local mt = { __name = "vmctl.QmpConnection", __index = methods }

--- Takes a connected stream whose greeting has been read. `start` begins its work.
---@param stream vmctl.Stream
---@param hub table gets the events: publish(event), finish(message, code)
---@param max_line integer bytes with the line feed
function M.new(stream, hub, max_line)
  stream:cork()
  return setmetatable({
    _stream = stream, _hub = hub, _max_line = max_line, _pending = {}, _last = 0, _lock = locks.lock(),
  }, mt)
end

-- Ends the connection: all calls that wait for an answer fail at once with the reason.
local function finish(self, err, code)
  if self.over then return end
  self.over, self.code = err, code
  self._stream:close()
  local pending = self._pending
  self._pending = {}
  for _, record in pairs(pending) do
    record.err, record.code = err, code
    record.queue:wake(1)
  end
  self._hub:finish(err, code)
end

-- An error without a number is about a malformed request, and cannot be assigned to a call.
local function on_answer(self, kind, message)
  local record = self._pending[message.id]
  if record then
    self._pending[message.id] = nil
    record.kind, record.value = kind, message[kind]
    record.queue:wake(1)
    return true
  end
  if math.type(message.id) == "integer" and message.id >= 1 and message.id <= self._last then return true end -- late
  local words = kind == "error" and ": " .. log.one_line(message.error.desc, 200) or ""
  return nil, "an answer that belongs to no request" .. words
end

local function on_line(self, line)
  if line == "" then return true end
  local kind, message = wire.parse(line)
  if not kind then return nil, message end
  if kind == "event" then
    self._hub:publish(message, #line)
    return true
  elseif kind == "greeting" then
    return nil, "a second greeting"
  end
  return on_answer(self, kind, message)
end

local function read_all(self)
  while true do
    local line, err, code = self._stream:read_line(self._max_line, math.huge)
    if not line then
      if ENDINGS[code] then err, code = LOST, "ERESET" end
      return finish(self, err, code)
    end
    local ok, why = on_line(self, line)
    if not ok then return finish(self, why, "EPROTO") end
  end
end

--- Starts the reading task. Does not wait.
function methods:start()
  self._task = background.spawn("qmp", read_all, self)
end

local FULL = 0.005 -- seconds until a full socket is tried again

-- The descriptor goes with a blank before its request, behind all that was sent before.
local function send_descriptor(stream, fd, deadline)
  repeat
    local ok, err, code = stream:flush(deadline - core.now())
    stream:cork()
    if ok then ok, err, code = core.send_fd(stream, fd, " ") end
    if ok or code ~= "EAGAIN" then return ok, err, code end
    ok, err, code = core.sleep(FULL)
    if not ok then return nil, err, code end
  until core.now() > deadline
  return nil, "there is no room for it", "ETIMEDOUT"
end

-- Ends the session after a request was sent in part: its rest would corrupt the next one.
local function transmit(self, text, fd, deadline)
  return self._lock:with(deadline - core.now(), function()
    if self.over then return nil, self.over, self.code end
    local ok, err, code, taken = true, nil, nil, nil
    if fd then ok, err, code = send_descriptor(self._stream, fd, deadline) end
    if ok then ok, err, code, taken = self._stream:write(text .. "\n", deadline - core.now()) end
    if ok then return true end
    if ENDINGS[code] then err, code = LOST, "ERESET" end
    if code == "ERESET" or (taken or 0) > 0 then finish(self, LOST, "ERESET") end
    return nil, err, code
  end)
end

--- Sends a request and waits for its answer.
---@param name string
---@param arguments? table
---@param verb? "execute"|"exec-oob"
---@param timeout number seconds
---@param fd? integer a descriptor of which the other side gets a copy with the request
---@return any value, string?, string? code as wire.failure; ETIMEDOUT, ERESET, ECLOSED, EPROTO, EINVAL, ETOOBIG, ECANCELED; the
-- fourth value is the other side's error
function methods:request(name, arguments, verb, timeout, fd)
  if self.over then return nil, self.over, self.code end
  local deadline, id = core.now() + timeout, self._last + 1
  local text, err, code = wire.encode(name, arguments, id, verb)
  if not text then return nil, err, code end
  self._last = id
  local record = { queue = core.queue() }
  self._pending[id] = record
  local ok, _
  ok, err, code = transmit(self, text, fd, deadline)
  if ok then _, err, code = record.queue:wait(deadline - core.now(), "no answer") end
  self._pending[id] = nil
  if record.kind == "return" then return record.value end
  if record.kind then return wire.failure(record.value) end
  if record.err then return nil, record.err, record.code end
  if code == "ETIMEDOUT" then err = "no answer " .. errors.within(timeout, core.now() - (deadline - timeout)) end
  return nil, err, code
end

--- Ends it; calls that wait fail with ECLOSED. Idempotent, never waits.
function methods:close()
  if self._task then self._task:cancel() end
  self._task = nil
  finish(self, "closed", "ECLOSED")
  self._stream:close()
end

return M
