local core = require "vmctl.core"
local ends = require "spec.support.ttrpc"
local protobuf = require "vmctl.protobuf"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.ttrpc.wire"

local S = ends.SERVICE
local ANY = "google.protobuf.Any"
local AS_ANY = { request_type = ANY, response_type = ANY }

-- A message that tells calls apart.
local function message(i) return { type_url = "call/" .. i, value = "\0" .. i } end

local function ask(client, i, timeout)
  return vmctl.spawn(client.call, client, S, "Echo", message(i), { request_type = ANY, response_type = ANY, timeout = timeout })
end

local function answer(peer, id, bytes)
  peer:send(wire.RESPONSE, id, 0, assert(wire.encode_response(bytes)))
end

-- Calls fn(client, peer, hold, id) twice: while a first call reads for all (`hold` ends it), and where the first call of `fn` itself
-- reads. `id` is the next one.
local function with_calls(fn)
  ends.with_client(function(client, peer)
    local first = vmctl.spawn(client.call, client, S, "Hold", "x")
    local id = peer:take_request().id
    fn(client, peer, function()
      peer:reply(id, "held")
      assert.equal("held", first:join())
    end, 3)
  end)
  ends.with_client(function(client, peer) fn(client, peer, function() end, 1) end)
end

local function in_one_step(client) return client:stats().in_core end

