--- The guest's side of StereOS' control plane: lines in, replies out in the order of the requests, lifecycle lines to clients that
--- have asked for them.
--- It avoids the reference's faults (docs/wire/stereos.md#known-weaknesses-of-the-reference).
local core = require "vmctl.core"
local accept = require "vmctl.net.server"
local access = require "vmctl.net.access"
local background = require "vmctl.base.background"
local clients = require "vmctl.stereos.server_clients"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local naming = require "vmctl.base.stream_name"
local options = require "vmctl.base.options"
local requests = require "vmctl.stereos.server_requests"
local wire = require "vmctl.stereos.wire"

local M = {}

local FIRST_LINE_TIMEOUT = 600 -- seconds: the reference has none, and its clients may connect long before they ask
local HANDLER_TIMEOUT = 60
local SEND_TIMEOUT = 30      -- seconds in which a client must have taken its last replies
local PING = wire.envelope "ping"
local LINGER = 2             -- seconds for which input is still read from a client that was refused
local LINGER_BYTES = 64 << 20

local known = {
  allow = "function|table", connections = "integer>=1", max_line = "integer>=2", on_idle = "function",
  first_line_timeout = "number>0", handler_timeout = "number>0",
}

local states = {}
for _, state in pairs(wire.states) do states[state] = true end

---@class vmctl.StereosServer
local methods = {}
local mt = { __name = "vmctl.StereosServer", __index = methods }

local function new(handlers, opts, where)
  opts = options.check(opts or {}, known, where, 4)
  return setmetatable({
    _requests = requests.new(handlers, opts.handler_timeout or HANDLER_TIMEOUT, where, 4),
    _allow = access.policy(opts.allow), _limit = accept.limit(opts.connections, opts.on_idle),
    _max_line = opts.max_line or wire.MAX_LINE, _first_line_timeout = opts.first_line_timeout or FIRST_LINE_TIMEOUT,
    _clients = clients.new(),
  }, mt)
end

-- At the limit of connections: closes the client that has been connected for longest without a request.
local function make_room(self, newcomer)
  local client = self._clients:take_silent()
  local stream = client and client.stream or newcomer
  log.info("stereos: %s: too many connections: closed", stream:label())
  stream:write(requests.refusal("too many connections", "EBUSY"), 0)
  stream:close()
  return client ~= nil
end

-- Reads the first request. Empty lines are no requests, and do not extend the time.
local function read_first(self, client)
  local deadline = core.now() + self._first_line_timeout
  local line, err, code, start
  repeat
    line, err, code, start = client.stream:read_line(self._max_line, deadline - core.now())
  until line ~= "" or core.now() >= deadline
  self._clients:speaks(client) -- also if it ends now: it must not be closed to make room any more
  if line == "" or code == "ETIMEDOUT" then
    return errors.fail("ETIMEDOUT", "no request within %g s", self._first_line_timeout)
  end
  return line, err, code, start
end

-- Executes a request and sends its reply.
local function execute(self, client, line)
  if line == PING and not log.enabled "debug" then return clients.send(client, requests.PONG) end -- the most frequent request
  local reply, after, payload = self._requests:answer(client, line)
  local ok, err, code = clients.send(client, reply)
  if after then
    if ok then ok, err, code = clients.flush(client) end
    -- The reply was sent, or the client has gone. The client may send further requests meanwhile.
    background.spawn("stereos: " .. client.label, after, payload)
  end
  return ok, err, code
end

-- Executes a last line without a line feed, as the reference does. A line that was cut is not JSON, and is refused.
local function execute_rest(self, client)
  local rest = client.stream:read(nil, 0)
  local line = rest and rest:gsub("\r$", "") or ""
  return line == "" or execute(self, client, line)
end

-- Reads on before closing: closing with unread bytes resets the connection, which may destroy the last reply. The stream
-- reads no more, so its descriptor moves to a new one.
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

-- The type at the start of a line over the limit, or "".
local function type_of_long(start)
  return start:match '^%s*{%s*"type"%s*:%s*"([%w_.-]+)"' or ""
end

