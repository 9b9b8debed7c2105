--- The host's side for users: the forwarded sockets, their counts and their state.
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local forwarded = require "vmctl.socketforward.entry"
local hub = require "vmctl.socketforward.accept_client"
local options = require "vmctl.base.options"

local M = {}

local DIAL_TIMEOUT, OPEN_TIMEOUT = 4, 5 -- seconds; the guest waits 10 for both
local LIMIT = 1024                      -- connections that are open at a time
local PLACE_TIMEOUT = 4                 -- seconds that a new connection waits for one of them to end
local UNBIND_TIMEOUT = 5

---@class vmctl.SocketForwarder
local methods = {}
local mt = { __name = "vmctl.SocketForwarder", __index = methods }

local known = {
  open = "callable", streams = "any", dial_timeout = "number>0", open_timeout = "number>0", limit = "integer>=1",
  idle = "number>0", linger = "number>0", mode = "integer>=1<=511", reconnect = "any", on_state = "callable",
}
local function add(self, entries)
  local answer, err, code = self._hub:add(entries)
  if not answer then return nil, ("socketforward: " .. err), code end
  local ok
  ok, err, code = forwarded.note_bound(entries, answer)
  if not ok then
    self._hub:unbind(entries, UNBIND_TIMEOUT)
    self._hub:forget(entries)
    return nil, ("socketforward: " .. err), code
  end
  for _, entry in ipairs(entries) do self._entries[entry.id] = entry end
  return true
end

-- For the hub and the connections