describe("vmctl.Calls", function()
  it("writes what the envelope of a single call is, byte for byte", support.run(function()
    with_calls(function(client, peer, hold, id)
      local call = ask(client, 1)
      local frame = peer:recv()
      assert.equal(1, in_one_step(client))
      local payload, nano = protobuf.encode(ANY, message(1)), wire.decode_request(frame.payload).timeout_nano
      local single = wire.encode_request { service = S, method = "Echo", payload = payload, timeout_nano = nano }
      assert.equal(single, frame.payload)
      assert.same({ wire.REQUEST, id, 0 }, { frame.kind, frame.id, frame.flags })
      answer(peer, id, payload)
      assert.same(message(1), call:join())
      hold()
    end)
  end))

  it("tells the server what is left of the time", support.run(function()
    with_calls(function(client, peer, hold, id)
      local call = ask(client, 1, 1.5)
      local nano = peer:take_request().request.timeout_nano
      assert.is_true(nano > 1.3e9 and nano <= 1.5e9)
      answer(peer, id, "")
      assert.same({ type_url = "", value = "" }, call:join())
      assert.equal("ETIMEDOUT", support.code(ask(client, 2, 0):join()))
      peer:is_quiet()
      hold()
    end)
  end))

  it("gives each of more calls than have a place its own answer, in any order", support.run(function()
    with_calls(function(client, peer, hold)
      local count, calls, frames = 300, {}, {}
      for i = 1, count do calls[i] = ask(client, i) end
      for i = 1, count do frames[i] = peer:take_request() end
      assert.is_true(in_one_step(client) >= 100)
      for i = count, 1, -1 do answer(peer, frames[i].id, frames[i].request.payload) end
      for i = 1, count do assert.same(message(i), calls[i]:join()) end
      assert.equal(0, in_one_step(client))
      hold()
    end)
  end))

  it("gives a status as its name, its text, and as a whole", support.run(function()
    with_calls(function(client, peer, hold)
      local call = ask(client, 1)
      peer:reply(peer:take_request().id, { code = 5, message = "gone" })
      local response, err, code, status = call:join()
      assert.is_nil(response)
      assert.equal("NOT_FOUND", code)
      assert.truthy(err:find("gone", 1, true))
      assert.equal(5, status.code)
      hold()
    end)
  end))

  it("refuses answers that are none, and goes on", support.run(function()
    with_calls(function(client, peer, hold)
      for i, bytes in ipairs { "\255\255", "\18\1\255", "\18\3\10\1\255" } do -- envelope, message, a text that is not UTF-8
        local call = ask(client, i)
        peer:send(wire.RESPONSE, peer:take_request().id, 0, bytes)
        local response, err, code = call:join()
        assert.is_nil(response)
        assert.equal("EPROTO", code)
        assert.truthy(err:find(S .. "/Echo: the answer: decode ", 1, true), err)
      end
      local call = ask(client, 9)
      peer:send(wire.DATA, peer:take_request().id, 0, "x")
      assert.equal("EPROTO", support.code(call:join()))
      hold()
    end)
  end))

  it("fails alone when its answer is too big", support.run(function()
    with_calls(function(client, peer, hold)
      local calls = { ask(client, 1), ask(client, 2) }
      local first, second = peer:take_request(), peer:take_request()
      local sender = vmctl.spawn(peer.send, peer, wire.RESPONSE, first.id, 0, ("x"):rep(wire.MAX + 1))
      local _, _, code, status = calls[1]:join()
      assert.same({ "RESOURCE_EXHAUSTED", 8 }, { code, status.code })
      sender:join()
      answer(peer, second.id, second.request.payload)
      assert.same(message(2), calls[2]:join())
      hold()
    end)
  end))

  it("ends at its time, and nobody gets what comes later", support.run(function()
    with_calls(function(client, peer, hold)
      local _, err, code = ask(client, 1, 0.02):join()
      assert.equal("ETIMEDOUT", code)
      assert.truthy(err:find("no answer in time", 1, true))
      local late = peer:take_request()
      assert.equal(0, in_one_step(client))
      answer(peer, late.id, late.request.payload)
      local call = ask(client, 2)
      local frame = peer:take_request()
      answer(peer, frame.id, frame.request.payload)
      assert.same(message(2), call:join())
      hold()
    end)
  end))

  it("ends when its task is cancelled", support.run(function()
    with_calls(function(client, peer, hold)
      local call = ask(client, 1)
      peer:take_request()
      call:cancel()
      assert.equal("ECANCELED", support.code(call:join()))
      assert.equal(0, in_one_step(client))
      hold()
    end)
  end))

  it("says why when the connection ends", support.run(function()
    for code, finish in pairs {
      ERESET = function(_, peer) peer.stream:close() end, ECLOSED = function(client) client:close() end,
    } do
      with_calls(function(client, peer)
        local calls = {}
        for i = 1, 10 do calls[i] = ask(client, i) end
        for _ = 1, 10 do peer:take_request() end
        assert.equal(10, in_one_step(client))
        finish(client, peer)
        for i = 1, 10 do assert.equal(code, support.code(calls[i]:join())) end
        assert.equal(code, support.code(client:call(S, "Echo", message(1), AS_ANY)))
      end)
    end
  end))

  it("refuses what cannot be sent as a single call does, and spends no id for it", support.run(function()
    with_calls(function(client, peer, hold, id)
      for _, wrong in ipairs { { nonsense = 1 }, { type_url = 1 }, { type_url = "\255" }, { value = ("x"):rep(wire.MAX) } } do
        local response, err, code = client:call(S, "Echo", wrong, AS_ANY)
        assert.is_nil(response)
        assert.equal(wrong.value and "ETOOBIG" or "EINVAL", code)
        assert.truthy(err:find("call " .. S .. "/Echo: ", 1, true))
      end
      assert.equal("EINVAL", support.code(client:call("a\0b", "Echo", message(1), AS_ANY)))
      peer:is_quiet()
      local call = ask(client, 1)
      local frame = peer:take_request()
      assert.equal(id, frame.id)
      answer(peer, id, frame.request.payload)
      assert.same(message(1), call:join())
      hold()
    end)
  end))

  it("carries messages that are too large to be gathered", support.run(function()
    with_calls(function(client, peer, hold)
      for _, size in ipairs { 1500, 3000, 70000, 1 << 20 } do
        local large = { type_url = "x", value = ("y"):rep(size) }
        local call = vmctl.spawn(client.call, client, S, "Echo", large, AS_ANY)
        local frame = peer:take_request()
        vmctl.spawn(answer, peer, frame.id, frame.request.payload)
        assert.same(large, call:join())
      end
      hold()
    end)
  end))

  it("shows a trace every frame", support.run(function()
    with_calls(function(client, peer, hold)
      local before = ask(client, 1)
      local frame = peer:take_request()
      local seen = {}
      core.trace(function(event, _, payload) seen[#seen + 1] = event .. " " .. tostring(payload) end)
      answer(peer, frame.id, frame.request.payload)
      local same = before:join()
      local after = ask(client, 2)
      local second = peer:take_request()
      answer(peer, second.id, second.request.payload)
      local other = after:join()
      core.trace(nil)
      assert.same({ message(1), message(2) }, { same, other })
      local bytes = wire.encode_response(frame.request.payload)
      assert.truthy(table.concat(seen, "\n"):find("frame_in " .. bytes, 1, true))
      assert.truthy(table.concat(seen, "\n"):find("frame_out " .. second.payload, 1, true))
      hold()
    end)
  end))

  it("lets the one that reads go when its answer is there, and another reads for those who still wait", support.run(function()
    ends.with_client(function(client, peer)
      local calls, frames = {}, {}
      for i = 1, 3 do
        calls[i] = ask(client, i)
        frames[i] = peer:take_request()
      end
      assert.equal(3, in_one_step(client))
      answer(peer, frames[2].id, frames[2].request.payload)
      assert.same(message(2), calls[2]:join())
      answer(peer, frames[1].id, frames[1].request.payload)
      assert.same(message(1), calls[1]:join())
      assert.equal(1, in_one_step(client))
      answer(peer, frames[3].id, frames[3].request.payload)
      assert.same(message(3), calls[3]:join())
      assert.equal(0, in_one_step(client))
    end)
  end))

  it("leaves those that wait to another when the one that reads is cancelled or late", support.run(function()
    ends.with_client(function(client, peer)
      for _, way in ipairs { "cancelled", "late" } do
        local first = ask(client, 1, way == "late" and 0.05 or nil)
        local gone = peer:take_request()
        local second = ask(client, 2)
        local frame = peer:take_request()
        if way == "cancelled" then first:cancel() end
        assert.equal(way == "late" and "ETIMEDOUT" or "ECANCELED", support.code(first:join()))
        answer(peer, gone.id, gone.request.payload)
        answer(peer, frame.id, frame.request.payload)
        assert.same(message(2), second:join())
        assert.equal(0, in_one_step(client))
      end
    end)
  end))

  it("reads its own answer in a plain script", function()
    local near, far = vmctl.pair()
    local client, peer = vmctl.ttrpc.client(near), far:set_format(wire.format)
    for i = 1, 3 do
      local frame = wire.frame(wire.RESPONSE, wire.encode_response(protobuf.encode(ANY, message(i))), 2 * i - 1, 0)
      assert(peer:write(frame)) -- before it asks
      assert.same(message(i), client:call(S, "Echo", message(i), AS_ANY))
    end
    assert.equal("ETIMEDOUT", support.code(client:call(S, "Echo", message(4), { request_type = ANY, response_type = ANY, timeout = 0.02 })))
    assert.equal(0, client:stats().live)
    client:close()
    far:close()
  end)

  it("takes only streams with a format, and ids that go on", support.run(function()
    local near, far = support.pair()
    assert.has_error(function() core.calls(near, 1, 2) end)
    assert.has_error(function() core.requests(near, 1, 2) end)
    near:set_format(wire.format)
    local calls = core.calls(near, 1, 2)
    assert.equal(1, calls:take_id())
    for _, id in ipairs { 1, 4, -1, 1 << 32 } do assert.has_error(function() calls:continue(id) end) end
    calls:continue(wire.LAST_ID)
    assert.equal(wire.LAST_ID, calls:take_id())
    assert.is_nil(calls:take_id())
    assert.is_false(calls:fail { "text", "EPROTO" })
    assert.equal("unsent", calls:call(S, "Echo", {}, ANY, ANY, math.huge))
    assert.is_nil(calls:post(S, "Echo", {}, ANY, ANY, math.huge))
    for _, place in ipairs { -1, 128 } do assert.has_error(function() calls:take(place) end) end
    calls:give_up(0)
    assert.same({ "pending", 0 }, { calls:take(0), calls:live() })
    near:close()
    far:close()
  end))
end)

describe("vmctl.Requests", function()
  local function requests()
    local near, far = support.pair()
    near:set_format(wire.format)
    far:set_format(wire.format)
    near:cork()
    return near, far, core.requests(near, wire.REQUEST, wire.RESPONSE)
  end

  it("gives an ordinary request as values, and everything else as a frame", support.run(function()
    local near, far, incoming = requests()
    local plain = wire.encode_request { service = S, method = "Echo", payload = "abc", timeout_nano = 5 }
    far:write_frame(wire.REQUEST, plain, 7, 1)
    assert.same({ wire.REQUEST, "abc", 7, 1, S, "Echo", 5 }, { incoming:read(1) })
    local with_metadata = wire.encode_request { service = S, method = "Echo", metadata = { { key = "a", value = "b" } } }
    for _, bytes in ipairs { with_metadata, "\255", "\10\1\255", wire.encode_request { payload = ("x"):rep(5000) } } do
      far:write_frame(wire.REQUEST, bytes, 9, 0)
      assert.same({ wire.REQUEST, bytes, 9, 0 }, { incoming:read(1) })
    end
    far:write_frame(wire.DATA, plain, 11, 4)
    assert.same({ wire.DATA, plain, 11, 4 }, { incoming:read(1) })
    assert.equal("ETIMEDOUT", select(3, incoming:read(0)))
    far:close()
    assert.equal("EOF", select(3, incoming:read(1)))
    near:close()
  end))

  it("calls one who may read before the loop waits, unless that is undone, or it is collected", support.run(function()
    local near, far, incoming = requests()
    local spare, calls = core.queue(), 0
    local waiting = vmctl.spawn(function()
      while spare:wait(math.huge) do calls = calls + 1 end
    end)
    local function called()
      support.settle()
      return calls
    end
    assert.equal(0, called())
    incoming:call_later(spare)
    incoming:call_off()
    incoming:call_off()
    assert.equal(0, called())
    incoming:call_later(spare)
    incoming:call_later(spare)
    assert.equal(0, calls)
    assert.equal(1, called())
    assert.equal(1, called())
    incoming:call_later(core.queue()) -- where nobody waits
    assert.equal(1, called())
    near:close()
    incoming:call_later(spare)
    assert.equal(2, called())
    incoming:call_later(spare)
    incoming = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal(2, called())
    waiting:cancel()
    far:close()
  end))

  it("sends an answer as its envelope, or nothing at all", support.run(function()
    local near, far, outgoing = requests()
    assert.is_false(outgoing:answer(1, "no.such.Message", {}))
    assert.is_false(outgoing:answer(1, ANY, { nonsense = 1 }))
    assert.is_false(outgoing:answer(1, ANY, { value = ("x"):rep(1 << 20) }))
    assert.is_true(outgoing:answer(5, ANY, message(1)))
    local expected = wire.encode_result(ANY, message(1))
    assert.same({ wire.RESPONSE, expected, 5, 0 }, { far:read_frame(30) })
    assert.is_true(outgoing:answer(7, ANY, {}))
    assert.same({ wire.RESPONSE, "", 7, 0 }, { far:read_frame(30) })
    near:close()
    assert.is_false(outgoing:answer(9, ANY, message(1)))
    far:close()
  end))
end)
