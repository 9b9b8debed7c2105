--- The guest's side: listens for processes, and forwards their connections to the host
--- (docs/wire/socketforward.md#bind, and the sections behind it).
local acceptors = require "vmctl.socketforward.acceptor"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local pendings = require "vmctl.socketforward.accept_queue"
local sockets = require "vmctl.socketforward.sockets"
local streams = require "vmctl.socketforward.stream_manager"
local task = require "vmctl.base.task"
local waiting_list = require "vmctl.socketforward.waiting_list"
local wire = require "vmctl.socketforward.wire"

local M = {}

local PENDING_TIMEOUT, QUEUE_TIMEOUT = 10, 60          -- seconds
local QUEUE, PENDING = 64, 1024                        -- connections without a stream, of one forward and of all
local SOCKETS = 4096
local FAILURE_PAUSE = 0.1                              -- seconds after an accept that failed for a temporary reason

---@class vmctl.SocketforwardService
local methods = {}
local mt = { __name = "vmctl.SocketforwardService", __index = methods }

local known = {
  directory = "string", confine = "boolean|table", tcp = { "any" }, mode = "integer>=1<=511", queue = "integer>=1",
  pending = "integer>=1", pending_timeout = "number>0", queue_timeout = "number>0", handshake_timeout = "number>0",
  unclaimed_timeout = "number>0", unclaimed = "integer>=1", idle = "number>0", linger = "number>0", allow = "function|table",
  streams = "vmctl.SocketforwardStreams",
}

-- The folders that may hold sockets; false: any.
local function folders_of(opts)
  if opts.confine == false then return false end
  local list = type(opts.confine) == "table" and opts.confine or { opts.directory or wire.DIRECTORY }
  local folders = {}
  for i, folder in ipairs(list) do
    if type(folder) ~= "string" or folder:sub(1, 1) ~= "/" then error("socketforward.service: absolute folders expected", 3) end
    folders[i] = folder:gsub("/+$", "")
  end
  return folders
end

-- Relays

local function follow(self, relay, forward)
  local stats, err, _, partial = relay:wait(math.huge)
  if not stats then log.debug("socketforward: %s: a connection broke: %s", forward.label, err) end
  stats = stats or partial or relay:stats()
  self._bytes.to_host, self._bytes.to_guest = self._bytes.to_host + stats.a_to_b, self._bytes.to_guest + stats.b_to_a
  self._relays[relay], self._open = nil, self._open - 1
  relay:close()
end

-- The host has reported success: the stream is there, because it was registered before its ack was sent.
local function join(self, connection)
  local stream = self._streams:claim(connection.id)
  if not stream then return false end
  local relay, err = core.relay(connection.stream, stream, self._idle, self._linger)
  if not relay then
    stream:close()
    log.error("socketforward: %s: %s", connection.forward.label, err)
    return false
  end
  self._relays[relay], self._open, self._total = true, self._open + 1, self._total + 1
  background.spawn("socketforward: " .. connection.forward.label, follow, self, relay, connection.forward)
  return true
end

-- It came too late: the process has gone, or was given up.
local function drop_stream(self, id)
  local stream = self._streams:claim(id)
  if stream then stream:close() end
end

-- Listening

-- At the limit of the queue we stop accepting: further connections wait in the backlog.
local function await_room(self, forward)
  local pending = self._pending
  while forward.pending >= self._queue or pending.total >= self._most do
    local ok, err, code = pending.room:wait(math.huge, "a place in the queue")
    if not ok then return nil, err, code end
  end
  return true
end

local function listen(self, forward)
  while await_room(self, forward) do
    local stream, err, code = forward.listener:accept(math.huge)
    if stream then
      stream:label(forward.label)
      self._pending:add(forward, stream)
    elseif code == "ECLOSED" or code == "ECANCELED" then
      return
    else
      log.error("socketforward: %s", err)
      if not core.sleep(FAILURE_PAUSE) then return end
    end
  end
end

local function take_away(self, forward, why)
  if self._bound[forward.key] == forward then self._bound[forward.key] = nil end
  self._count = self._count - 1
  forward.task:cancel()
  sockets.close(forward)
  self._pending:fail_all(forward, why)
end

local function put_up(self, forward)
  local before = self._bound[forward.key]
  if before then take_away(self, before, "another forward took its place") end
  self._bound[forward.key], self._count = forward, self._count + 1
  forward.pending, forward.in_hand, forward.queue = 0, 0, waiting_list.new(forward)
  forward.task = background.spawn("socketforward: " .. forward.label, listen, self, forward)
end

-- Bind

-- Finds the forward of a bound socket; one that asked for any port is listed under its real port.
local function find(self, socket)
  local key = sockets.key(socket)
  local forward = self._bound[key]
  if forward and forward.id == socket.forward_id then return forward end
  for _, other in pairs(self._bound) do
    if other.id == socket.forward_id and sockets.key(other.asked) == key then return other end
  end
end

-- What is told of an extension that was applied (docs/wire/socketforward.md#what-vmctl-adds): its host takes no word for a refusal.
local function applied(forward)
  local extension = forward.asked.extension
  if not extension then return nil end
  local where = forward.address or extension.address
  return { forward_id = forward.id, socket_path = forward.asked.socket_path, extension = { mode = forward.mode, address = where } }
end

-- The sockets that are not yet bound in this form. The others stay, so a host that reconnects keeps its waiting connections.
local function missing(self, wanted, bound)
  local list = {}
  for _, socket in ipairs(wanted) do
    local forward, mode = find(self, socket), socket.extension and socket.extension.mode or 0
    if forward and forward.mode == mode and sockets.is_in_place(forward) then
      bound[#bound + 1] = applied(forward)
    else
      list[#list + 1] = socket
    end
  end
  return list
end

--- Bind: makes all the listening sockets or none. A socket that is already bound in the same form is left alone; another
--- forward at the same path is replaced. Does not wait.
---@param request { sockets: { forward_id: string, socket_path: string, extension: { mode: integer, address: string }? }[] }
---@return { bound: table[] }|nil response with the extensions that were applied, and the real addresses of those that asked for any port
---@return string?, string? code EINVAL, EACCES, EEXIST, ENAMETOOLONG, EADDRINUSE, ETOOBIG, ENOTDIR …
function methods:bind(request)
  local bound, ids = {}, {}
  local wanted = missing(self, request.sockets or {}, bound)
  if self._count + #wanted > SOCKETS then return errors.fail("ETOOBIG", "bind: at most %d sockets are forwarded", SOCKETS) end
  local list, err, code = sockets.bind(wanted, self._rules)
  if not list then return nil, err, code end
  for i, forward in ipairs(list) do
    forward.key = forward.address or forward.key
    bound[#bound + 1] = applied(forward)
    put_up(self, forward)
    ids[i] = forward.id
  end
  self._pending:learn(ids)
  return { bound = bound }
end

--- Unbind: closes sockets; an unknown socket is no failure. Running connections go on. Does not wait.
---@param request { sockets: table[] } as they were bound
---@return table response empty
function methods:unbind(request)
  for _, socket in ipairs(request.sockets or {}) do
    local forward = find(self, socket)
    if forward then take_away(self, forward, "the host has taken the forward away") end
  end
  return {}
end

-- Accept

local function send_requests(acceptor, stream, scope)
  while true do
    local connection = acceptors.next_request(acceptor)
    if not connection then return end
    local ok, err = stream:send { stream_id = connection.id, forward_id = connection.forward.id }
    if not ok then
      log.info("socketforward: a request could not be sent: %s", err)
      return scope:cancel() -- a host that does not read gets no more requests
    end
  end
end

local function take_results(self, acceptor, stream)
  while true do
    local result, err, code = stream:recv(math.huge)
    if result then
      self._pending:settle(acceptor, result)
    elseif code == "EPROTO" then
      log.info("socketforward: %s", err)
    else
      return nil, err, code
    end
  end
end

--- Accept: offers connections to the host, and takes its results, until the stream or its input ends.
--- Waits.
---@param stream vmctl.TtrpcIncoming anything with send and recv
---@return nil, string?, string? nothing when the host has ended it
function methods:accept(stream)
  local acceptor <close> = setmetatable(self._pending:enter(), { -- luacheck: ignore
    __close = function(acceptor) self._pending:leave(acceptor) end,
  })
  local _, err, code = task.scope(function(scope)
    task.spawn_in(scope, send_requests, acceptor, stream, scope)
    local _, err, code = take_results(self, acceptor, stream)
    scope:cancel()
    return nil, err, code
  end)
  if code == "EOF" then return nil end
  return nil, err, code
end

-- The rest

--- Serves the stream port until its listener is closed. Waits.
---@param listener vmctl.Listener anything with accept and close
---@return true|nil, string?, string? code ECANCELED
function methods:serve_streams(listener)
  return self._streams:serve(listener)
end

--- Adds the service to a ttrpc server.
---@param server vmctl.TtrpcServer
function methods:register(server)
  server:register(wire.SERVICE, {
    Bind = function(request) return self:bind(request) end,
    Unbind = function(request) return self:unbind(request) end,
    Accept = function(stream) return self:accept(stream) end,
  })
end

--- Its counts. Does not wait.
---@return { sockets: integer, hosts: integer, accepted: integer, pending: integer, open: integer, total: integer,
--- failed: integer, gone: integer, expired: integer, unclaimed: integer, to_host: integer, to_guest: integer } hosts: Accept
-- streams; connections: accepted; without a stream yet; with one, now and ever; refused by the host or lost; whose process
-- left before; given up; unclaimed: streams without a connection; bytes
function methods:stats()
  local stats = {
    sockets = self._count, pending = self._pending.total, open = self._open, total = self._total, unclaimed = self._streams:count(),
    hosts = self._pending:hosts(),
    to_host = self._bytes.to_host, to_guest = self._bytes.to_guest,
  }
  for name, count in pairs(self._pending.counts) do stats[name] = count end
  for relay in pairs(self._relays) do
    local moved = relay:stats()
    stats.to_host, stats.to_guest = stats.to_host + moved.a_to_b, stats.to_guest + moved.b_to_a
  end
  return stats
end

--- Shutdown: closes all sockets, fails connections that have no stream yet, and closes unclaimed streams of its own manager. Running
--- connections go on, and a later Bind works. Idempotent, does not wait.
---@return true
function methods:shutdown()
  for _, forward in pairs(self._bound) do take_away(self, forward, "the service was shut down") end
  self._pending:fail_all(nil, "the service was shut down")
  if not self._shares then self._streams:close() end
  return true
end

--- Shuts down, and ends running connections as well. Idempotent, does not wait.
---@return true
function methods:close()
  self:shutdown()
  for relay in pairs(self._relays) do relay:close() end
  return true
end

mt.__close = methods.close

--- Makes the service. Does not wait.
---@param opts? { directory: string?, confine: boolean|string[]|nil, tcp: "any"?, mode: integer?, queue: integer?, pending: integer?,
--- pending_timeout: number?, queue_timeout: number?, handshake_timeout: number?, unclaimed_timeout: number?, unclaimed: integer?,
--- idle: number?, linger: number?, allow: function|table|nil, streams: vmctl.SocketforwardStreams? }
-- directory: where sockets may be (/run/socketfwd); confine: other
-- folders in its place, or false for anywhere, abstract names included;
-- tcp = "any": TCP sockets not on loopback alone; mode of the sockets' files (0666);
-- connections without a stream of one forward (64) and of all (1024), others wait in the backlog; seconds for the host's answer
-- (10), for an Accept stream to come (60), for a stream's id (5), for its claim (30), and how many may wait for that (1024);
-- limits of relays as of vmctl.relay; allow: who may open streams, see vmctl.net.access; streams: a manager that other services
-- use as well (see socketforward.streams), with limits of its own: the four that concern streams, and allow, do not count then,
-- and its unclaimed streams outlive this service
---@return vmctl.SocketforwardService
function M.new(opts)
  opts = options.check(opts, known, "socketforward.service")
  local self
  self = setmetatable({
    _rules = { folders = folders_of(opts), tcp = opts.tcp, mode = opts.mode }, _queue = opts.queue or QUEUE,
    _most = opts.pending or PENDING, _idle = opts.idle, _linger = opts.linger, _bound = {}, _count = 0, _relays = {}, _open = 0,
    _total = 0, _bytes = { to_host = 0, to_guest = 0 },
    _pending = pendings.new {
      pending_timeout = opts.pending_timeout or PENDING_TIMEOUT, queue_timeout = opts.queue_timeout or QUEUE_TIMEOUT,
      on_stream = function(connection) return join(self, connection) end,
      on_late = function(id) drop_stream(self, id) end,
    },
    _shares = opts.streams ~= nil,
    _streams = opts.streams or streams.new {
      handshake_timeout = opts.handshake_timeout, unclaimed = opts.unclaimed, unclaimed_timeout = opts.unclaimed_timeout,
      allow = opts.allow,
    },
  }, mt)
  return self
end

return M
