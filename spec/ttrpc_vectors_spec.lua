local ends = require "spec.support.ttrpc"
local frame_streams = require "vmctl.ttrpc.frame_stream"
local protobuf = require "vmctl.protobuf"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"
local wire = require "vmctl.ttrpc.wire"

local all = vectors.load "ttrpc"

local SOCKETFORWARD = "nerdbox.services.socketforward.v1."

-- Full names of what the vectors call by their last part.
local messages = {
  ["ttrpc.Request"] = "ttrpc.Request", ["ttrpc.Response"] = "ttrpc.Response",
  ConnectRequest = SOCKETFORWARD .. "ConnectRequest", ConnectResult = SOCKETFORWARD .. "ConnectResult",
  BindRequest = SOCKETFORWARD .. "BindRequest", ["containerd.types.Envelope"] = "containerd.types.Envelope",
  InfoResponse = "containerd.vminitd.services.system.v1.InfoResponse",
  MountAllRequest = "containerd.vminitd.services.mount.v1.MountAllRequest",
  CreateRequest = "containerd.vminitd.services.bundle.v1.CreateRequest",
}

local frames = {}
for _, vector in ipairs(all) do
  if vector.fields.kind == "frame" then frames[#frames + 1] = vector end
end

local function body(vector)
  return vector.bytes:sub(11)
end

-- Every member that a vector names must be in the table, with that value.
local function check_members(expected, got, where)
  for name, value in pairs(expected) do
    local at = where .. "." .. name
    if name == "value_hex" then
      assert.equal(vectors.bytes(value), got.value, at)
    elseif type(value) == "table" then
      check_members(value, got[name], at)
    elseif name ~= "type" or got.type ~= nil then
      assert.equal(value, got[name], at)
    end
  end
end

local function check_payload(fields, bytes, name)
  local payload = fields.payload
  if not payload or not messages[payload.type] then return end
  local message = assert(protobuf.decode(messages[payload.type], bytes))
  local members = {}
  for member, value in pairs(payload) do
    if member ~= "type" then members[member] = value end
  end
  check_members(members, message, name)
  assert.equal(bytes, protobuf.encode(messages[payload.type], message))
end

describe("ttrpc's vectors", function()
  it("are as many as the document says", function()
    assert.equal(46, #all)
    assert.is_true(#frames >= 30)
  end)

  for _, vector in ipairs(frames) do
    local fields, frame = vector.fields, vector.fields.frame
    it("are read: " .. vector.name, support.run(function()
      local near, far = support.pair()
      local frame_stream = frame_streams.new(far)
      for cut = 1, #vector.bytes do
        assert(near:write(vector.bytes:sub(1, cut)))
        local reading = vmctl.spawn(frame_stream.read, frame_stream, 1)
        vmctl.sleep(0)
        if cut < #vector.bytes then assert(near:write(vector.bytes:sub(cut + 1))) end
        local kind, payload, id, flags = reading:join()
        assert.same({ frame.type, frame.length, frame.stream_id, frame.flags }, { kind, #payload, id, flags })
        assert.equal(body(vector), payload)
      end
      near:close()
      far:close()
    end))

    it("are made: " .. vector.name, function()
      assert.equal(vector.bytes, wire.frame(frame.type, body(vector), frame.stream_id, frame.flags))
      local name = messages[fields.message]
      if not name then return end
      local message = assert(protobuf.decode(name, body(vector)))
      if vector.name ~= "response_explicit_ok" then -- what is explicit there is left out by us
        assert.equal(body(vector), protobuf.encode(name, message))
      end
      check_payload(fields, message.payload or "", vector.name)
    end)
  end

  it("are what envelopes hold", function()
    local checked = 0
    for _, vector in ipairs(frames) do
      local fields = vector.fields
      if fields.message == "ttrpc.Request" then
        local request = assert(wire.decode_request(body(vector)))
        assert.same({ fields.service, fields.method }, { request.service, request.method })
        assert.equal(fields.timeout_nano or 0, request.timeout_nano)
        for i, pair in ipairs(fields.metadata or {}) do
          assert.same(pair, { request.metadata[i].key, request.metadata[i].value })
        end
        checked = checked + 1
      elseif fields.message == "ttrpc.Response" and type(fields.status) == "table" then
        local status = assert(wire.decode_response(body(vector))).status
        check_members(fields.status, status, vector.name)
        checked = checked + 1
      elseif messages[fields.message] then
        local message = assert(protobuf.decode(messages[fields.message], body(vector)))
        for _, name in ipairs { "stream_id", "forward_id", "error", "namespace", "topic" } do
          if fields[name] then assert.equal(fields[name], message[name]) end
        end
        checked = checked + 1
      end
    end
    assert.is_true(checked >= 25)
  end)

  it("are what our server answers, byte for byte", support.run(function()
    local services = { ["a.B"] = { Echo = function(request) return request end } }
    local cases = {
      { all.probe_request.bytes, all.probe_response.bytes },
      { wire.frame(wire.REQUEST, wire.encode_request { service = "no.Such", method = "X" }, 11, 0),
        all.error_unknown_service.bytes },
      { wire.frame(wire.REQUEST, wire.encode_request { service = "a.B", method = "Nope" }, 13, 0),
        all.error_unknown_method.bytes },
      { wire.frame(wire.REQUEST, "", 1, 0), all.error_stream_id_reused.bytes },
      { wire.frame(wire.DATA, "x", 43, 0), all.error_stream_inactive.bytes },
      { wire.frame(wire.REQUEST, ("x"):rep(wire.MAX + 1), 67, 0), all.oversize_refusal.bytes },
    }
    ends.with_server(services, function(peer)
      for _, case in ipairs(cases) do
        local writing = vmctl.spawn(peer.stream.write, peer.stream, case[1])
        assert.equal(case[2], peer.stream:read_exact(#case[2], 1))
        assert(writing:join())
      end
    end)
  end, 5))

  it("are what our client sends, byte for byte", support.run(function()
    ends.with_client(function(client, peer)
      vmctl.spawn(client.call, client, "containerd.vminitd.services.system.v1.System", "Info", {}, 60)
      local request = peer:take_request().request
      request.timeout_nano = 0 -- the vector has none
      assert.equal(all.system_info_request.bytes, wire.frame(wire.REQUEST, wire.encode_request(request), 1, 0))
      assert(client:stream("nerdbox.services.vmevents.v1.Events", "Stream", {}))
      assert.equal(all.events_stream_request.bytes:sub(9), peer.stream:read_exact(#all.events_stream_request.bytes, 1):sub(9))
    end)
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(SOCKETFORWARD .. "SocketForward", "Accept"))
      local sent = peer.stream:read_exact(#all.accept_request.bytes, 1)
      assert.equal(wire.REMOTE_OPEN | wire.NO_DATA, sent:byte(10)) -- NO_DATA is what Rust servers need beside it
      assert.equal(all.accept_request.bytes, sent:sub(1, 9) .. string.char(wire.REMOTE_OPEN) .. sent:sub(11))
      assert(stream:send { stream_id = all.accept_connect_result_ok.fields.stream_id })
      assert.equal(all.accept_connect_result_ok.bytes, peer.stream:read_exact(#all.accept_connect_result_ok.bytes, 1))
      assert(stream:close_send())
      assert.equal(all.close_send.bytes, peer.stream:read_exact(#all.close_send.bytes, 1))
    end, { first_id = 7 })
  end))
end)
