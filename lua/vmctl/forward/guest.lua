--- A forward that listens inside a guest: its agent binds there, and passes each connection to this side (vmctl.socketforward).
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local socketforward = require "vmctl.socketforward"
local target = require "vmctl.base.target"

local M = {}

local methods = {}
local mt = { __index = methods }

-- The addresses of the agent's two ports for forwarding, if the target tells them.
local function ports_of(of)
  if target.is_machine(of) then return of:address(socketforward.PORT), of:address(socketforward.STREAM_PORT) end
  local at = of.address
  if at.kind == "vsock" then
    return address.vsock(at.cid, socketforward.PORT), address.vsock(at.cid, socketforward.STREAM_PORT)
  elseif at.kind == "hybrid" then
    return address.hybrid(at.path, socketforward.PORT), address.hybrid(at.path, socketforward.STREAM_PORT)
  end
end

local function find_ports(opts, where)
  local rpc, streams = ports_of(where.target)
  rpc, streams = opts.rpc or rpc, opts.streams or streams
  if rpc and streams then return rpc, streams end
  return errors.fail("ENOTSUP", "where the agent serves socket forwarding is not to be seen: options 'rpc' and 'streams' say it")
end

-- A guest that has ended does not come back; any other may.
local function on_state(self, state, err, code)
  local of = self._where.target
  if state == "serving" or not target.is_machine(of) then return end
  local ended, _, why = of:wait(0)
  if not ended and why ~= "ECLOSED" then return end
  self._forward:_end(err or "the guest has ended", code or "ERESET")
  self:close()
end

-- Makes a client, which replaces a lost one. It belongs to this side.
local function connect(self, timeout)
  local client, err, code = require("vmctl.ttrpc").connect(self._rpc, { dial_timeout = timeout })
  if not client then return nil, err, code end
  if self._client then self._client:close() end
  self._client = client
  if not self._closed then return client end
  client:close()
  return errors.fail("ECLOSED", "%s: closed", self._forward)
end

local function entry_of(self)
  local forward, at = self._forward, self._where.at
  return {
    guest_path = at.kind == "unix" and at.path or nil, guest_address = at.kind == "tcp" and tostring(at) or nil,
    mode = at.kind == "unix" and forward._opts.mode or nil,
    host = address.func(function(timeout) return forward:_connect(nil, timeout) end, tostring(forward.to)),
  }
end

--- Has the guest listen. Waits.
---@param forward vmctl.Forward
---@param where vmctl.Address
---@return table|nil side, string?, string?
function M.start(forward, where)
  local opts = forward._opts
  if opts.allow then return errors.fail("ENOTSUP", "option 'allow' is about this machine's listeners: use 'mode'") end
  local rpc, streams, code = find_ports(opts, where)
  if not rpc then return nil, streams, code end
  local self = setmetatable({
    _forward = forward, _where = where, _rpc = rpc, _id = assert(socketforward.generate_stream_id "forward"),
  }, mt)
  local client, err
  client, err, code = connect(self, opts.timeout)
  if not client then return nil, err, code end
  self._forwarder, err, code = socketforward.forward(client, { [self._id] = entry_of(self) }, {
    streams = streams, dial_timeout = opts.timeout, limit = opts.limit, idle = opts.idle, linger = opts.linger,
    reconnect = function(timeout) return connect(self, timeout) end,
    on_state = function(...) return on_state(self, ...) end,
  })
  if self._forwarder then return self end
  client:close()
  return nil, err, code
end

function methods:address()
  return assert(address.inside(self._where.target, self._forwarder:guest_address(self._id)))
end

-- Adds the failures of streams from the guest.
function methods:add_live(stats)
  local counts = self._forwarder:stats()
  stats.connections, stats.open, stats.failed = counts.total, counts.open, counts.failed
  stats.from_to, stats.to_from = counts.to_host, counts.to_guest
  local last = counts.last_error
  if last and not (stats.last_error and last:find(stats.last_error, 1, true)) then
    stats.last_error, stats.last_code = last, nil
  end
end

local states = { serving = "open", reconnecting = "broken", failed = "broken", closed = "closed" }

function methods:status()
  local status = self._forwarder:status()
  return states[status.state], status.error, status.code
end

function methods:close()
  self._closed = true
  self._forwarder:close()
  if self._client:closed() then return end
  background.spawn(tostring(self._forward), function() -- the guest has to remove its socket before the connection ends
    local ok, err = self._forwarder:unbind()
    if not ok then log.info("%s: %s", self._forward, err) end
    self._client:close()
  end)
end

return M
