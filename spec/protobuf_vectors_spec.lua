local assert = require "luassert"
local pb = require "vmctl.protobuf"
local vectors = require "spec.support.vectors"

local HEADER, DATA, NO_DATA = 10, 3, 4

-- The vectors' short names.
local short = {
  BindRequest = "nerdbox.services.socketforward.v1.", ConnectRequest = "nerdbox.services.socketforward.v1.",
  ConnectResult = "nerdbox.services.socketforward.v1.", InfoResponse = "containerd.vminitd.services.system.v1.",
  MountAllRequest = "containerd.vminitd.services.mount.v1.", CreateRequest = "containerd.vminitd.services.bundle.v1.",
}

local function full(name) return (short[name] or "") .. name end

-- JSON's null is a value of its own.
local function known(value)
  if type(value) ~= "userdata" then return value end
end

local function any(value)
  return { type_url = value.type_url, value = vectors.bytes(value.value_hex) }
end

local function status(value)
  local details = {}
  for i, detail in ipairs(value.details) do details[i] = any(detail) end
  return { code = value.code, message = value.message, details = details }
end

-- A payload's bytes, its type and its fields, of which the vector gives either.
local function payload(fields)
  if not fields.payload then return vectors.bytes(fields.payload_hex or "") end
  local inner = {}
  for name, value in pairs(fields.payload) do inner[name] = value end
  inner.type = nil
  local name = full(fields.payload.type)
  return assert(pb.encode(name, inner)), name, inner
end

-- The expected result of decoding each message.
local expected = {
  ["ttrpc.Request"] = function(fields)
    local metadata = {}
    for i, pair in ipairs(fields.metadata or {}) do metadata[i] = { key = pair[1], value = pair[2] } end
    return {
      service = fields.service, method = fields.method, timeout_nano = fields.timeout_nano or 0, metadata = metadata,
      payload = (payload(fields)),
    }
  end,
  ["ttrpc.Response"] = function(fields)
    return { status = known(fields.status) and status(fields.status), payload = (payload(fields)) }
  end,
  ["containerd.types.Envelope"] = function(fields)
    return { timestamp = fields.timestamp, namespace = fields.namespace, topic = fields.topic, event = any(fields.event) }
  end,
  ConnectRequest = function(fields) return { stream_id = fields.stream_id, forward_id = fields.forward_id } end,
  ConnectResult = function(fields) return { stream_id = fields.stream_id, error = fields.error } end,
}

local function has_body(fields)
  return fields.kind == "frame" and expected[known(fields.message) or ""]
    and not (fields.frame.type == DATA and fields.frame.flags & NO_DATA ~= 0)
end

describe("the body of ttrpc's vector", function()
  if not pb.available then return pending "needs protobuf-c" end
  local count = 0
  for _, vector in ipairs(vectors.load "ttrpc") do
    local fields = vector.fields
    if has_body(fields) then
      count = count + 1
      local name, body = full(fields.message), vector.bytes:sub(HEADER + 1)

      it(vector.name .. " decodes to what the vector says it holds", function()
        assert.equal(fields.frame.length, #body)
        assert.same(expected[fields.message](fields), assert(pb.decode(name, body)))
      end)

      it(vector.name .. " is encoded to the same bytes", function()
        assert.equal(body, pb.encode(name, expected[fields.message](fields)))
      end)

      if fields.payload then
        it(vector.name .. " has a payload that decodes to what the vector says it holds", function()
          local decoded = assert(pb.decode(name, body))
          local _, inner_name, inner = payload(fields)
          assert.same(inner, assert(pb.decode(inner_name, decoded.payload)))
        end)
      end
    end
  end

  it("was found in each of the frames that have one", function() assert.equal(29, count) end)

  it("proto_stream_frame is an Any", function()
    local vector = vectors.load "ttrpc".proto_stream_frame
    local body = (">s4"):unpack(vector.bytes)
    assert.same(any(vector.fields), pb.decode("google.protobuf.Any", body))
    assert.equal(body, pb.encode("google.protobuf.Any", any(vector.fields)))
  end)
end)
