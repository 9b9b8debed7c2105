--- One connection to a guest agent: one command at a time, in the order of the calls; synchronises again after a call gave up
--- (docs/wire/qmp-qga.md#agent-channel, docs/wire/qmp-qga.md#agent-synchronising). A late
--- answer never goes to the next caller.
local locks = require "vmctl.base.lock"
local core = require "vmctl.core"
local json = require "vmctl.json"
local naming = require "vmctl.base.stream_name"
local wire = require "vmctl.qmp.wire"

local M = {}

local MARK = "\xff"             -- occurs in no JSON text; input before it is dropped
local FIRST_SYNC_PAUSE = 1      -- seconds without an answer after which the agent is asked again; doubled each time
local MAX_ID = 1 << 53          -- other agents may read numbers as doubles
local ENDINGS = { EOF = true, ECONNRESET = true, EPIPE = true }

---@class vmctl.QgaConnection
local methods = {}
local mt = { __name = "vmctl.QgaConnection", __index = methods }

--- Takes a connected stream.
---@param stream vmctl.Stream
---@param max_line integer bytes with the line feed
function M.new(stream, max_line)
  naming.name(stream, "qga")
  return setmetatable({
    _stream = stream, _max_line = max_line, _lock = locks.lock(), _last = math.random(MAX_ID // 2), _in_step = false,
  }, mt)
end

local function finish(self, err, code)
  self.over, self.code = self.over or err, self.code or code
  self._stream:close()
end

-- A wait has failed. Ends the session if the connection has ended.
local function give_up(self, err, code)
  if ENDINGS[code] then
    finish(self, "the connection ended", "ERESET")
  elseif code == "EPROTO" and self._stream:hung_up() then -- the connection ended inside a line
    finish(self, "the connection ended", "ERESET")
  end
  if self.over then return nil, self.over, self.code end
  return nil, err, code
end

local function next_id(self)
  self._last = self._last + 1
  return self._last
end

-- Reads to the line behind a mark that answers this request.
local function await_mark(self, id, deadline)
  while true do
    local ok, err, code = self._stream:skip_past(MARK, deadline - core.now())
    local line
    if ok then line, err, code = self._stream:read_line(self._max_line, deadline - core.now()) end
    if not line and code ~= "ETOOBIG" then return nil, err, code end
    local kind, message
    if line and not json.is_crowded(line) then kind, message = wire.parse(line) end
    if kind == "return" and message["return"] == id then return true end
    if core.now() >= deadline then return nil, "no answer", "ETIMEDOUT" end
  end
end

-- Synchronises: asks behind a mark, and repeats that, because the agent may have been restarted meanwhile.
local function synchronise(self, deadline)
  local pause = FIRST_SYNC_PAUSE
  while true do
    local id = next_id(self)
    local text = assert(wire.encode("guest-sync-delimited", { id = id }))
    local ok, err, code = self._stream:write(MARK .. text .. "\n", deadline - core.now())
    if ok then ok, err, code = await_mark(self, id, math.min(deadline, core.now() + pause)) end
    if ok then
      self._in_step = true
      return true
    end
    if code ~= "ETIMEDOUT" or core.now() >= deadline then
      if code == "ETIMEDOUT" then err = "the agent does not answer" end
      return give_up(self, err, code)
    end
    pause = 2 * pause
  end
end

-- Tells if a message answers a request. Older agents do not repeat the number, nor do errors about malformed requests.
local function is_answer(self, kind, message, id)
  if message.id ~= nil then self._echoes = true end
  if kind == "error" and message.id == nil then return true end
  return kind == "return" and message.id == nil and not self._echoes or message.id == id
end

local function await_answer(self, id, deadline)
  while true do
    local line, err, code = self._stream:read_line(self._max_line, deadline - core.now())
    if not line then
      if code == "ETIMEDOUT" then err = "no answer" end
      return give_up(self, err, code)
    end
    if json.is_crowded(line) then return give_up(self, "an answer of too many values", "ETOOBIG") end
    local kind, message = wire.parse((line:gsub("^.*\xff", "")))
    if not kind and line ~= "" then return give_up(self, message, "EPROTO") end
    if kind and is_answer(self, kind, message, id) then
      self._in_step = true
      return kind, message[kind]
    end
    if core.now() >= deadline then return nil, "no answer", "ETIMEDOUT" end
  end
end

local function send(self, name, arguments, deadline)
  if self.over then return nil, self.over, self.code end
  local ok, err, code = true, nil, nil
  if not self._in_step then ok, err, code = synchronise(self, deadline) end
  if not ok then return nil, err, code end
  local id = next_id(self)
  local text, why, how = wire.encode(name, arguments, id)
  if not text then return nil, why, how end
  self._in_step = false -- until the answer has come: it is still due if the call is given up
  ok, err, code = self._stream:write(text .. "\n", deadline - core.now())
  if not ok then return give_up(self, err, code) end
  return id
end

local function exchange(self, name, arguments, deadline)
  local id, err, code = send(self, name, arguments, deadline)
  if not id then return nil, err, code end
  local kind, value
  kind, value, code = await_answer(self, id, deadline)
  if kind == "return" then return value end
  if kind then return wire.failure(value) end
  return nil, value, code
end

--- Sends a request and waits for its answer, after those of the calls before.
---@param name string
---@param arguments? table
---@param timeout number seconds in all
---@return any value, string?, string? as of qmp; after ETIMEDOUT and ECANCELED the next request synchronises first; the fourth
-- value is the agent's error
function methods:request(name, arguments, timeout)
  return self._lock:with(timeout, exchange, self, name, arguments, core.deadline(timeout))
end

local function order(self, name, arguments, grace, deadline)
  local id, err, code = send(self, name, arguments, deadline)
  if not id then return nil, err, code end
  local kind, value
  kind, value, code = await_answer(self, id, core.now() + grace)
  if kind == "error" then return wire.failure(value) end
  if kind or code == "ETIMEDOUT" or code == "ERESET" then return true end
  return nil, value, code
end

--- Sends a request that is answered only if it fails. Waits a moment for that.
---@param grace number seconds
---@param timeout number seconds until it is sent
---@return true|nil, string?, string?, table? as `request`
function methods:order(name, arguments, grace, timeout)
  return self._lock:with(timeout, order, self, name, arguments, grace, core.deadline(timeout))
end

--- Synchronises with the agent. Waits.
---@return true|nil, string?, string? code ETIMEDOUT: no answer
function methods:synchronise(timeout)
  return self._lock:with(timeout, function()
    if self.over then return nil, self.over, self.code end
    return synchronise(self, core.deadline(timeout)) -- an earlier limit around it ends the asking, too
  end)
end

function methods:close()
  finish(self, "closed", "ECLOSED")
end

return M
