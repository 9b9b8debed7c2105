--- Shared by the specs of vmctl.cc: both ends over a socket pair, ends that speak the wire by hand, and the vectors.
local assert = require "luassert"
local cc = require "vmctl.cc"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local M = {}

local peer = {}
local peer_mt = { __index = peer }

--- An end that speaks the wire by hand.
function M.peer(stream)
  stream:set_format(cc.format)
  return setmetatable({ stream = stream }, peer_mt)
end

function peer:send(kind, payload)
  assert(self.stream:write_frame(kind, payload or ""))
end

--- The next frame: type and payload.
function peer:recv(timeout)
  return self.stream:read_frame(timeout or 1)
end

--- Sends a request and gives the answer.
function peer:ask(kind, payload)
  self:send(kind, payload)
  return self:recv()
end

--- The next frame, which must be an error: its code, message, op and path.
function peer:refusal(timeout)
  local kind, payload = assert(self:recv(timeout))
  assert.equal(cc.types.ERROR, kind)
  local d = cc.decoder(payload)
  local body = assert(d:error())
  assert.equal(0, d:remaining())
  return body.code, body.message, body.op, body.path
end

--- The other side has ended, and says nothing more.
function peer:ended()
  assert.equal("EOF", support.code(self.stream:read(1, 1)))
end

--- Fails when a frame comes within a moment.
function peer:is_quiet()
  assert.equal("ETIMEDOUT", support.code(self:recv(0.03)))
end

--- A mux of handlers by the request's name.
function M.mux(handlers)
  local mux = cc.mux()
  for name, fn in pairs(handlers) do mux:handle(cc.types[name], fn) end
  return mux
end

local function serving(handlers, opts, fn)
  local handler = type(handlers) == "table" and not getmetatable(handlers) and M.mux(handlers) or handlers
  local near, far = support.pair()
  local server = assert(cc.server(nil, handler, opts))
  vmctl.scope(function(scope)
    local task = vmctl.spawn_in(scope, server.converse, server, far)
    fn(near, server, task)
    near:close()
    server:close()
  end)
end

--- Calls fn(peer, server, task): a client that speaks the wire by hand.
function M.with_server(handlers, fn, opts)
  serving(handlers, opts, function(stream, server, task) fn(M.peer(stream), server, task) end)
end

--- Calls fn(client, server): both ends are ours.
function M.with_both(handlers, fn, opts)
  serving(handlers, nil, function(stream, server)
    local client <close> = cc.client(stream, opts)
    fn(client, server)
  end)
end

--- Calls fn(client, peer): a helper that speaks the wire by hand.
function M.with_client(fn, opts)
  local near, far = support.pair()
  local client <close> = cc.client(near, opts)
  fn(client, M.peer(far))
  far:close()
end

-- The vectors

--- An unsigned number of 64 bits from its decimal digits, and back.
function M.u64(text)
  local value = 0
  for digit in text:gmatch "%d" do value = value * 10 + tonumber(digit) end
  return value
end

function M.u64_text(value)
  if value >= 0 then return ("%d"):format(value) end
  local tenth = (value >> 1) // 5
  return ("%d%d"):format(tenth, value - tenth * 10)
end

local methods = {
  u8 = "uint8", u16 = "uint16", u32 = "uint32", u64 = "uint64", i32 = "int32", i64 = "int64", bool = "bool", str = "string",
  bytes = "bytes", strs = "string_slice",
}

--- Reads a field as a vector has it: of a type of docs/wire/cc-ipc.md#primitives.
function M.read(d, kind)
  return d[methods[kind]](d)
end

--- A field's value in Lua.
function M.value(field)
  if field.type == "u64" then return M.u64(field.value) end
  if field.type == "i64" then return math.tointeger(tonumber(field.value)) or math.mininteger end
  if field.type == "bytes" then return vectors.bytes(field.value) end
  return field.value
end

--- Writes a field of a vector.
function M.write(e, field)
  local name = field.type == "bytes" and "write_bytes" or methods[field.type]
  return e[name](e, M.value(field))
end

--- The type and the payload of a vector that is a frame.
function M.frame(vector)
  return (">I2s4"):unpack(vector.bytes)
end

return M
