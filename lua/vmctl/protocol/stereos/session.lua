--- One connection to a StereOS guest: requests go out as they come, replies are matched to them in order, lifecycle messages
--- go their own way (wire document stereos.md, sections 4 and 6, "Recommended client").
local background = require "vmctl.background"
local core = require "vmctl.core"
local log = require "vmctl.log"
local waiters = require "vmctl.waiters"
local wire = require "vmctl.protocol.stereos.wire"

local M = {}

local IDLE_RECORDS = 64 -- of finished requests that are kept for later ones
local LOST = "the connection ended before the reply"
local ENDINGS = { EOF = true, ECONNRESET = true, EPIPE = true, EPROTO = true } -- EPROTO: in the middle of a line

local methods = {}
local mt = { __name = "vmctl.StereosSession", __index = methods }

-- Nothing more will be sent on this connection. Who still waits for a reply may get it.
local function retire(self, why)
  self.over = self.over or why
  if self._live == 0 then self:close() end
end

local function give(record, kind, payload)
  record.kind, record.payload = kind, payload
  record.queue:wake(1)
end

-- The next request that still waits for its reply: the one that `kind` and `payload` must answer.
local function match(self, kind, payload)
  local first = self._first
  local record = self._records[first]
  if not record then return nil, ("a message of type '%s' that nobody asked for"):format(log.one_line(kind, 40)) end
  if not wire.answers(record.request, kind, payload) then
    local named = kind == "ack" and (" of '%s'"):format(log.one_line(payload.reply_to, 40)) or ""
    return nil, ("%s%s in place of the reply to %s"):format(log.one_line(kind, 40), named, record.request)
  end
  self._records[first] = nil
  self._first = first + 1
  return record
end

local function take(self, line)
  local kind, payload = wire.parse(line)
  if not kind then return nil, payload end
  if kind == "lifecycle" then
    self._hub:publish(payload)
    return true
  end
  local record, why = match(self, kind, payload)
  if not record then return nil, why end
  give(record, kind, payload)
  return true
end

-- Ends the session: all that wait for a reply learn why there will be none.
local function finish(self, message, code)
  self.over, self.code = self.over or message, code
  self._stream:close()
  for at = self._first, self._last do
    local record = self._records[at]
    self._records[at] = nil
    if record then
      record.lost = message
      record.code = code
      record.queue:wake(1)
    end
  end
  self._first, self._last = 1, 0
  self._hub:changed()
end

local function read_replies(self)
  local stream, max = self._stream, self._max_line
  while true do
    local line, err, code = stream:read_line(max, math.huge)
    if not line then
      if ENDINGS[code] then return finish(self, LOST, "ERESET") end
      return finish(self, err, code)
    end
    if line ~= "" then
      local ok, why = take(self, line)
      if not ok then return finish(self, why, "EPROTO") end
    end
  end
end

--- Takes a connected stream.
---@param stream vmctl.Stream
---@param hub table gets lifecycle messages: publish(payload); and changed() when the session ends
---@param max_line integer bytes with the line feed
function M.new(stream, hub, max_line)
  local self = setmetatable({
    _stream = stream, _hub = hub, _max_line = max_line, _records = {}, _first = 1, _last = 0, _live = 0,
    _sending = false, -- there are ten thousands of these: what is rarely needed is made when it is
  }, mt)
  stream:cork()
  self._task = background.spawn("stereos", read_replies, self)
  return self
end

local function take_record(self)
  local record, idle = self._spare, self._idle
  if record then
    self._spare = nil
  else
    record = idle and table.remove(idle)
  end
  if not record then return { queue = core.queue() } end
  record.kind, record.payload = nil, nil
  return record
end

local function put_back(self, record)
  if not self._spare then
    self._spare = record
    return
  end
  local idle = self._idle
  if not idle then
    self._idle = { record }
  elseif #idle < IDLE_RECORDS then
    idle[#idle + 1] = record
  end
end

local function enqueue(self, request)
  local record = take_record(self)
  record.request = request
  local last = self._last + 1
  if self._first > last - 1 then -- empty: begin anew, so that the numbers stay small
    self._first, last = 1, 1
  end
  self._records[last], self._last = record, last
  return record
end

local function let_next_send(self)
  self._sending = self._turns ~= nil and self._turns:serve() ~= nil
end

-- Another task's line waits for room: ours comes after it. The seconds that are left.
local function await_turn(self, timeout)
  local deadline = core.now() + timeout
  self._turns = self._turns or waiters.new()
  local ok, err, code = self._turns:wait({}, timeout, "the connection is busy", function() let_next_send(self) end)
  if not ok then return nil, err, code end
  return deadline - core.now()
end

-- Sends the request's line; lines of several tasks leave in the order of their records.
local function send(self, request, line, timeout)
  if self._sending then
    local left, why, how = await_turn(self, timeout)
    if not left then return nil, why, how end
    timeout = left
  end
  self._sending = true
  local record, ok, err, code
  if self.over then
    ok, err, code = nil, self.over, "ERESET"
  else
    record = enqueue(self, request)
    ok, err, code = self._stream:write(line, timeout)
  end
  let_next_send(self)
  if ok then return record end
  finish(self, LOST, "ERESET") -- half a line may be out
  if ENDINGS[code] then return nil, LOST, "ERESET" end
  return nil, err, code
end

-- The reply is still due: this connection is not for further calls.
local function give_up(self, record, err, code)
  if record.lost then return nil, record.lost, record.code end
  retire(self, "a call before gave up waiting for its reply")
  return nil, err, code
end

local function await(self, record, timeout)
  local _, err, code = record.queue:wait(timeout, "no reply")
  local kind, payload = record.kind, record.payload
  if not kind then return give_up(self, record, err, code) end
  put_back(self, record)
  return kind, payload
end

--- Sends a request and waits for its reply. A call that gives up leaves the connection to those that were sent before and
--- after it: they get their replies, but no further request is sent.
---@param request string its type
---@param line string with its line feed
---@param timeout number seconds
---@return string|nil kind of the reply, table|string|nil payload_or_message, string? code ETIMEDOUT, ERESET, EPROTO, ECANCELED …
function methods:request(request, line, timeout)
  self._live = self._live + 1
  local kind, payload, code = send(self, request, line, timeout)
  if kind then kind, payload, code = await(self, kind, timeout) end
  self._live = self._live - 1
  if self.over and self._live == 0 then self:close() end
  return kind, payload, code
end

--- Sends no more on this connection; it ends when the last call that waits has its reply.
function methods:retire(why)
  retire(self, why)
end

function methods:close()
  if self._task then
    self._task:cancel()
    self._task = nil
    finish(self, "closed", "ECLOSED")
  end
  return true
end

mt.__close = methods.close

return M
