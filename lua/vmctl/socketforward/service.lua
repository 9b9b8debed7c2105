--- The guest's side: listens for processes, and forwards their connections to the host
--- (docs/wire/socketforward.md#bind, and the sections behind it).
local acceptors = require "vmctl.socketforward.acceptor"
local background = require "vmctl.base.background"
local bound_sockets = require "vmctl.socketforward.bound"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local locks = require "vmctl.base.lock"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local paths = require "vmctl.socketforward.paths"
local pendings = require "vmctl.socketforward.accept_queue"
local relays = require "vmctl.socketforward.relays"
local sockets = require "vmctl.socketforward.sockets"
local streams = require "vmctl.socketforward.stream_manager"
local task = require "vmctl.base.task"
local waiting_list = require "vmctl.socketforward.waiting_list"
local wire = require "vmctl.socketforward.wire"

local M = {}

local PENDING_TIMEOUT, QUEUE_TIMEOUT = 10, 60          -- seconds
local QUEUE, PENDING = 64, 1024                        -- connections without a stream, of one forward and of all
local SOCKETS = 4096
local BIND_TIMEOUT = 30                                -- seconds for the Bind before
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

-- `turn`: of the service when it was asked.
local function bind(self, request, turn)
  local bound, ids = {}, {}
  local wanted = bound_sockets.missing(self._bound, request.sockets or {}, bound)
  if self._count + #wanted > SOCKETS then return errors.fail("ETOOBIG", "bind: at most %d sockets are forwarded", SOCKETS) end
  local list, err, code = sockets.bind(wanted, self._rules)
  if not list then return nil, err, code end
  if turn ~= self._turn then
    for _, forward in ipairs(list) do sockets.close(forward) end
    return errors.fail("ESHUTDOWN", "bind: the service was shut down")
  end
  for i, forward in ipairs(list) do
    forward.key = forward.address or forward.key
    bound[#bound + 1] = bound_sockets.applied(forward)
    put_up(self, forward)
    ids[i] = forward.id
  end
  self._pending:learn(ids)
  return { bound = bound }
end

--- Bind: makes all the listening sockets or none, one Bind after the other. A socket that is already bound in the same form is left
--- alone; another forward at the same path is replaced. A Bind is finished also when its caller does not wait any more. Waits.
---@param request { sockets: { forward_id: string, socket_path: string, extension: { mode: integer, address: string }? }[] }
---@return { bound: table[] }|nil response with the extensions that were applied, and the real addresses of those that asked for any port
---@return string?, string? code EINVAL, EACCES, EEXIST, ENAMETOOLONG, EADDRINUSE, ETOOBIG, ENOTDIR …, ETIMEDOUT (another Bind takes
-- 30 s), ESHUTDOWN (a shutdown came meanwhile)
function methods:bind(request)
  local results
  local turn = self._turn
  local binding = background.spawn("socketforward: bind", function()
    results = table.pack(self._binding:with(BIND_TIMEOUT, bind, self, request, turn))
  end)
  local ok, err, code = binding:join()
  if results then return table.unpack(results, 1, results.n) end
  return nil, ok and "bind: it broke off" or err, ok and "EIO" or code
end

--- Unbind: closes sockets; an unknown socket is no failure. Running connections go on. Does not wait.
---@param request { sockets: table[] } as they were bound
---@return table response empty
function methods:unbind(request)
  for _, socket in ipairs(request.sockets or {}) do
    local forward = bound_sockets.find(self._bound, socket)
    if forward then take_away(self, forward, "the host has taken the forward away") end
  end
  return {}
end

-- Accept

--- Accept: offers connections to the host, and takes its results, until the stream or its input ends.
--- Waits.
---@param stream vmctl.TtrpcIncoming anything with send and recv
---@return nil, string?, string? nothing when the host has ended it
function methods:accept(stream)
  local acceptor <close> = setmetatable(self._pending:enter(), { -- luacheck: ignore
    __close = function(acceptor) self._pending:leave(acceptor) end,
  })
  local _, err, code = task.scope(function(scope)
    task.spawn_in(scope, acceptors.send_requests, acceptor, stream, scope)
    local _, err, code = acceptors.take_results(acceptor, stream, self._pending)
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
  local open, total, to_host, to_guest = self._relays:counts()
  local stats = {
    sockets = self._count, pending = self._pending.total, open = open, total = total, unclaimed = self._streams:count(),
    hosts = self._pending:hosts(), to_host = to_host, to_guest = to_guest,
  }
  for name, count in pairs(self._pending.counts) do stats[name] = count end
  return stats
end

--- Shutdown: closes all sockets, fails connections that have no stream yet, and closes unclaimed streams of its own manager. Running
--- connections go on, and a later Bind works. Idempotent, does not wait.
---@return true
function methods:shutdown()
  self._turn = self._turn + 1
  for _, forward in pairs(self._bound) do take_away(self, forward, "the service was shut down") end
  self._pending:fail_all(nil, "the service was shut down")
  if not self._shares then self._streams:close() end
  return true
end

--- Shuts down, and ends running connections as well. Idempotent, does not wait.
---@return true
function methods:close()
  self:shutdown()
  self._relays:close()
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
  local shared = opts.streams
  local manager = shared or streams.new {
    handshake_timeout = opts.handshake_timeout, unclaimed = opts.unclaimed, unclaimed_timeout = opts.unclaimed_timeout,
    allow = opts.allow,
  }
  local joined = relays.new(manager, opts.idle, opts.linger)
  return setmetatable({
    _rules = { folders = paths.folders(opts), tcp = opts.tcp, mode = opts.mode }, _queue = opts.queue or QUEUE,
    _most = opts.pending or PENDING, _bound = {}, _count = 0, _relays = joined, _binding = locks.lock(), _turn = 0,
    _shares = shared ~= nil, _streams = manager,
    _pending = pendings.new {
      pending_timeout = opts.pending_timeout or PENDING_TIMEOUT, queue_timeout = opts.queue_timeout or QUEUE_TIMEOUT,
      on_stream = function(connection) return joined:join(connection) end,
      on_late = function(id) joined:drop(id) end,
    },
  }, mt)
end

return M
