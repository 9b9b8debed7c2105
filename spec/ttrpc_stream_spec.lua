local ends = require "spec.support.ttrpc"
local native = require "spec.support.native"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.ttrpc.wire"

local S = ends.SERVICE
local EVENTS = "nerdbox.services.vmevents.v1.Events"

local function count(stream)
  for i = 1, tonumber((stream:recv())) do assert(stream:send(tostring(i))) end
end

local function gather(stream)
  local all = {}
  for message in stream:messages() do all[#all + 1] = message end
  return table.concat(all, ",")
end

local function chat(stream)
  for message in stream:messages() do assert(stream:send("<" .. message .. ">")) end
end

local both = { client_stream = true, server_stream = true }
local handlers = {
  Echo = function(request) return request end,
  Count = { handler = count, server_stream = true },
  Gather = { handler = gather, client_stream = true },
  Chat = { handler = chat, client_stream = true, server_stream = true },
}

local function collect(stream)
  local got = {}
  for message in stream:messages() do got[#got + 1] = message end
  return table.concat(got, " ")
end

describe("vmctl.TtrpcStream", function()
  it("carries all three kinds", support.run(function()
    ends.with_both({ [S] = handlers }, function(client)
      assert.equal("1 2 3", collect(assert(client:stream(S, "Count", "3"))))
      local stream = assert(client:stream(S, "Gather", nil, { client_stream = true, server_stream = false }))
      for _, word in ipairs { "a", "", "b" } do assert(stream:send(word)) end
      assert(stream:close_send())
      assert.equal("a,,b", stream:recv())
      assert.equal("EOF", support.code(stream:recv()))
      stream = assert(client:stream(S, "Chat"))
      for _, word in ipairs { "a", "", "b" } do
        assert(stream:send(word))
        assert.equal("<" .. word .. ">", stream:recv())
      end
      assert(stream:close_send())
      assert.equal("EOF", support.code(stream:recv()))
      assert.equal(0, client:stats().live)
    end)
  end))

  it("says with its flags what the client will send", support.run(function()
    ends.with_client(function(client, peer)
      local open = wire.REMOTE_OPEN | wire.NO_DATA -- the request has no message
      local kinds = { { nil, "", wire.REMOTE_CLOSED }, { both, nil, open }, { nil, nil, open },
        { { client_stream = true }, nil, open }, { both, "first", wire.REMOTE_OPEN } }
      for _, kind in ipairs(kinds) do
        assert(client:stream(S, "Any", kind[2], kind[1]))
        assert.equal(kind[3], peer:take_request().flags)
      end
    end)
  end))

  it("knows described methods: events as tables", support.run(function()
    local event = { timestamp = { seconds = 1750000000, nanos = 5 }, namespace = "default", topic = "/tasks/exit" }
    local services = { [EVENTS] = { Stream = function(stream)
      assert.same({}, stream:recv())
      assert(stream:send(event))
    end } }
    ends.with_both(services, function(client)
      local stream = assert(client:stream(EVENTS, "Stream", {}))
      local got = assert(stream:recv())
      assert.same({ event.namespace, event.topic, event.timestamp }, { got.namespace, got.topic, got.timestamp })
      assert.equal("EOF", support.code(stream:recv()))
    end)
  end))

  it("gives an empty argument to a method that takes no stream", support.run(function()
    local got
    local services = { [S] = { Look = { server_stream = true, handler = function(stream)
      got = { stream:recv(), support.code(stream:recv()) }
    end } } }
    ends.with_both(services, function(client)
      assert.equal("", collect(assert(client:stream(S, "Look", ""))))
      assert.same({ "", "EOF" }, got)
    end)
  end))

  it("takes a first message with the request", support.run(function()
    ends.with_both({ [S] = handlers }, function(client)
      local stream = assert(client:stream(S, "Chat", "first", both))
      assert.equal("<first>", stream:recv())
      stream:close()
    end)
  end))

  it("ends with an error's status, also after messages, and is forgotten", support.run(function()
    local services = { [S] = { Fail = { server_stream = true, client_stream = true, handler = function(stream)
      assert(stream:send "one")
      return nil, "gone", "ABORTED"
    end } } }
    ends.with_both(services, function(client)
      local stream = assert(client:stream(S, "Fail"))
      assert.equal("one", stream:recv())
      for _ = 1, 2 do -- every time, and without a wait
        local _, _, code, status = stream:recv()
        assert.same({ "ABORTED", 10 }, { code, status.code })
      end
      assert.equal("ABORTED", support.code(stream:send "x"))
      assert.equal(0, client:stats().live)
    end)
  end))

  it("reads every form of Data", support.run(function()
    ends.with_client(function(client, peer)
      local forms = {
        { { 0, "x" }, { 5, "" }, "x", "EOF" }, { { 0, "" }, { 5, "" }, "", "EOF" }, { { 1, "" }, "", "EOF" },
        { { 1, "x" }, "x", "EOF" }, { { 4, "" }, { 5, "" }, "EOF" }, { { 5, "zz" }, "EOF" },
      }
      for i, form in ipairs(forms) do
        local stream = assert(client:stream(S, "Any"))
        local id = peer:take_request().id
        for _, step in ipairs(form) do
          if type(step) == "table" then
            peer:send(wire.DATA, id, step[1], step[2])
          else
            local message, _, code = stream:recv()
            assert.equal(step, message or code, "form " .. i)
          end
        end
      end
      assert.equal(0, client:stats().live)
    end)
  end))

  it("takes an answer that says OK for a last message and the end", support.run(function()
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(S, "Any", nil, { client_stream = true, server_stream = false }))
      peer:reply(peer:take_request().id, "")
      assert.equal("", stream:recv())
      assert.equal("EOF", support.code(stream:recv()))
      stream = assert(client:stream(S, "Any"))
      peer:reply(peer:take_request().id, "x")
      assert.equal("x", stream:recv())
      assert.equal("EOF", support.code(stream:recv()))
    end)
  end))

  it("refuses Data of a method that answers once", support.run(function()
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(S, "Any", nil, { client_stream = true, server_stream = false }))
      peer:data(peer:take_request().id, "x")
      assert.equal("EPROTO", support.code(stream:recv()))
      local call = vmctl.spawn(client.call, client, S, "Echo", "y")
      assert.equal(wire.CLOSE, assert(peer:recv()).flags) -- its end is told
      peer:echo()
      assert.equal("y", call:join())
    end)
  end))

  it("sends no more once it is closed, and closes once", support.run(function()
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(S, "Any"))
      local id = peer:take_request().id
      assert(stream:close_send())
      assert(stream:close_send())
      assert.equal("ECLOSED", support.code(stream:send "x"))
      assert.same({ kind = wire.DATA, id = id, flags = wire.CLOSE, payload = "" }, peer:recv())
      peer:is_quiet()
      peer:data(id, "still")
      assert.equal("still", stream:recv())
      stream = assert(client:stream(S, "Any", "x"))
      assert.equal("EPROTO", support.code(stream:send "x"))
    end)
  end))

  it("says EPIPE for a send after the server's end", support.run(function()
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(S, "Any"))
      peer:finish(peer:take_request().id)
      assert.equal("EOF", support.code(stream:recv()))
      assert.equal("EPIPE", support.code(stream:send "x"))
      assert(stream:close_send())
      peer:is_quiet()
    end)
  end))

  it("swallows what comes for a stream that was given up, and tells the server of its end", support.run(function()
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(S, "Any"))
      local id = peer:take_request().id
      stream:close()
      stream:close()
      assert.equal(wire.CLOSE, assert(peer:recv()).flags)
      for _ = 1, 500 do peer:data(id, "x") end
      peer:reply(id, "x")
      assert.equal("ECLOSED", support.code(stream:recv()))
      assert.equal("ECLOSED", support.code(stream:send "x"))
      local call = vmctl.spawn(client.call, client, S, "Echo", "y")
      peer:echo()
      assert.equal("y", call:join())
    end)
  end))

  it("ends at its own deadline, which the server is told, and a recv's time-out leaves it usable", support.run(function()
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(S, "Any", nil, { timeout = 10 }))
      local frame = peer:take_request()
      assert.is_true(frame.request.timeout_nano > 0 and frame.request.timeout_nano <= 1e10)
      assert.equal("ETIMEDOUT", support.code(stream:recv(0.01)))
      peer:data(frame.id, "x")
      assert.equal("x", stream:recv())
      local seconds, _, _, why = support.passed(stream.recv, stream, 20)
      assert.equal("ETIMEDOUT", why)
      assert.is_true(seconds < 11, seconds)
      stream:close()
    end)
  end))

  it("carries metadata", support.run(function()
    ends.with_client(function(client, peer)
      assert(client:stream(S, "Any", nil, { metadata = { K = "v" } }))
      assert.same({ { key = "k", value = "v" } }, peer:take_request().request.metadata)
    end)
  end))

  it("refuses a message over 4 MiB here, and goes on", support.run(function()
    ends.with_both({ [S] = handlers }, function(client)
      local stream = assert(client:stream(S, "Chat"))
      assert.equal("ETOOBIG", support.code(stream:send(("x"):rep(wire.MAX + 1))))
      assert(stream:send "x")
      assert.equal("<x>", stream:recv())
      stream:close()
    end)
  end))

  it("fails alone when a message over the limit comes for it", support.run(function()
    ends.with_client(function(client, peer)
      local stream, other = assert(client:stream(S, "Any")), assert(client:stream(S, "Any"))
      peer:take_request()
      peer:take_request()
      peer:send(wire.DATA, 1, 0, ("x"):rep(wire.MAX + 1))
      peer:data(3, "y")
      assert.equal("RESOURCE_EXHAUSTED", support.code(stream:recv()))
      assert.equal("y", other:recv())
    end)
  end, 5))
