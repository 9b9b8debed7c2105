--- One forwarded connection on the host's side: from the guest's request to the end of its relay
--- (docs/wire/socketforward.md#accept, steps 4 to 8).
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local log = require "vmctl.log"
local wire = require "vmctl.socketforward.wire"

local M = {}

-- Opens the guest's stream and waits for its ack. Success may be reported only then: the guest looks for the stream once.
local function open_stream(forwarder, id)
  local deadline = core.now() + forwarder.open_timeout
  local stream, err, code = forwarder.open(forwarder.open_timeout)
  if not stream then return nil, err, code end
  local ok
  ok, err, code = wire.open(stream, id, deadline - core.now())
  if ok then return stream end
  stream:close()
  return nil, err, code
end

-- The relay between both ends; or nil, the text for the guest, and the reason for our log.
local function join(entry, id)
  local forwarder = entry.forwarder
  local target, err = dial.dial(entry.target, forwarder.dial_timeout)
  if not target then return nil, wire.DIAL_FAILED, err end
  local stream, relay
  stream, err = open_stream(forwarder, id)
  if stream and not forwarder.closed then relay, err = core.relay(target, stream, forwarder.idle, forwarder.linger) end
  if relay then return relay end
  target:close()
  if stream then stream:close() end
  return nil, wire.OPEN_FAILED, err or "closed"
end

local function refuse(entry, answer, text, why)
  entry.failed = entry.failed + 1
  entry.last_error = why
  log.info("socketforward: %s: %s", entry.label, why)
  answer(text)
end

-- Waits until both directions have ended.
local function follow(entry, relay)
  local stats, err, _, partial = relay:wait(math.huge)
  if not stats then log.debug("socketforward: %s: a connection broke: %s", entry.label, err) end
  stats = stats or partial or relay:stats()
  entry.to_guest, entry.to_host = entry.to_guest + stats.a_to_b, entry.to_host + stats.b_to_a
  entry.relays[relay] = nil
  relay:close()
  entry.forwarder:on_relay_end()
end

--- Serves a request until the guest has got its result. Waits.
---@param entry table of its forward id: forwarder, target, label and counters
---@param id string the stream's
---@param answer fun(text: string): true|nil, string? tells the guest: "" is success
---@return fun()|nil follow if there is a connection: waits until it ends
function M.begin(entry, id, answer)
  local forwarder = entry.forwarder
  entry.total = entry.total + 1
  if not forwarder:await_place() then return refuse(entry, answer, wire.TOO_MANY, wire.TOO_MANY) end
  local relay, text, why = join(entry, id)
  if not relay then
    forwarder:on_relay_end()
    return refuse(entry, answer, text, why)
  end
  entry.relays[relay] = true
  local ok, err = answer ""
  if not ok then
    entry.failed, entry.last_error = entry.failed + 1, err
    relay:close() -- the guest was not told of it
  end
  return function() follow(entry, relay) end
end

return M
