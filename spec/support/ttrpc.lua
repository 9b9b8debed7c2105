--- Shared by the specs of ttrpc: both ends over a socket pair, and ends that speak the wire by hand.
local assert = require "luassert"
local support = require "spec.support"
local ttrpc = require "vmctl.ttrpc"
local vmctl = require "vmctl"
local wire = require "vmctl.ttrpc.wire"

local M = {}

M.SERVICE = "vmctl.spec.Service"

local peer = {}
local peer_mt = { __index = peer }

function peer:send(kind, id, flags, payload)
  assert(self.stream:write(wire.frame(kind, payload or "", id, flags or 0)))
end

--- Sends a request; `more` are members of the envelope beside service and method, and `flags`.
function peer:request(id, method, more)
  more = more or {}
  local bytes = assert(wire.encode_request {
    service = more.service or M.SERVICE, method = method, payload = more.payload, timeout_nano = more.timeout_nano,
    metadata = more.metadata,
  })
  self:send(wire.REQUEST, id, more.flags, bytes)
end

function peer:data(id, payload)
  self:send(wire.DATA, id, 0, payload)
end

function peer:finish(id)
  self:send(wire.DATA, id, wire.CLOSE)
end

--- The next frame.
function peer:recv(timeout)
  local kind, payload, id, flags = self.stream:read_frame(timeout or 30)
  if not kind then return nil, payload, id end
  return { kind = kind, payload = payload, id = id, flags = flags }
end

--- The next frame, which must be an answer: id, code and text, or id, 0 and payload.
function peer:answer(timeout)
  local frame = assert(self:recv(timeout))
  assert.equal(wire.RESPONSE, frame.kind)
  assert.equal(0, frame.flags)
  local response = assert(wire.decode_response(frame.payload))
  local status = response.status
  if status and status.code ~= 0 then return frame.id, status.code, status.message end
  return frame.id, 0, response.payload
end

--- Fails when a frame comes within a moment.
function peer:is_quiet()
  local frame, err, code = self:recv(0.03)
  assert.equal("ETIMEDOUT", code, frame and "a frame came" or err)
end

local function make_peer(stream)
  stream:set_format(wire.format)
  return setmetatable({ stream = stream }, peer_mt)
end

--- Calls fn(client, server, stream) with both ends connected.
function M.with_both(services, fn, server_opts, client_opts)
  local near, far = support.pair()
  local server = assert(ttrpc.server(services, server_opts))
  local client = assert(ttrpc.client(near, client_opts))
  vmctl.scope(function(scope)
    vmctl.spawn_in(scope, server.converse, server, far)
    fn(client, server, near)
    client:close()
    server:close()
  end)
end

--- Calls fn(peer, server): a client that speaks the wire by hand.
function M.with_server(services, fn, opts)
  local near, far = support.pair()
  local server = assert(ttrpc.server(services, opts))
  vmctl.scope(function(scope)
    vmctl.spawn_in(scope, server.converse, server, far)
    fn(make_peer(near), server)
    near:close()
    server:close()
  end)
end

--- Calls fn(client, peer): a server that speaks the wire by hand.
function M.with_client(fn, opts)
  local near, far = support.pair()
  local client = assert(ttrpc.client(near, opts))
  fn(client, make_peer(far))
  client:close()
  far:close()
end

--- The next request that a server by hand gets: its frame, with the envelope in `request`.
function peer:take_request()
  local frame = assert(self:recv())
  assert.equal(wire.REQUEST, frame.kind)
  frame.request = assert(wire.decode_request(frame.payload))
  return frame
end

--- Answers a request with bytes, or with { code =, message = }.
function peer:reply(id, result)
  local payload, status = result, nil
  if type(result) == "table" then payload, status = nil, result end
  self:send(wire.RESPONSE, id, 0, assert(wire.encode_response(payload, status)))
end

--- Takes a request and answers it with its own payload.
function peer:echo()
  local frame = self:take_request()
  self:reply(frame.id, frame.request.payload)
  return frame
end

return M
