--- The client's end of a connection: takes an id and writes the request in one step, and hands frames to the calls and
--- streams (docs/wire/ttrpc.md#stream-ids, docs/wire/ttrpc.md#state-machines).
---
--- A single call reads its own answer. When there are several, a task reads for all, and ends when no call waits. Ordinary unary
--- calls are made by the core in one step each (`call`), and have no entry here.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local frame_streams = require "vmctl.ttrpc.frame_stream"
local received = require "vmctl.ttrpc.client_received"
local wire = require "vmctl.ttrpc.wire"

local M = {}

local LOST = { EOF = true, ECONNRESET = true, EPIPE = true }
local PASSING = { ETIMEDOUT = true, ECANCELED = true, EDEADLK = true } -- failures of one call, not of the connection

---@class vmctl.TtrpcConnection
local methods = {}
local mt = { __name = "vmctl.TtrpcConnection", __index = methods }

-- Entries are calls and streams: tables with `id`, on_response(bytes), on_data(bytes, flags), on_failure(err, code).

--- Takes a connected stream.
---@param stream vmctl.Stream
function M.new(stream)
  local self = setmetatable({
    frames = frame_streams.new(stream, core.calls), _calls = nil, _entries = {}, _live = 0, _reading = false, over = nil,
    _queues = {}, -- kept for reuse
  }, mt)
  self._calls = self.frames.source
  self._count = function() return self:live() end
  self._reader = setmetatable({}, { __close = function() self:_read_no_more() end })
  return self
end

function methods:_read_no_more()
  self._reading = false
  if self:live() > 0 and not self.over then self:_start_reader() end
end

-- Ends the connection. Every call and stream gets the reason.
local function finish(self, err, code)
  if self.over then return end
  if LOST[code] then
    err, code = "the connection was lost: " .. (code == "EOF" and "the peer has closed it" or err), "ERESET"
  elseif code == "EPROTO" then
    err = "the connection was closed: " .. err
  end
  self.over, self.code = err, code
  self.frames:close()
  local entries = self._entries
  self._entries, self._live = {}, 0
  self._calls:fail { err, code }
  for _, entry in pairs(entries) do entry:on_failure(err, code) end
  if self._task then self._task:cancel() end
  self._task = nil
end

--- Removes an entry: further frames of its id are dropped.
function methods:forget(entry)
  if self._entries[entry.id] ~= entry then return end
  self._entries[entry.id] = nil
  self._live = self._live - 1
end

-- Reading

-- One frame. ETIMEDOUT and ECANCELED are the reader's own; after any other failure the connection is over.
local function read(self, timeout)
  local kind, payload, id, flags = self.frames:read(timeout)
  if kind == true then
    return true
  elseif kind then
    received.dispatch(self, kind, payload, id, flags)
  elseif id == "ETOOBIG" then
    received.refuse_oversize(self, payload, flags)
  elseif PASSING[id] then
    return nil, payload, id
  else
    finish(self, payload, id)
    return nil, self.over, self.code
  end
  return true
end

local function read_for_all(self)
  local guard <close> = self._reader -- luacheck: ignore
  while self:live() > 0 and not self.over do
    if not read(self, math.huge) then break end
  end
  self._task = nil
end

function methods:_start_reader()
  self._reading = true
  self._task = background.spawn("ttrpc: " .. self.frames.label, read_for_all, self)
end

local function wait_in_queue(self, entry, is_done, deadline)
  local unused = self._queues
  local queue = unused[#unused] or core.queue()
  entry.queue, unused[#unused] = queue, nil
  while not is_done(entry) do
    local ok, err, code = queue:wait(deadline - core.now(), "no answer")
    if not ok then return nil, err, code end
  end
  entry.queue, unused[#unused + 1] = nil, queue
  return true
end

--- Waits until `is_done()`, which looks at an entry that is `woken` when a frame has come for it.
---@param entry table with `queue`, once somebody waits in it
---@param is_done fun(entry: table): boolean
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED
function methods:await(entry, is_done, deadline)
  if self._reading or self:live() > 1 then
    if not self._reading and not self.over then self:_start_reader() end
    return wait_in_queue(self, entry, is_done, deadline)
  end
  self._reading = true
  local guard <close> = self._reader -- luacheck: ignore
  while not is_done(entry) do
    local ok, err, code = read(self, deadline - core.now())
    if not is_done(entry) and (not ok or core.now() >= deadline) then
      self:forget(entry) -- before the guard looks for waiting entries
      return nil, err or "no answer", code or "ETIMEDOUT"
    end
  end
  return true
end

--- Starts the reading task, for entries without a call in `await`.
function methods:attend()
  if not self._reading and not self.over then self:_start_reader() end
end

-- Writing

local function sent(self, ok, err, code)
  if ok or PASSING[code] then return ok, err, code end
  if self.over then return nil, self.over, self.code end
  finish(self, err, code)
  return nil, self.over, self.code
end

local function take_id(self)
  local id = self._calls:take_id()
  if id then return id end
  return errors.fail("EOVERFLOW", "the stream ids of this connection are used up: connect anew")
end

--- Goes on with a later id, as if those before it had been used.
---@param id integer odd
function methods:continue(id)
  self._calls:continue(id)
end

-- The only call reads its own answer.
local function call_alone(self, deadline, ...)
  local calls = self._calls
  local place = calls:post(...)
  if not place then return "unsent" end
  self._reading = true
  local guard <close> = self._reader -- luacheck: ignore
  while true do
    local fine, err, code = read(self, deadline - core.now())
    local outcome, answer, why, status = calls:take(place)
    if outcome ~= "pending" then return outcome, answer, why, status end
    if not fine then
      calls:give_up(place) -- before the guard looks for waiting calls
      return nil, code == "ETIMEDOUT" and "no answer in time" or err, code
    end
  end
end

--- Makes a unary call in one step, if no other task is writing. Waits.
---@param service string
---@param method string
---@param request table
---@param request_type string
---@param response_type string
---@param deadline number
---@return "answered"|"envelope"|"unsent"|nil outcome the kind of the next value; answered: the message; envelope: the answer's bytes,
-- which the caller decodes; unsent: nothing was done and the caller has to use `open`; nil: it failed
---@return table|string? answer or a failure's message
---@return string? code ETIMEDOUT, ECANCELED, EPROTO, RESOURCE_EXHAUSTED, those of the connection's end
---@return table? status of RESOURCE_EXHAUSTED
function methods:call(service, method, request, request_type, response_type, deadline)
  local frames = self.frames
  if self.over or frames.waiting_for_room or not frames:is_free() then return "unsent" end
  if self._reading then return self._calls:call(service, method, request, request_type, response_type, deadline) end
  if self:live() > 0 then return "unsent" end
  return call_alone(self, deadline, service, method, request, request_type, response_type, deadline)
end

--- Opens a stream: takes the next id and sends the request, in the order of the ids. Waits for room until
--- `deadline`; the server is told `limit`. A request that is not sent (too big, for instance) uses no id.
---@param entry table
---@param flags integer
---@param request table for wire.encode_request; type_name, message: as there
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED, ETOOBIG, EINVAL, EOVERFLOW, ERESET, ECLOSED
function methods:open(entry, flags, deadline, limit, request, type_name, message)
  if self.over then return nil, self.over, self.code end
  local turn <close>, err, code = self.frames:turn(deadline) -- luacheck: ignore
  if not turn then return nil, err, code end
  if self.over then return nil, self.over, self.code end
  local now = core.now()
  request.timeout_nano = wire.timeout_nano(limit - now)
  if request.timeout_nano == 0 then return errors.fail("ETIMEDOUT", "no time is left to send it") end
  local bytes, id, ok
  bytes, err, code = wire.encode_request(request, type_name, message)
  if not bytes then return nil, err, code end
  id, err, code = take_id(self)
  if not id then return nil, err, code end
  entry.id, self._entries[id], self._live = id, entry, self._live + 1
  if self:live() == 2 then self.frames.room:wake() end -- a reader that is held back for the only stream goes on
  ok, err, code = sent(self, self.frames:put(wire.REQUEST, bytes, id, flags, deadline - now))
  if not ok then self:forget(entry) end
  return ok, err, code
end

--- Sends a Data frame. Waits.
---@return true|nil, string?, string? code ETIMEDOUT, ECANCELED: it was not sent
function methods:send_data(id, payload, flags, timeout)
  if self.over then return nil, self.over, self.code end
  local how = flags == wire.CLOSE and self.frames.send_apart or self.frames.send
  return sent(self, how(self.frames, wire.DATA, payload, id, flags, timeout))
end

---@return integer how many calls and streams there are
function methods:live()
  return self._live + self._calls:live()
end

---@return { live: integer, in_core: integer, held: integer } as of the client
function methods:stats()
  return { live = self:live(), in_core = self._calls:live(), held = self.frames.held }
end

--- Ends the connection: its calls and streams fail with ECLOSED. Idempotent, does not wait.
function methods:close()
  finish(self, "closed", "ECLOSED")
end

return M
