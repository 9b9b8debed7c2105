--- The guest's connections that have their streams: each is relayed, and counted.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local log = require "vmctl.log"

local M = {}

---@class vmctl.SocketforwardRelays
local methods = {}
local mt = { __name = "vmctl.SocketforwardRelays", __index = methods }

--- Makes it. Does not wait.
---@param streams vmctl.SocketforwardStreams
---@param idle? number seconds, as of vmctl.relay
---@param linger? number seconds, likewise
---@return vmctl.SocketforwardRelays
function M.new(streams, idle, linger)
  return setmetatable({
    _streams = streams, _idle = idle, _linger = linger, _relays = {}, _open = 0, _total = 0, _to_host = 0, _to_guest = 0,
  }, mt)
end

local function follow(self, relay, forward)
  local stats, err, _, partial = relay:wait(math.huge)
  if not stats then log.debug("socketforward: %s: a connection broke: %s", forward.label, err) end
  stats = stats or partial or relay:stats()
  self._to_host, self._to_guest = self._to_host + stats.a_to_b, self._to_guest + stats.b_to_a
  self._relays[relay], self._open = nil, self._open - 1
  relay:close()
end

--- Joins a connection with its stream, of which the host has reported success: the stream is there, because it was registered before
--- its ack was sent. Does not wait.
---@param connection table
---@return boolean
function methods:join(connection)
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

--- Closes a stream that came too late: the process has gone, or was given up. Does not wait.
---@param id string
function methods:drop(id)
  local stream = self._streams:claim(id)
  if stream then stream:close() end
end

--- Counts of connections and bytes, running connections included. Does not wait.
---@return integer open, integer total, integer to_host, integer to_guest
function methods:counts()
  local to_host, to_guest = self._to_host, self._to_guest
  for relay in pairs(self._relays) do
    local moved = relay:stats()
    to_host, to_guest = to_host + moved.a_to_b, to_guest + moved.b_to_a
  end
  return self._open, self._total, to_host, to_guest
end

--- Ends running connections. Idempotent, does not wait.
function methods:close()
  for relay in pairs(self._relays) do relay:close() end
end

return M