end)

describe("many streams of ttrpc", function()
  it("pass all messages of a server that is faster than its reader", support.run(function()
    ends.with_both({ [S] = handlers }, function(client)
      local stream, last = assert(client:stream(S, "Count", "20000")), 0
      for message in stream:messages() do
        last = last + 1
        if message ~= tostring(last) then error "out of order" end
        if last % 5000 == 0 then support.settle() end
      end
      assert.equal(20000, last)
    end)
  end, 10))

  it("do not wait for one that nobody reads; that one fails alone, beyond its bound", support.run(function()
    local function flood(stream)
      repeat until not stream:send(("x"):rep(1000))
    end
    local services = { [S] = { Flood = { server_stream = true, handler = flood }, Echo = handlers.Echo } }
    ends.with_both(services, function(client)
      local stalled = assert(client:stream(S, "Flood", ""))
      for i = 1, 200 do assert.equal("x" .. i, client:call(S, "Echo", "x" .. i)) end
      support.eventually(function()
        client:call(S, "Echo", "")
        return stalled:ended()
      end)
      assert.equal("ETOOBIG", support.code(stalled:recv())) -- what was kept for it has been dropped
      assert.equal(0, client:stats().held)
    end)
  end, 20))

  it("keep the peer waiting when one is alone, for as long as it takes, in bounded memory", support.run(function()
    ends.with_client(function(client, peer)
      local stream = assert(client:stream(S, "Any"))
      local id = peer:take_request().id
      local frame, queued = wire.frame(wire.DATA, ("x"):rep(10000), id, 0), 0
      while peer.stream:write(frame, 0.05) do queued = queued + 1 end
      assert.is_true(queued < 400)
      assert.equal(64, stream:unread())
      assert.equal(10000, #stream:recv())
      local call = vmctl.spawn(client.call, client, S, "Echo", "x", 1) -- now others would have to wait: it reads on
      support.eventually(function() return stream:unread() > 64 end)
      call:cancel()
    end)
  end))

  it("take a flood of streams that are opened and left, up to the limit", support.run(function()
    local running = 0
    local function wait(stream)
      running = running + 1
      stream:recv()
      running = running - 1
    end
    local services = { [S] = { Wait = { client_stream = true, handler = wait }, Echo = handlers.Echo } }
    ends.with_server(services, function(peer)
      local request = wire.encode_request { service = S, method = "Wait" }
      local frames = {}
      for i = 1, 300 do frames[i] = wire.frame(wire.REQUEST, request, 2 * i - 1, wire.REMOTE_OPEN) end
      vmctl.spawn(peer.stream.write, peer.stream, table.concat(frames))
      for i = 101, 300 do
        local id, code = peer:answer()
        assert.same({ 2 * i - 1, 8 }, { id, code })
      end
      assert.equal(100, running)
      peer:finish(1)
      assert.equal(1, (peer:answer()))
      peer:request(1001, "Echo", { payload = "x" })
      assert.same({ 1001, 0, "x" }, { peer:answer() })
      peer.stream:close()
      support.eventually(function() return running == 0 end)
    end, { streams = 100 })
  end))

  it("do not wedge when both sides write more than the sockets hold", support.run(function()
    native.functions()
    ends.with_both({ [S] = handlers }, function(client, _, stream)
      native.functions().buffers(stream:fileno(), 4096)
      local big = ("x"):rep(300000)
      local streams = {}
      for i = 1, 4 do streams[i] = assert(client:stream(S, "Chat")) end
      vmctl.scope(function()
        for _, one in ipairs(streams) do
          vmctl.spawn(function()
            for _ = 1, 20 do assert(one:send(big)) end
            assert(one:close_send())
          end)
        end
        for _, one in ipairs(streams) do
          vmctl.spawn(function()
            local n = 0
            for message in one:messages() do
              assert(#message == #big + 2)
              n = n + 1
            end
            assert.equal(20, n)
          end)
        end
        for _ = 1, 20 do assert.equal(#big, #assert(client:call(S, "Echo", big))) end
      end)
    end)
  end, 10))
end)
