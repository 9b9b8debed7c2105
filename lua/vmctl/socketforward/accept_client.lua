--- The host's end of the Accept stream: one for each client, for all of its forwarders. The reference's guest gives a connection to
--- any waiting Accept stream (docs/wire/socketforward.md#traps, 4), so all forwards of a client have to be in one table.
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local locks = require "vmctl.base.lock"
local log = require "vmctl.log"
local requests = require "vmctl.socketforward.accept_requests"
local wire = require "vmctl.socketforward.wire"

local M = {}

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
      _freed = core.queue(), _lock = locks.lock(), _kept = false,
    }, mt)
    hubs[client] = hub
  end
  return hub
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

-- Tells if the client is closed and cannot be replaced.
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
    local _, err, code = requests.serve(self, stream)
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

-- A guest without Unbind goes on offering connections, even to a closed stream (docs/wire/socketforward.md#traps, 5). The
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
---@return table|nil answer of Bind, string?, string? code ENOTSUP: this guest forwards no sockets; as a call
function methods:bind(entries)
  local bound, err, code, refused = call(self, "Bind", sockets_of(entries))
  if not bound and code == "UNIMPLEMENTED" then code = "ENOTSUP" end
  return bound, err, code, refused
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