--- Has the guest of a new connection bind all its sockets. Waits.
---@return table|true|nil answer of Bind, or true where there is nothing to bind, string?, string? code as a call; ENOTSUP
function methods:bind_again()
  local entries = {}
  for _, entry in pairs(self._entries) do entries[#entries + 1] = entry end
  if #entries == 0 then return true end
  local answer, err, code = self._hub:bind(entries)
  if not answer then return nil, err, code end
  local ok
  ok, err, code = forwarded.note_bound(entries, answer)
  if ok then return answer end
  self._hub:unbind(entries, UNBIND_TIMEOUT)
  return nil, err, code
end

--- Tells waiters and the user of a new state of the Accept stream. Does not wait.
---@param state string as in `status`
---@param err? string
---@param code? string
function methods:on_state(state, err, code)
  self._changed:wake()
  if self._on_state then self._on_state(state, err, code) end
end

--- Waits until there are fewer connections than the limit, and counts one more.
---@return boolean
function methods:await_place()
  local deadline = core.now() + PLACE_TIMEOUT
  while self._open >= self._limit do
    if not self._freed:wait(deadline - core.now(), "a place for a connection") then return false end
  end
  self._open = self._open + 1
  return true
end

--- Counts a connection less, after it has ended or failed. Does not wait.
function methods:on_relay_end()
  self._open = self._open - 1
  self._freed:wake(1)
end

-- For users

--- Forwards further sockets. Waits. All or nothing.
---@param entries table<string, table> as for `new`
---@return true|nil, string?, string?
function methods:add(entries)
  if self.closed then return errors.fail("ECLOSED", "socketforward: closed") end
  local list, err, code = forwarded.make_all(self, self._mode, entries, 3)
  if not list then return nil, err, code end
  return add(self, list)
end

--- Counts of connections and bytes, running connections included. Does not wait.
---@return { total: integer, open: integer, failed: integer, to_host: integer, to_guest: integer, last_error: string?,
--- forwards: table<string, table> } bytes; `forwards` has the same for each id
function methods:stats()
  local all = { total = 0, open = 0, failed = 0, to_host = 0, to_guest = 0, forwards = {} }
  for id, entry in pairs(self._entries) do
    local one = forwarded.count(entry)
    all.forwards[id] = one
    for _, name in ipairs { "total", "open", "failed", "to_host", "to_guest" } do all[name] = all[name] + one[name] end
    all.last_error = all.last_error or one.last_error
  end
  return all
end

--- Its state. Does not wait.
---@return { state: "serving"|"reconnecting"|"failed"|"closed", error: string?, code: string?, reopened: integer } reopened:
-- how often the Accept stream was lost and came back
function methods:status()
  local from = self._hub
  if self.closed then return { state = "closed", reopened = from.reopened } end
  return { state = from.state, error = from.error, code = from.code, reopened = from.reopened }
end

--- The guest's end of an id: its path, or its address with the port that it got.
---@return string|nil
function methods:guest_address(id)
  local entry = self._entries[id]
  if not entry then return nil end
  if entry.bound then return entry.bound end
  local extension = entry.socket.extension
  return extension and extension.address ~= "" and extension.address or "unix:" .. entry.socket.socket_path
end

--- Waits until it is closed, or its client is lost and cannot be replaced.
---@param timeout? number seconds; no limit by default
---@return true|nil, string?, string? code ETIMEDOUT; why it was lost
function methods:wait(timeout)
  local deadline = core.now() + (timeout or math.huge)
  while not self.closed do
    local state = self._hub
    if state.state == "failed" then return errors.fail(state.code, "socketforward: %s", state.error) end
    local ok, err, code = self._changed:wait(deadline - core.now(), "wait for the end of a socket forward")
    if not ok then return nil, err, code end
  end
  return true
end

local function all_entries(self)
  local list = {}
  for _, entry in pairs(self._entries) do list[#list + 1] = entry end
  return list
end

--- The client that it uses now: another one after a lost connection, where `reconnect` was given. Forwarders of one client share it.
---@return vmctl.TtrpcClient
function methods:client()
  return self._hub.client
end

--- Has the Accept stream of its client opened anew, as after its end. Connections that run go on. Does not wait.
---@return true
function methods:reopen()
  return self._hub:reopen()
end

--- Lets the guest close the sockets. Waits. `close` does it as well, in the background and without a result.
---@param timeout? number seconds, 5 by default
---@return true|nil, string?, string? UNIMPLEMENTED: the guest's agent can not
function methods:unbind(timeout)
  if self._unbound then return true end
  local entries = all_entries(self)
  self._hub:forget(entries)
  local ok, err, code = true, nil, nil
  if #entries > 0 then ok, err, code = self._hub:unbind(entries, timeout or UNBIND_TIMEOUT) end
  self._unbound = ok or self._unbound
  return ok, err, code
end

--- Ends it: closes running connections, refuses others from now on, and asks the guest to close its sockets.
--- Idempotent; does not wait, and never raises.
---@return true
function methods:close()
  if self.closed then return true end
  self.closed = true
  local entries, from = all_entries(self), self._hub
  for _, entry in ipairs(entries) do
    for relay in pairs(entry.relays) do relay:close() end
  end
  from:forget(entries)
  self._changed:wake()
  self._freed:wake()
  if from.client:closed() or self._unbound then
    from:leave(self)
  else
    background.spawn("socketforward: unbind", function()
      from:unbind(entries, UNBIND_TIMEOUT)
      from:leave(self)
    end)
  end
  return true
end

mt.__close = methods.close

function mt:__tostring()
  return ("vmctl.SocketForwarder(%s)"):format(self:status().state)
end

-- Makes the function that opens a stream to the guest.
local function opener(opts, where)
  if (opts.open == nil) == (opts.streams == nil) then error(where .. ": one of 'open' and 'streams' expected", 3) end
  if opts.open then return opts.open end
  local at, err, code = address.parse(opts.streams)
  if not at then return nil, err, code end
  return function(timeout) return dial.dial(at, timeout) end
end

--- Forwards sockets of a guest to sockets of this host. Waits until the guest has bound them.
---@param client vmctl.TtrpcClient of the guest's RPC port
---@param entries table<string, { guest_path: string?, guest_address: string?, host_path: string?, host: string?, mode: integer? }>
-- by forward id; guest_path or guest_address ("tcp:127.0.0.1:8080", which our agent alone understands): where the guest listens;
-- host_path or host (an address): the socket dialled here; mode: of the guest's socket file (0666; our agent alone)
---@param opts { open: function?, streams?: string|table|function, dial_timeout: number?, open_timeout: number?, limit: integer?,
--- idle: number?, linger: number?, mode: integer?, reconnect?: string|table|function,
--- on_state: function? } open(timeout) gives a stream to the guest's stream
-- port, `streams` is its address; seconds to dial (4) and until the guest's ack (5); connections at a time (1024, others wait
--- in the guest); seconds without a byte, seconds after one side has ended (no limits by default); reconnect: an address, or a
-- function of a time-out that gives a new client when this one is lost; on_state(state, message, code)
---@return vmctl.SocketForwarder|nil, string?, string? as the call of Bind: nothing is bound then
function M.new(client, entries, opts)
  opts = options.check(opts, known, "socketforward.forward")
  if type(entries) ~= "table" then error("socketforward.forward: a table of entries expected", 3) end
  local open, err, code = opener(opts, "socketforward.forward")
  if not open then return nil, err, code end
  local self = setmetatable({
    open = open, dial_timeout = opts.dial_timeout or DIAL_TIMEOUT, open_timeout = opts.open_timeout or OPEN_TIMEOUT,
    idle = opts.idle, linger = opts.linger, closed = false, _hub = hub.of(client), _entries = {}, _open = 0,
    _limit = opts.limit or LIMIT, _mode = opts.mode, _freed = core.queue(), _changed = core.queue(), _on_state = opts.on_state,
  }, mt)
  self._hub:set_reconnect(opts.reconnect)
  local list
  list, err, code = forwarded.make_all(self, self._mode, entries, 3)
  if not list then return nil, err, code end
  self._hub:join(self)
  local ok
  ok, err, code = add(self, list)
  if not ok then
    self._hub:leave(self)
    return nil, err, code
  end
  return self
end

return M
