--- The guest's side of StereOS' control plane: lines in, replies out in the order of the requests, lifecycle lines to all.
--- Where the reference loses an answer, a request or a client (docs/wire/stereos.md#known-weaknesses-of-the-reference), this one does not.
local core = require "vmctl.core"
local accept = require "vmctl.net.server"
local access = require "vmctl.net.policy"
local background = require "vmctl.base.background"
local clients = require "vmctl.stereos.server_clients"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local naming = require "vmctl.base.stream_name"
local options = require "vmctl.base.options"
local requests = require "vmctl.stereos.server_requests"
local wire = require "vmctl.stereos.wire"

local M = {}

local FIRST_LINE_TIMEOUT = 30
local HANDLER_TIMEOUT = 60
local SEND_TIMEOUT = 30      -- seconds in which a client must have taken its last replies
local PING = wire.envelope "ping"
local LINGER = 2             -- seconds, and bytes, that are still taken from a client which has been told to go
local LINGER_BYTES = 64 << 20

local known = {
  allow = "function|table", connections = "integer>=1", max_line = "integer>=2", on_idle = "function",
  first_line_timeout = "number>0", handler_timeout = "number>0",
}

local states = {}
for _, state in pairs(wire.states) do states[state] = true end

local methods = {}
local mt = { __name = "vmctl.StereosServer", __index = methods }

local function new(handlers, opts, where)
  opts = options.check(opts or {}, known, where, 4)
  return setmetatable({
    _requests = requests.new(handlers, opts.handler_timeout or HANDLER_TIMEOUT, where, 4),
    _allow = access.policy(opts.allow), _places = accept.places(opts.connections, opts.on_idle),
    _max_line = opts.max_line or wire.MAX_LINE, _first_line_timeout = opts.first_line_timeout or FIRST_LINE_TIMEOUT,
    _clients = clients.new(),
  }, mt)
end

-- All places are taken: a client that has not asked for anything is the first that can be done without.
local function make_room(self, newcomer)
  local client = self._clients:take_silent()
  local stream = client and client.stream or newcomer
  log.info("stereos: %s: too many connections: closed", stream:label())
  stream:write(requests.refusal("too many connections", "EBUSY"), 0)
  stream:close()
  return client ~= nil
end

-- Empty lines are no requests, and do not make the time longer.
local function read_first(self, client)
  local deadline = core.now() + self._first_line_timeout
  local line, err, code
  repeat
    line, err, code = client.stream:read_line(self._max_line, deadline - core.now())
  until line ~= "" or core.now() >= deadline
  self._clients:speaks(client) -- or it ends now: in either case it is not to be pushed out
  if line == "" or code == "ETIMEDOUT" then
    return errors.fail("ETIMEDOUT", "no request within %g s", self._first_line_timeout)
  end
  return line, err, code
end

-- Executes a request and sends its reply.
local function execute(self, client, line)
  if line == PING and not log.enabled "debug" then return clients.send(client, requests.PONG) end -- the most frequent one
  local reply, after, payload = self._requests:answer(client.label, line)
  local ok, err, code = clients.send(client, reply)
  if after then
    if ok then ok, err, code = clients.flush(client) end
    -- The reply has gone out, or never will. The client may ask on meanwhile, or go.
    background.spawn("stereos: " .. client.label, after, payload)
  end
  return ok, err, code
end

-- As the reference, a guest executes a last line without its line feed, but only a whole message: `{"type":"pi` is refused
-- as any other line that is no JSON.
local function execute_rest(self, client)
  local rest = client.stream:read(nil, 0)
  local line = rest and rest:gsub("\r$", "") or ""
  return line == "" or execute(self, client, line)
end

-- A connection that is closed with bytes unread is reset, and what it was told may be lost with it. The stream itself reads
-- no more: its descriptor goes to another one.
local function linger(stream)
  local label = stream:label()
  local fd = stream:detach()
  if not fd then return end
  local rest <close> = core.open(fd, "socket", label)
  local deadline, bytes = core.now() + LINGER, 0
  while bytes < LINGER_BYTES and core.now() < deadline do
    local data = rest:read(nil, deadline - core.now())
    if not data then return end
    bytes = bytes + #data
  end
end

-- Why there is no further line, and what is still to be said about it.
local function finish(self, client, err, code)
  local stream = client.stream
  if code == "ETOOBIG" then
    clients.send(client, requests.refusal(("line over the limit of %d bytes"):format(self._max_line), code))
  elseif code == "EPROTO" then
    execute_rest(self, client)
  elseif code == "ETIMEDOUT" then
    clients.send(client, requests.refusal(err, code))
  end
  if code ~= "EOF" and code ~= "ECLOSED" then log.info("stereos: %s: %s", client.label, err) end
  stream:shutdown(SEND_TIMEOUT) -- all replies first
  if code == "ETOOBIG" then linger(stream) end
end

local function converse(self, client)
  local stream, max = client.stream, self._max_line
  client.label = stream:label()
  naming.name(stream, "stereos")
  stream:cork() -- the replies to what came in one piece leave in one piece: when the next read has to wait
  local line, err, code = read_first(self, client)
  while line do
    if line ~= "" then
      local ok, why, how = execute(self, client, line)
      if not ok then
        log.info("stereos: %s: %s", client.label, why)
        return nil, why, how
      end
    end
    line, err, code = stream:read_line(max, math.huge)
  end
  return finish(self, client, err, code)
end

local function attend(self, client)
  local guard <close> = client.stream -- luacheck: ignore
  local ok, err = xpcall(converse, debug.traceback, self, client)
  self._clients:leave(client)
  if not ok then log.error("stereos: %s: %s", client.stream:label(), err) end
end

--- Serves one connection until it ends, and closes it. It does not count among `connections`. Waits.
---@param stream vmctl.Stream
function methods:converse(stream)
  attend(self, self._clients:enter(stream))
end

--- Serves those who connect until the listener is closed; may be called for several listeners, which share the limit of
--- connections. Waits.
---@param listener vmctl.Listener anything with accept() and close()
---@return true|nil, string?, string? ECANCELED
function methods:serve(listener)
  return accept.serve(listener, {
    allow = self._allow, places = self._places,
    welcome = function(stream) return self._clients:enter(stream) end,
    make_room = function(stream) return make_room(self, stream) end,
  }, function(client) attend(self, client) end)
end

--- Says what state the guest is in: to all clients now, and to who asks for its health from now on. Does not wait: a client
--- that does not read is closed before much has gathered for it.
---@param state "booting"|"ready"|"healthy"|"degraded"|"shutdown"
---@param message? string
---@return true|nil, string?, string? EINVAL: the message is not UTF-8
function methods:lifecycle(state, message)
  if not states[state] then error(("lifecycle: no state '%s'"):format(tostring(state)), 2) end
  if message ~= nil and type(message) ~= "string" then error("lifecycle: a message is a string", 2) end
  local line, err, code = wire.envelope("lifecycle", { state = state, message = message })
  if not line then return nil, err, code end
  self._requests:set_state(state)
  self._clients:tell_all(line .. "\n")
  return true
end

--- The state of the guest: what `lifecycle` was told last, "ready" until then.
---@return string
function methods:state()
  return self._requests:state()
end

--- Makes a server. Each handler is called with the request's checked payload (an absent `mode` is 0; of a type of your own:
--- the payload as it came) and { type=, payload=, peer= }, and returns `true`, `true, { changed = boolean }`, or nil,
--- message, code, which all become an ack. get_health returns { state=, agents=, uptime_seconds= }, or only some of them.
--- Handlers may wait; but for get_health only one of them is at work at a time, whatever the number of clients.
---@param handlers table functions by the request's type; `after` maps types to functions, which are called with the payload
-- when the ack that says ok has gone out
---@param opts? { allow: function|table, connections: integer, max_line: integer, first_line_timeout: number,
-- handler_timeout: number, on_idle: function } who may connect (see vmctl.access), how many at a time (1024), bytes of a
-- line with its line feed (1 MiB), seconds until a client must have asked for something (30), and that a handler may wait
-- (60); on_idle is called when the last connection has ended
---@return vmctl.StereosServer server with serve, converse, lifecycle, state
function M.new(handlers, opts)
  return (new(handlers, opts, "stereos.server"))
end

--- Makes a server and serves a listener until that is closed. Waits.
---@param listener vmctl.Listener
---@param handlers table as for `new`
---@param opts? table as for `new`
---@return true|nil, string?, string? ECANCELED
function M.serve(listener, handlers, opts)
  local server = new(handlers, opts, "stereos.serve")
  return server:serve(listener)
end

return M
