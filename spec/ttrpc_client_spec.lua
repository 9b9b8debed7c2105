local support = require "spec.support"
local ttrpc = require "vmctl.ttrpc"
local ends = require "spec.support.ttrpc"
local vmctl = require "vmctl"
local wire = require "vmctl.ttrpc.wire"

local S = ends.SERVICE
local INFO = "containerd.vminitd.services.system.v1.System"

describe("vmctl.TtrpcClient", function()
  it("takes odd ids, one after the other, and the flags of a unary request", support.run(function()
    ends.with_client(function(client, peer)
      for _, id in ipairs { 1, 3, 5 } do
        local call = vmctl.spawn(client.call, client, S, "Echo", "x")
        local frame = peer:echo()
        assert.same({ id, 0 }, { frame.id, frame.flags })
        assert.equal("x", call:join())
      end
    end)
  end))

  it("sends ids in rising order from many tasks, and gives each its own answer in any order", support.run(function()
    ends.with_client(function(client, peer)
      local calls = {}
      for i = 1, 40 do calls[i] = vmctl.spawn(client.call, client, S, "Echo", "call " .. i) end
      local frames = {}
      for i = 1, 40 do
        frames[i] = peer:take_request()
        assert.equal(2 * i - 1, frames[i].id)
      end
      for i = 40, 1, -1 do peer:reply(frames[i].id, frames[i].request.payload) end
      for i = 1, 40 do assert.equal("call " .. i, calls[i]:join()) end
    end)
  end))

  it("gives tables where the method is described, nerdbox's for instance", support.run(function()
    local handlers = { Info = function(request)
      assert.same({}, request)
      return { version = "dev", kernel_version = "Linux" }
    end }
    ends.with_both({ [INFO] = handlers }, function(client)
      assert.same({ version = "dev", kernel_version = "Linux" }, client:call(INFO, "Info", {}))
      assert.same({ version = "dev", kernel_version = "Linux" }, client:call(INFO, "Info"))
    end)
  end))

  it("refuses a table that is not of the method's type, and one where none is known", support.run(function()
    ends.with_both({}, function(client)
      assert.equal("EINVAL", support.code(client:call(INFO, "Info", { nonsense = 1 })))
      assert.equal("EINVAL", support.code(client:call(S, "Echo", {})))
      assert.has_error(function() client:call(S) end)
      assert.has_error(function() client:call(S, "Echo", "", { time_out = 1 }) end)
    end)
  end))

  it("takes types from the options", support.run(function()
    local any = "google.protobuf.Any"
    ends.with_both({ [S] = { Echo = function(bytes) return bytes end } }, function(client)
      local message = { type_url = "a", value = "\0b" }
      assert.same(message, client:call(S, "Echo", message, { request_type = any, response_type = any }))
    end)
  end))

  it("gives a status as its name, its text, and as a whole", support.run(function()
    ends.with_client(function(client, peer)
      local call = vmctl.spawn(client.call, client, S, "Echo", "x")
      local id = peer:take_request().id
      local details = { { type_url = "test/bytes", value = "\1\2\3" } }
      peer:reply(id, { code = 5, message = "gone\nfar", details = details })
      local response, err, code, status = call:join()
      assert.is_nil(response)
      assert.equal("NOT_FOUND", code)
      assert.truthy(err:find("gone", 1, true))
      assert.is_nil(err:find("\n", 1, true))
      assert.same({ 5, "gone\nfar", details }, { status.code, status.message, status.details })
    end)
  end))

  it("takes a status OK, and an answer of no bytes, for success", support.run(function()
    ends.with_client(function(client, peer)
      for _, bytes in ipairs { "", "\10\0", "\10\0\18\0" } do
        local call = vmctl.spawn(client.call, client, S, "Echo", "x")
        peer:send(wire.RESPONSE, peer:take_request().id, 0, bytes)
        assert.equal("", call:join())
      end
    end)
  end))

  it("sends what is left of the time, and fails without sending when none is", support.run(function()
    ends.with_client(function(client, peer)
      vmctl.spawn(client.call, client, S, "Echo", "x", 1.5)
      local nano = peer:take_request().request.timeout_nano
      assert.is_true(nano > 1.3e9 and nano <= 1.5e9)
      vmctl.spawn(vmctl.timeout, 1, client.call, client, S, "Echo", "x", { timeout = 30 })
      assert.is_true(peer:take_request().request.timeout_nano <= 1e9)
      assert.equal("ETIMEDOUT", support.code(client:call(S, "Echo", "x", 0)))
      assert.equal("ETIMEDOUT", support.code(client:call(S, "Echo", "x", -1)))
      peer:is_quiet()
      vmctl.spawn(client.call, client, S, "Echo", "y", 1)
      assert.equal(5, peer:take_request().id) -- what was not sent has spent none
    end)
  end))

  it("gives up at the deadline, ignores the late answer, and goes on", support.run(function()
    ends.with_client(function(client, peer)
      assert.equal("ETIMEDOUT", support.code(client:call(S, "Echo", "x", 0.02)))
      peer:echo()
      local call = vmctl.spawn(client.call, client, S, "Echo", "y")
      peer:echo()
      assert.equal("y", call:join())
    end)
  end))

  it("gives up when its task is cancelled, and the others go on", support.run(function()
    ends.with_client(function(client, peer)
      local first = vmctl.spawn(client.call, client, S, "Echo", "x")
      peer:take_request()
      local second = vmctl.spawn(client.call, client, S, "Echo", "y")
      local frame = peer:take_request()
      first:cancel()
      assert.equal("ECANCELED", support.code(first:join()))
      peer:reply(1, "late")
      peer:reply(frame.id, "y")
      assert.equal("y", second:join())
    end)
  end))

  it("bounds a blocked send by the deadline, and lets the next one through", support.run(function()
    ends.with_client(function(client, peer)
      local big = ("x"):rep(1 << 20)
      local seconds, codes = support.passed(vmctl.map, { 1, 2, 3, 4 }, function()
        return support.code(client:call(S, "Echo", big, 10))
      end)
      assert.same({ n = 4, "ETIMEDOUT", "ETIMEDOUT", "ETIMEDOUT", "ETIMEDOUT" }, codes)
      assert.is_true(seconds >= 10 and seconds < 25, seconds)
      local call = vmctl.spawn(client.call, client, S, "Echo", "small")
      local frame, last
      repeat
        frame = peer:take_request() -- those that had found room came whole
        assert.is_true(not last or frame.id > last)
        last = frame.id
      until frame.request.payload == "small"
      peer:reply(frame.id, "ok")
      assert.equal("ok", call:join())
    end)
  end))

  it("refuses a request over 4 MiB here, and spends no id on it", support.run(function()
    ends.with_client(function(client, peer)
      local _, err, code = client:call(S, "Echo", ("x"):rep(wire.MAX))
      assert.equal("ETOOBIG", code)
      assert.truthy(err:find("4194304", 1, true))
      local call = vmctl.spawn(client.call, client, S, "Echo", "x")
      assert.equal(1, peer:echo().id)
      assert.equal("x", call:join())
    end)
  end))

  it("fails one call alone when its answer is over the limit", support.run(function()
    ends.with_client(function(client, peer)
      local first = vmctl.spawn(client.call, client, S, "Echo", "x")
      local second = vmctl.spawn(client.call, client, S, "Echo", "y")
      peer:take_request()
      peer:take_request()
      peer:send(wire.RESPONSE, 1, 0, ("x"):rep(wire.MAX + 1))
      peer:reply(3, "y")
      assert.equal("RESOURCE_EXHAUSTED", support.code(first:join()))
      assert.equal("y", second:join())
    end)
  end, 5))

  it("closes the connection for a length whose first byte is not zero", support.run(function()
    ends.with_client(function(client, peer)
      local call = vmctl.spawn(client.call, client, S, "Echo", "x")
      peer:take_request()
      peer.stream:write "\1\0\0\0\0\0\0\1\2\0"
      local _, err, code = call:join()
      assert.equal("EPROTO", code)
      assert.truthy(err:find("first byte", 1, true))
      assert.equal("EPROTO", support.code(client:call(S, "Echo", "x")))
    end)
  end))

  it("ignores answers to ids that it does not know, and types that nobody knows", support.run(function()
    ends.with_client(function(client, peer)
      local call = vmctl.spawn(client.call, client, S, "Echo", "x")
      peer:reply(99, "stray")
      peer:reply(2, "even")
      peer:send(77, 1, 0, "what")
      peer:send(wire.REQUEST, 1, 0, "what")
      peer:send(wire.DATA, 12, 0, "what")
      peer:echo()
      assert.equal("x", call:join())
    end)
  end))

  it("fails a unary call that gets Data, and an answer that is none, alone", support.run(function()
    ends.with_client(function(client, peer)
      for _, kind in ipairs { wire.DATA, wire.RESPONSE } do
        local call = vmctl.spawn(client.call, client, S, "Echo", "x")
        peer:send(kind, peer:take_request().id, 0, "\255\255")
        assert.equal("EPROTO", support.code(call:join()))
      end
      local call = vmctl.spawn(client.call, client, S, "Echo", "y")
      peer:echo()
      assert.equal("y", call:join())
    end)
  end))

  it("fails all that wait, and all that comes later, when the connection is lost, and says why", support.run(function()
    ends.with_client(function(client, peer)
      local calls = {}
      for i = 1, 3 do calls[i] = vmctl.spawn(client.call, client, S, "Echo", "x") end
      local stream = assert(client:stream(S, "Chat"))
      for _ = 1, 4 do peer:take_request() end
      peer.stream:close()
      for i = 1, 3 do
        local _, err, code = calls[i]:join()
        assert.equal("ERESET", code)
        assert.truthy(err:find("lost", 1, true))
      end
      assert.equal("ERESET", support.code(stream:recv()))
      assert.equal("ERESET", support.code(stream:send "x"))
      assert.equal("ERESET", support.code(client:call(S, "Echo", "x")))
      assert.equal("ERESET", support.code(client:stream(S, "Chat")))
      assert.is_true((client:closed()))
    end)
  end))

  it("wakes all that wait when it is closed", support.run(function()
    ends.with_client(function(client, peer)
      local alone = vmctl.spawn(client.call, client, S, "Echo", "x")
      peer:take_request()
      client:close()
      assert.equal("ECLOSED", support.code(alone:join()))
      assert.equal("ECLOSED", support.code(client:call(S, "Echo", "x")))
      client:close()
    end)
  end))

  it("says so when the ids are used up", support.run(function()
    ends.with_client(function(client, peer)
      local call = vmctl.spawn(client.call, client, S, "Echo", "x")
      assert.equal(0xffffffff, peer:echo().id)
      assert.equal("x", call:join())
      local _, err, code = client:call(S, "Echo", "x")
      assert.equal("EOVERFLOW", code)
      assert.truthy(err:find("connect anew", 1, true))
    end, { first_id = wire.LAST_ID })
  end))

  it("sends metadata in lower case, the client's and the call's", support.run(function()
    ends.with_client(function(client, peer)
      vmctl.spawn(client.call, client, S, "Echo", "x", { metadata = { Key = { "1", "2" } }, timeout = 1 })
      local pairs_sent = peer:take_request().request.metadata
      assert.same({ { key = "containerd-namespace-ttrpc", value = "n" }, { key = "key", value = "1" },
        { key = "key", value = "2" } }, pairs_sent)
    end, { metadata = { ["containerd-namespace-ttrpc"] = "n" } })
  end))

  it("can be used from a plain script", function()
    local near, far = support.pair()
    local client = assert(ttrpc.client(near))
    far:set_format(wire.format)
    assert.equal("ETIMEDOUT", support.code(client:call(S, "Echo", "x", 0.02)))
    assert(far:write_frame(wire.RESPONSE, wire.encode_response "late", 1, 0))
    assert(far:write_frame(wire.RESPONSE, wire.encode_response "y", 3, 0))
    assert.equal("y", client:call(S, "Echo", "y"))
    client:close()
    far:close()
  end)
end)
