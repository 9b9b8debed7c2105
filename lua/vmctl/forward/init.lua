--- Forwarding: a connection to one address is joined with one to another, on this machine or inside a guest, in either direction.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"

local TIMEOUT = 10 -- seconds to reach the target
local LIMIT = 256  -- connections at a time

---@class vmctl.Forward
---@field from vmctl.Address as it was given
---@field to vmctl.Address
local methods = {}
local mt = { __name = "vmctl.Forward", __index = methods }

local known = {
  from = "any", to = "any", limit = "integer>=1", timeout = "number>0", mode = "integer>=1<=511", allow = "function|table",
  on_connection = "function", idle = "number>0", linger = "number>0", rpc = "any", streams = "any",
}

local function parse(opts, name)
  local kind = type(opts[name])
  if kind ~= "string" and kind ~= "table" and kind ~= "function" then
    error(("forward: option '%s': an address expected, got %s"):format(name, kind), 3)
  end
  local at, err, code = address.parse(opts[name])
  if not at then return nil, ("forward: option '%s': %s"):format(name, err), code end
  return at
end

-- Where a guest's connections come from is its agent's work; but this machine as a target is this machine.
local function side_of(from)
  if from.kind ~= "inside" then return require "vmctl.forward.here", from end
  if from.target == require "vmctl.host" then return require "vmctl.forward.here", from.at end
  return require "vmctl.forward.guest", from
end

--- Forwards connections until it is closed. Works in the background: in a program without tasks only while some call waits.
--- Waits until it listens, which takes a moment inside a guest.
---@param opts { from: string|table, to: string|table|function, limit: integer?, timeout: number?, mode: integer?, allow?: function|table,
--- on_connection: function?, idle: number?, linger: number?, rpc?: string|table|function, streams?: string|table|function }
-- from: where others connect: a TCP port (0: any), a Unix socket, a vsock port of this machine, or `vm:inside(…)`;
-- to: the target: any address that can be dialled;
-- limit: connections at a time (256; further ones wait in the backlog, those of a guest for some seconds, then they are refused);
-- timeout: seconds in which the target must be reached (10; from a guest 4, whose agent itself waits no longer than 10);
-- mode: of a Unix socket's file (0600, in a guest 0666);
-- allow: who may connect here, see vmctl.net.access (by default our own user and root, and by TCP this machine);
-- on_connection(peer): called for each connection before the target is dialled, with its address where it has one; may wait;
-- unless it returns true the connection is refused, and its second value is the reason;
-- idle, linger: seconds without a byte, and seconds after one direction has ended, when a connection is ended (no limits);
-- rpc, streams: addresses of an agent's socket forwarding where the target does not tell them (a machine, and an exec client on
--- vsock, have them on the guest's ports 1025 and 1026)
---@return vmctl.Forward|nil forward with address, stats, status, wait, close; string?, string? code EADDRINUSE (a live server has
--- the address, or what is at the path is no socket), EINVAL, ENOTSUP, EACCES …
local function forward(opts)
  if type(opts) ~= "table" then error("forward: a table with 'from' and 'to' expected, got " .. type(opts), 2) end
  options.check(opts, known, "forward")
  local from, err, code = parse(opts, "from")
  if not from then return nil, err, code end
  local to
  to, err, code = parse(opts, "to")
  if not to then return nil, err, code end
  local self = setmetatable({
    from = from, to = to, _counts = { connections = 0, failed = 0, from_to = 0, to_from = 0 }, _ended = core.queue(),
    _opts = options.merge({ limit = LIMIT }, opts),
  }, mt)
  local side, where = side_of(from)
  self._side, err, code = side.start(self, where)
  if not self._side then return nil, ("forward %s to %s: %s"):format(from, to, err), code end
  return self
end

-- Asks who is to be asked, then dials. Waits.
local function dial_target(self, peer, timeout)
  local hook = self._opts.on_connection
  if hook then
    local ok, welcome, reason = xpcall(hook, debug.traceback, peer)
    if not ok then return errors.fail("EINVAL", "on_connection: %s", welcome) end
    if welcome ~= true then return errors.fail("EPERM", "refused: %s", reason or "by on_connection") end
  end
  return dial.dial(self.to, timeout or self._opts.timeout or TIMEOUT)
end

--- For the sides: a connection has come.
---@param peer? vmctl.Address
---@param timeout? number
---@return vmctl.Stream|nil target, string?, string? which is counted and kept already
function methods:_connect(peer, timeout)
  self._counts.connections = self._counts.connections + 1
  local target, err, code = dial_target(self, peer, timeout)
  if not target then self:_failed(err, code) end
  return target, err, code
end

--- For the sides: a connection could not be served. A connection that a closed forward drops is no failure.
function methods:_failed(err, code)
  if self._closed then return end
  local counts = self._counts
  counts.failed, counts.last_error, counts.last_code = counts.failed + 1, err, code
  log.info("%s: %s", self, err)
end

--- For the sides: a relay has ended, or will not be asked again.
---@param moved { a_to_b: integer, b_to_a: integer }
function methods:_moved(moved)
  self._counts.from_to = self._counts.from_to + moved.a_to_b
  self._counts.to_from = self._counts.to_from + moved.b_to_a
end

--- For the sides: it has failed, and accepts no more connections.
function methods:_end(err, code)
  if self._closed or self._why then return end
  self._why = { err, code }
  log.error("%s: %s", self, err)
  self._ended:wake()
end

--- Where others connect: the real port where 0 was asked for.
---@return vmctl.Address
function methods:address()
  return self._side:address()
end

--- Counts, up to this moment.
---@return { connections: integer, open: integer, failed: integer, from_to: integer, to_from: integer, last_error: string?,
--- last_code: string? } connections that came, that are open now, that failed (refused, or the target could not be reached: then
--- the last reason), and bytes each way
function methods:stats()
  local stats = options.merge(self._counts)
  stats.open = 0
  self._side:add_live(stats)
  return stats
end

--- Tells if it accepts connections. That says nothing about the target: see `last_error` of `stats`.
---@return "open"|"broken"|"closed" state broken: for now, or for good (the guest has ended)
---@return string? message, string? code why it is broken
function methods:status()
  if self._closed then return "closed" end
  if self._why then return "broken", table.unpack(self._why) end
  return self._side:status()
end

--- Waits until it is closed, or can never be connected to again.
---@param timeout? number|{ timeout: number } for ever by default
---@return true|nil, string?, string? code ETIMEDOUT; why it has ended by itself
function methods:wait(timeout)
  timeout = options.check(timeout, { timeout = "number" }, "forward:wait").timeout
  local deadline = core.now() + (timeout or math.huge)
  while not self._closed and not self._why do
    local ok, err, code = self._ended:wait(deadline - core.now(), ("wait for the end of %s"):format(self))
    if not ok then return nil, err, code end
  end
  if self._closed then return true end
  return nil, table.unpack(self._why)
end

--- Stops listening, ends the open connections, removes a Unix socket's file if it is still the one that was made. Idempotent, never
--- waits: a socket inside a guest is removed while other calls wait.
---@return true
function methods:close()
  if self._closed then return true end
  self._closed = true
  self._side:close()
  self._ended:wake()
  return true
end

mt.__close = methods.close

function mt:__tostring()
  return ("vmctl.Forward(%s to %s%s)"):format(self.from, self.to, self._closed and ", closed" or "")
end

return forward
