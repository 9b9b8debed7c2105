--- One connection to a StereOS guest: sends requests in the order of the calls, matches replies to them in order, and hands
--- lifecycle messages to the listeners (docs/wire/stereos.md#ack-rules, docs/wire/stereos.md#recommended-client).
---
--- A single call reads its own reply. When several wait, or somebody listens to lifecycle messages, a task reads for all;
--- it ends when it was idle for a while, so that ten thousand idle guests need no stack each.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local naming = require "vmctl.base.stream_name"
local read_reply = require("vmctl.stereos.client_reading").read_reply
local replies = require "vmctl.stereos.due_replies"
local waiters = require "vmctl.base.waiters"
local wire = require "vmctl.stereos.wire"

local M = {}

local READER_REST = 1   -- seconds that a reader for all stays when nobody waits
local DOUBT = 0.005     -- seconds without a reader after which unread input is looked for
local SHORT = 4096      -- bytes: a line up to here is written without looking for room
local PING = wire.envelope "ping" .. "\n"
local LOST = "the connection ended before the reply"
local ENDINGS = { EOF = true, ECONNRESET = true, EPIPE = true, EPROTO = true } -- EPROTO: in the middle of a line

---@class vmctl.StereosConnection
local methods = {}
local mt = { __name = "vmctl.StereosConnection", __index = methods }

--- Takes a connected stream.
---@param stream vmctl.Stream
---@param hub table gets lifecycle messages: publish(payload); changed() when the connection ends; heard: does anybody listen?
---@param max_line integer bytes with the line feed
function M.new(stream, hub, max_line)
  naming.name(stream, "stereos")
  stream:cork()
  return setmetatable({
    _stream = stream, _hub = hub, _max_line = max_line, _due = replies.new(), _live = 0,
    _sending = false, _reading = false, -- there may be tens of thousands of these: rarely needed fields are made on demand
    _used = core.now(),
  }, mt)
end

-- Ends the connection. Every call that waits for a reply gets the reason.
local function finish(self, message, code)
  self.over, self._code = self.over or message, self._code or code
  self._stream:close()
  self._due:lose(message, code)
  self._hub:changed()
end

-- The read has failed or the connection has ended.
local function finish_reading(self, err, code)
  if self._code then return nil, self.over, self._code end -- it has ended already
  if ENDINGS[code] then err, code = LOST, "ERESET" end
  finish(self, err, code)
  return nil, err, code
end

--- Ends the connection after an invalid message of the guest. Does not wait.
---@param why string
---@return nil, string message, string code EPROTO
function methods:break_off(why)
  finish(self, why, "EPROTO")
  return nil, why, "EPROTO"
end

-- Stops sending on this connection, because a reply is due that nobody waits for. Calls that wait still get theirs.
local function retire(self)
  self.over = self.over or "a call before gave up waiting for its reply"
end

local function deliver(self, kind, payload)
  local why = self._due:deliver(kind, payload)
  if why then return self:break_off(why) end
  return true
end

local function is_needed(self)
  return not self._due:is_empty() or self._hub.heard
end

-- The task that reads for all.
local function read_for_all(self)
  while true do
    local rest = is_needed(self) and math.huge or READER_REST
    local kind, payload, code = read_reply(self, rest, math.huge)
    if kind then
      if not deliver(self, kind, payload) then return end
    elseif code ~= "ETIMEDOUT" then
      return finish_reading(self, payload, code)
    elseif not is_needed(self) then
      self._reading, self._task = false, nil
      return
    end
  end
end

local function start_reader(self)
  self._reading = true
  self._task = background.spawn("stereos", read_for_all, self)
end

local function let_next_send(self)
  self._sending = self._turns:serve() ~= nil
end

-- Waits until another task has written its line.
local function await_turn(self, timeout)
  self._turns = self._turns or waiters.new()
  return self._turns:wait({}, timeout, "the connection is busy", function() let_next_send(self) end)
end

-- Marks the first request to ask for lifecycle lines, unless the line would become too long.
local function introduce(self, line)
  local longer = wire.hearing(line)
  if #longer > self._max_line then return line end
  self._hears = true
  return longer
end

local function transmit(self, line, timeout)
  self._sending = true
  if not self._hears then line = introduce(self, line) end
  local ok, err, code = self._stream:write(line, timeout)
  if self._turns then let_next_send(self) else self._sending = false end
  if ok then return true end
  finish(self, LOST, "ERESET") -- half a line may have been sent
  if ENDINGS[code] then err, code = LOST, "ERESET" end
  return nil, err, code
end

-- A call while another task reads.
local function request_among_others(self, request, line, timeout, deadline)
  if self._sending then
    local ok, err, code = await_turn(self, timeout)
    if not ok then return nil, err, code end
    timeout = deadline - core.now()
  end
  if self.over then return nil, self.over, "ERESET" end
  local record = self._due:add(request)
  local ok, err, code = transmit(self, line, timeout)
  if not ok then return nil, err, code end
  ok, err, code = record.queue:wait(timeout, "no reply")
  local kind, payload = record.kind, record.payload
  if kind then
    self._due:keep(record)
    return kind, payload
  end
  if record.lost then return nil, record.lost, record.code end
  if not ok then retire(self) end
  return nil, err, code
end

-- The call that has read stops reading. A task takes over if other calls wait or somebody listens.
local function read_no_more(self)
  self._reading = false
  if is_needed(self) and not self._stream:closed() then start_reader(self) end
end

-- The request was given up; its reply is still due, before those of the others.
local function leave_reply_due(self, request)
  retire(self)
  self._due:add_first(request)
  if self._live > 1 then read_no_more(self) end
end

-- The only call: it reads its reply itself.
local function request_alone(self, request, line, timeout, deadline)
  self._reading = true
  local ok, err, code = transmit(self, line, timeout)
  if not ok then return nil, err, code end
  if #line > SHORT then timeout = deadline - core.now() end
  local kind, payload
  kind, payload, code = read_reply(self, timeout, deadline)
  if kind then
    local why = (kind ~= "pong" or request ~= "ping") and replies.mismatch(request, kind, payload)
    if why then return self:break_off(why) end
    self._reading = false
    local due = self._due
    if due.first <= due.last or self._hub.heard then read_no_more(self) end -- is_needed, without calls
    return kind, payload
  end
  if code ~= "ETIMEDOUT" and code ~= "ECANCELED" then return finish_reading(self, payload, code) end
  leave_reply_due(self, request)
  return nil, payload, code
end

-- Asks for lifecycle lines by a request of its own, if none has: a guest of ours sends them only to clients that have asked.
local function ask_for_news(self)
  if self._hears or self._sending then return end
  self._due:add(wire.types.PING) -- nobody waits for its reply
  transmit(self, PING, 0)
end

--- Lets a task read lifecycle messages as they come, and has the guest send them. Does not wait.
function methods:attend()
  if self.over then return end
  if not self._reading then start_reader(self) end
  ask_for_news(self)
end

--- Sends a request and waits for its reply. After a call has given up, requests that were already sent
--- still get their replies, but no further request is sent on this connection.
---@param request string its type
---@param line string with its line feed
---@param timeout number seconds until
---@param deadline number
---@return string|nil kind of the reply, table|string|nil payload_or_message, string? code ETIMEDOUT, ERESET, EPROTO, ECANCELED …
function methods:request(request, line, timeout, deadline)
  self._live = self._live + 1
  local go = self._reading and request_among_others or request_alone
  local kind, payload, code = go(self, request, line, timeout, deadline)
  self._live = self._live - 1
  if self.over and self._live == 0 then self:close() end
  return kind, payload, code
end

-- Reads the lines that came while nobody read: none can be the reply to a request that is not sent yet.
local function catch_up(self)
  self._reading = true
  local kind, payload, code = read_reply(self, 0, -math.huge)
  if kind then
    self:break_off(replies.mismatch(nil, kind, payload))
  elseif code == "ETIMEDOUT" then
    read_no_more(self)
  else
    finish_reading(self, payload, code)
  end
end

--- Tells if the next request may be sent. If nobody has read for a while, first reads the lines that have come meanwhile, or the end of
--- the connection.
---@param now number
---@return boolean
function methods:is_usable(now)
  if self.over or self._reading then return not self.over end
  local doubtful = now - self._used > DOUBT
  self._used = now
  if doubtful then catch_up(self) end
  return not self.over
end

function methods:close()
  if self._task then self._task:cancel() end
  self._task = nil
  if not self._stream:closed() then finish(self, "closed", "ECLOSED") end
  return true
end

mt.__close = methods.close

return M