-- There is no further line: sends the refusal that is due, and logs why.
local function finish(self, client, err, code, start)
  local stream = client.stream
  if code == "ETOOBIG" then
    local text = ("line over the limit of %d bytes"):format(self._max_line)
    clients.send(client, requests.refusal(text, code, type_of_long(start)))
  elseif code == "EPROTO" then
    execute_rest(self, client)
  elseif code == "ETIMEDOUT" then
    clients.send(client, requests.refusal(err, code))
  end
  if code ~= "EOF" and code ~= "ECLOSED" then log.info("stereos: %s: %s", client.label, err) end
  stream:shutdown(SEND_TIMEOUT) -- after all replies
  if code == "ETOOBIG" then linger(stream) end
end

local function converse(self, client)
  local stream, max = client.stream, self._max_line
  client.label = stream:label()
  naming.name(stream, "stereos")
  stream:cork() -- replies are collected, and flushed when the next read has to wait
  local line, err, code, start = read_first(self, client)
  while line do
    if line ~= "" then
      local ok, why, how = execute(self, client, line)
      if not ok then
        log.info("stereos: %s: %s", client.label, why)
        return nil, why, how
      end
    end
    line, err, code, start = stream:read_line(max, math.huge)
  end
  return finish(self, client, err, code, start)
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

--- Serves connections until the listener is closed; may be called for several listeners, which share the limit of connections. Waits.
---@param listener vmctl.Listener anything with accept() and close()
---@return true|nil, string?, string? code ECANCELED
function methods:serve(listener)
  return accept.serve(listener, {
    allow = self._allow, limit = self._limit,
    welcome = function(stream) return self._clients:enter(stream) end,
    make_room = function(stream) return make_room(self, stream) end,
  }, function(client) attend(self, client) end)
end

--- Sets the guest's state: sends it to the clients that cope with such lines (those of vmctl say so in their first request; the
--- reference's would take one for a reply), and reports it in later answers to get_health. Does not wait: a client that does
--- not read is closed before much output has collected for it.
---@param state "booting"|"ready"|"healthy"|"degraded"|"shutdown"
---@param message? string
---@return true|nil, string?, string? code EINVAL: the message is not UTF-8
function methods:lifecycle(state, message)
  if not states[state] then error(("lifecycle: no state '%s'"):format(tostring(state)), 2) end
  if message ~= nil and type(message) ~= "string" then error("lifecycle: a message is a string", 2) end
  local line, err, code = wire.envelope("lifecycle", { state = state, message = message })
  if not line then return nil, err, code end
  self._requests:set_state(state)
  self._clients:tell_all(line .. "\n")
  return true
end

--- The guest's state as `lifecycle` has set it; "ready" at first.
---@return string
function methods:state()
  return self._requests:state()
end

--- Makes a server. Each handler is called with the request's checked payload (an absent `mode` is 0; the payload of a
--- type of your own is not checked) and { type=, payload=, peer= }, and returns `true`, `true, { changed = boolean }`, or nil,
--- message, code, which all become an ack. get_health returns { state=, agents=, uptime_seconds= }, or only some of them.
--- Handlers may wait. Only one runs at a time, for all clients together; get_health is the exception.
---@param handlers table functions by the request's type; `after` maps types to functions, which are called with the payload
-- when the ack that says ok has gone out
---@param opts? { allow?: function|table, connections: integer?, max_line: integer?, first_line_timeout: number?,
--- handler_timeout: number?, on_idle: function? } who may connect (see vmctl.net.access), how many at a time (1024), bytes of a
-- line with its line feed (1 MiB), seconds until a client must have asked for something (600), and that a handler may wait
-- (60); on_idle is called when the last connection has ended
---@return vmctl.StereosServer server with serve, converse, lifecycle, state
function M.new(handlers, opts)
  return (new(handlers, opts, "stereos.server"))
end

--- Makes a server and serves a listener until that is closed. Waits.
---@param listener vmctl.Listener
---@param handlers table as for `new`
---@param opts? table as for `new`
---@return true|nil, string?, string? code ECANCELED
function M.serve(listener, handlers, opts)
  local server = new(handlers, opts, "stereos.serve")
  return server:serve(listener)
end

return M
