--- The host's end of the Accept stream: one for each client, however many forwarders it serves. The reference's guest hands a
--- connection to whichever Accept stream waits (docs/wire/socketforward.md#traps, 4), so all that a client forwards has to be in
--- one table.
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local channel = require "vmctl.base.channel"
local connection = require "vmctl.socketforward.connection"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local wire = require "vmctl.socketforward.wire"

local M = {}

local AT_ONCE = 64            -- requests that are being dialled; others wait in the guest
local LONGEST_ID = 4096       -- bytes of an id that is refused with an answer
local SEND_TIMEOUT = 10       -- seconds to send a result
local CALL_TIMEOUT = 10
local FIRST_PAUSE, LAST_PAUSE = 0.1, 5 -- seconds between attempts to get the Accept stream back

---@class vmctl.SocketforwardHub
local methods = {}
local mt = { __name = "vmctl.SocketforwardHub", __index = methods }

local hubs = setmetatable({}, { __mode = "k" }) -- by client

--- The hub of a client.
---@param client vmctl.TtrpcClient
function M.of(client)
  local hub = hubs[client]
  if not hub or hub.state == "failed" then
    hub = setmetatable({
      client = client, state = "idle", reopened = 0, _table = {}, _forwarders = {}, _count = 0, _at_work = 0,
      _freed = core.queue(), _lock = channel.lock(), _kept = false,
    }, mt)
    hubs[client] = hub
  end
  return hub
end

-- Requests

local function answer_on(stream, id)
  return function(text)
    local ok, err, code = stream:send({ stream_id = id, error = text }, SEND_TIMEOUT)
    if not ok then log.info("socketforward: a result could not be sent: %s", err) end
    return ok, err, code
  end
end

local function work(self, entry, id, answer)
  local ok, follow = pcall(connection.begin, entry, id, answer)
  self._at_work = self._at_work - 1 -- whether it succeeded or not
  self._freed:wake(1)
  if not ok then error(follow, 0) end
  if follow then follow() end
end

-- A request with an id that no stream can have is answered, so that the guest's connection ends; one that is longer than
-- any answer is not.
local function refuse_id(id, answer)
  log.info "socketforward: the guest sent a request with an id that is none"
  if #id > LONGEST_ID then return true end
  return answer "the id is empty or too long"
end

local function take(self, stream, request)
  local id, forward_id = request.stream_id, request.forward_id
  local answer, entry = answer_on(stream, id), self._table[forward_id]
  if id == "" or #id > wire.MAX_ID then return refuse_id(id, answer) end
  if not entry then
    log.info("socketforward: %s: %s", wire.UNKNOWN, log.one_line(forward_id, 80))
    return answer(("%s: %s"):format(wire.UNKNOWN, log.sanitize(forward_id, wire.MAX_ID)))
  end
  while self._at_work >= AT_ONCE do
    local ok, err, code = self._freed:wait(math.huge, "a place for a request")
    if not ok then return nil, err, code end
  end
  self._at_work = self._at_work + 1
  background.spawn("socketforward: " .. entry.label, work, self, entry, id, answer)
  return true
end

-- Is only the message broken that was read, and not the stream?
local function is_passing(stream, code)
  return code == "EPROTO" and (stream:unread() > 0 or not stream:ended())
end

local function serve(self, stream)
  while true do
    local request, err, code = stream:recv(math.huge)
    if request then
      request, err, code = take(self, stream, request)
    elseif is_passing(stream, code) then
      log.info("socketforward: %s", err)
      request = true
    end
    if not request then return nil, err, code end
  end
end

-- The Accept stream

-- The server does not answer an opened stream. The answer to a later call shows that the stream is there.
local function open(self, timeout)
  local stream, err, code = self.client:stream(wire.SERVICE, "Accept")
  if not stream then return nil, err, code end
  local ok, refused
  ok, err, code, refused = self.client:call("containerd.vminitd.services.system.v1.System", "Info", nil, timeout)
  if ok or refused then return stream end -- a guest without this service has answered as well
  stream:close()
  return nil, err, code
end

local function call(self, method, sockets, timeout)
  return self.client:call(wire.SERVICE, method, { sockets = sockets }, timeout or CALL_TIMEOUT)
end

local function renew_client(self)
  if not self.client:closed() then return true end
  if not self._reconnect then return nil, select(2, self.client:closed()) end
  local client, err, code = self._reconnect(CALL_TIMEOUT)
  if not client then return nil, err, code end
  hubs[self.client], hubs[client], self.client = nil, self, client
  return true
end

-- Binds again on a new connection, which may lead to a restarted guest. Our guest leaves sockets alone that it has already.
local function bind_again(self)
  for forwarder in pairs(self._forwarders) do
    local ok, err, code = forwarder:bind_again()
    if not ok then return nil, err, code end
  end
  return true
end

local function reopen(self)
  local ok, err, code = renew_client(self)
  if ok then ok, err, code = bind_again(self) end
  if not ok then return nil, err, code end
  return open(self, CALL_TIMEOUT)
end

function methods:_set(state, err, code)
  self.state, self.error, self.code = state, err, code
  for forwarder in pairs(self._forwarders) do forwarder:on_state(state, err, code) end
end

-- Says if the client is closed and cannot be replaced.
local function is_lost(self)
  return self.client:closed() and not self._reconnect
end

local function recover(self)
  local pause = FIRST_PAUSE
  while true do
    if is_lost(self) then return nil end
    if not core.sleep(pause) then return nil end
    local stream, err, code = reopen(self)
    if stream then return stream end
    log.info("socketforward: the Accept stream is not back: %s", err)
    self:_set("reconnecting", err, code)
    pause = math.min(pause * 2, LAST_PAUSE)
  end
end

local function run(self, stream)
  while stream do
    self._stream = stream
    local _, err, code = serve(self, stream)
    self._stream = nil
    stream:close()
    if self._ending then return end
    log.info("socketforward: the Accept stream has ended: %s", err)
    if is_lost(self) then return self:_set("failed", err, code) end
    self:_set("reconnecting", err, code)
    stream = recover(self)
    if stream then
      self.reopened = self.reopened + 1
      self:_set "serving"
    elseif not self._ending then
      return self:_set("failed", self.error or err, self.code or code)
    end
  end
end

local function start(self)
  if self._task then return true end
  local stream, err, code = open(self, CALL_TIMEOUT)
  if not stream then return nil, err, code end
  self._ending, self._stream = false, stream
  self:_set "serving"
  self._task = background.spawn("socketforward: Accept", run, self, stream)
  return true
end

-- A guest without Unbind goes on handing out connections, even to a closed stream (docs/wire/socketforward.md#traps, 5). The
-- stream then stays open to refuse them.
local function stop(self)
  if self._count > 0 or self._kept or not self._task then return end
  self._ending = true
  if self._stream then self._stream:close() end
  self._task:cancel()
  self._task = nil
  self.state = "idle"
end

-- For forwarders

--- Closes the Accept stream; the task that serves it opens another one. Does not wait.
---@return true
function methods:reopen()
  if self._stream then self._stream:close() end
  return true
end

---@param how? function|table|string an address, or a function of a time-out that gives a client
function methods:set_reconnect(how)
  if type(how) == "string" or address.is_address(how) then
    local where = how
    how = function(timeout) return require("vmctl.ttrpc").connect(where, { dial_timeout = timeout }) end
  end
  self._reconnect = how or self._reconnect
end

--- Adds entries to the table, and lets the guest bind their sockets. Waits. All or nothing.
---@param entries table[] of one forwarder, with `id` and `socket`
---@return table|nil answer of Bind, string?, string? code EEXIST: an id that is forwarded already; as a call
function methods:add(entries)
  for _, entry in ipairs(entries) do
    if self._table[entry.id] then return errors.fail("EEXIST", "%s: this id is forwarded already", entry.label) end
  end
  for _, entry in ipairs(entries) do self._table[entry.id] = entry end
  local bound, err, code = self:bind(entries)
  local ok = bound ~= nil
  if ok then ok, err, code = self._lock:with(CALL_TIMEOUT, start, self) end
  if ok then return bound end
  if bound then self:unbind(entries) end
  self:forget(entries)
  return nil, err, code
end

local function sockets_of(entries)
  local list = {}
  for i, entry in ipairs(entries) do list[i] = entry.socket end
  return list
end

--- Has the guest bind sockets. Waits.
---@param entries table[] of one forwarder
---@return table|nil answer of Bind, string?, string? code as a call
function methods:bind(entries)
  return call(self, "Bind", sockets_of(entries))
end

--- Lets the guest close sockets. Waits. A guest without Unbind keeps them, and this end goes on refusing their connections.
---@return true|nil, string?, string?
function methods:unbind(entries, timeout)
  local ok, err, code, refused = call(self, "Unbind", sockets_of(entries), timeout)
  if ok then return true end
  self._kept = self._kept or code == "UNIMPLEMENTED"
  return nil, err, code, refused
end

--- Removes entries from the table: their ids are unknown from now on.
function methods:forget(entries)
  for _, entry in ipairs(entries) do
    if self._table[entry.id] == entry then self._table[entry.id] = nil end
  end
end

--- Counts a forwarder: the Accept stream stays while there are some. Does not wait.
---@param forwarder vmctl.SocketForwarder
function methods:join(forwarder)
  self._forwarders[forwarder], self._count = true, self._count + 1
end

--- Forgets a forwarder; the last one ends the Accept stream. Idempotent, does not wait.
---@param forwarder vmctl.SocketForwarder
function methods:leave(forwarder)
  if not self._forwarders[forwarder] then return end
  self._forwarders[forwarder], self._count = nil, self._count - 1
  stop(self)
end

return M
