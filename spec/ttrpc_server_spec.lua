local support = require "spec.support"
local ends = require "spec.support.ttrpc"
local ttrpc = require "vmctl.ttrpc"
local vmctl = require "vmctl"
local wire = require "vmctl.ttrpc.wire"

local S = ends.SERVICE

local function echo(request) return request end

describe("vmctl.TtrpcServer", function()
  it("runs handlers side by side, and answers as they end", support.run(function()
    local gate = vmctl.channel()
    local handlers = { Wait = function() return gate:recv() end, Echo = echo }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Wait")
      peer:request(3, "Echo", { payload = "x" })
      assert.same({ 3, 0, "x" }, { peer:answer() })
      assert(gate:send "first")
      assert.same({ 1, 0, "first" }, { peer:answer() })
    end)
  end))

  it("makes a status of what a handler says went wrong", support.run(function()
    local cases = {
      { "NOT_FOUND", 5 }, { "ENOENT", 5 }, { "EACCES", 7 }, { "ECANCELED", 1 }, { "EOF", 11 }, { 9, 9 }, { "EWHAT", 2 },
      { nil, 2 }, { "OK", 2 },
    }
    local at = 0
    local function fail()
      at = at + 1
      return nil, "no " .. at, cases[at][1]
    end
    ends.with_server({ [S] = { Fail = fail } }, function(peer)
      for i, case in ipairs(cases) do
        peer:request(2 * i - 1, "Fail")
        assert.same({ 2 * i - 1, case[2], "no " .. i }, { peer:answer() })
      end
    end)
  end))

  it("carries every status by its name and by its number", support.run(function()
    local names = require("vmctl.ttrpc.status").names
    local function fail(request) return nil, "because", math.tointeger(request) or request end
    ends.with_both({ [S] = { Fail = fail } }, function(client)
      for number = 1, 16 do
        for _, said in ipairs { names[number], tostring(number) } do
          local response, _, code, status = client:call(S, "Fail", said)
          assert.same({ names[number], number, "because" }, { code, status.code, status.message })
          assert.is_nil(response)
        end
      end
    end)
  end))

  it("sends the details of a failure", support.run(function()
    local details = { { type_url = "test/bytes", value = "\1\2\3" } }
    local handlers = { Fail = function() return nil, "gone", "NOT_FOUND", details end }
    ends.with_both({ [S] = handlers }, function(client)
      assert.same(details, select(4, client:call(S, "Fail")).details)
    end)
  end))

  it("answers INTERNAL when a handler raises, without what it said, and lives", support.run(function()
    local handlers = { Raise = function() error "secret /path" end, Object = function() error {} end, Echo = echo }
    ends.with_server({ [S] = handlers }, function(peer)
      for i, name in ipairs { "Raise", "Object" } do
        peer:request(2 * i - 1, name)
        local _, code, text = peer:answer()
        assert.equal(13, code)
        assert.is_nil(text:find("secret", 1, true))
        assert.is_nil(text:find("traceback", 1, true))
      end
      peer:request(9, "Echo", { payload = "x" })
      assert.same({ 9, 0, "x" }, { peer:answer() })
    end)
  end))

  it("ends what a handler spawns with the handler, and fails that call alone", support.run(function()
    local code
    local handlers = {
      Fork = function()
        vmctl.spawn(function() code = support.code(vmctl.sleep(10)) end)
        vmctl.spawn(function() error "in a task of the handler's" end)
        return ""
      end, Echo = echo,
    }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Fork")
      assert.equal(13, select(2, peer:answer()))
      assert.equal("ECANCELED", code)
      peer:request(3, "Echo")
      assert.same({ 3, 0, "" }, { peer:answer() })
    end)
  end))

  it("bounds the bytes of requests at work", support.run(function()
    local gate = vmctl.channel()
    ends.with_server({ [S] = { Wait = function() return gate:recv() end } }, function(peer)
      local big = ("x"):rep(4000000)
      for i = 1, 17 do peer:request(2 * i - 1, "Wait", { payload = big }) end
      local id, code = peer:answer()
      assert.same({ 33, 8 }, { id, code })
    end)
  end, 5))

  it("can be closed while it waits for a handler that reads nothing", support.run(function()
    local handlers = { Idle = { client_stream = true, handler = function() vmctl.sleep(10) end } }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Idle", { flags = wire.REMOTE_OPEN })
      vmctl.spawn(peer.stream.write, peer.stream, wire.frame(wire.DATA, ("x"):rep(1000), 1, 0):rep(1000))
      peer:is_quiet()
    end)
  end))

  it("cleans texts that are not UTF-8, and keeps the connection", support.run(function()
    local handlers = { Fail = function() return nil, "open \255\0: no such file", "ENOENT" end, Echo = echo }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Fail")
      local _, code, text = peer:answer()
      assert.equal(5, code)
      assert.truthy(utf8.len(text))
      peer:request(3, "Echo")
      assert.same({ 3, 0, "" }, { peer:answer() })
    end)
  end))

  it("answers RESOURCE_EXHAUSTED for a result over 4 MiB, and keeps the connection", support.run(function()
    local handlers = { Large = function() return ("x"):rep(wire.MAX) end, Echo = echo }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Large")
      local id, code = peer:answer()
      assert.same({ 1, 8 }, { id, code })
      peer:request(3, "Echo", { payload = "x" })
      assert.same({ 3, 0, "x" }, { peer:answer() })
    end)
  end))

  it("refuses results that are none: nothing, or of another type", support.run(function()
    local info, events = "containerd.vminitd.services.system.v1.System", "containerd.vminitd.services.mount.v1.Mount"
    local services = {
      [S] = { None = function() end, Table = function() return {} end },
      [info] = { Info = function() return { nonsense = true } end },
      [events] = { Unmount = function() end, UnmountAll = function() return true end },
    }
    ends.with_both(services, function(client)
      assert.equal("UNKNOWN", support.code(client:call(S, "None")))
      assert.equal("INTERNAL", support.code(client:call(S, "Table")))
      assert.equal("INTERNAL", support.code(client:call(info, "Info")))
      assert.same({}, client:call(events, "Unmount", { target = "/x" })) -- nothing is what Empty holds
      assert.same({}, client:call(events, "UnmountAll"))
    end)
  end))

  it("answers INTERNAL for an argument that is not of the method's type", support.run(function()
    local bundle = "containerd.vminitd.services.bundle.v1.Bundle"
    ends.with_server({ [bundle] = { Create = function() error "not to be called" end } }, function(peer)
      peer:request(1, "Create", { service = bundle, payload = "\10\1\255" })
      local _, code, text = peer:answer()
      assert.equal(13, code)
      assert.truthy(text:find("unmarshalling", 1, true))
    end)
  end))

  it("says UNIMPLEMENTED for a service and for a method that is not there", support.run(function()
    local description = ttrpc.service { name = "x.Y", methods = { Told = {}, Made = {} } }
    ends.with_server({ [S] = { Echo = echo }, [description] = { Made = echo } }, function(peer)
      peer:request(1, "Echo", { service = "no.Such" })
      assert.same({ 1, 12, "service no.Such" }, { peer:answer() })
      peer:request(3, "Nope")
      assert.same({ 3, 12, "method Nope" }, { peer:answer() })
      peer:request(5, "Told", { service = "x.Y" })
      assert.same({ 5, 12, "method Told" }, { peer:answer() })
      peer:request(7, "Echo", { service = "/" .. S }) -- no slashed form is known
      assert.equal(12, select(2, peer:answer()))
    end)
  end))

  it("tells handlers who asks for what, with metadata by lower-case keys", support.run(function()
    local seen
    local handlers = { Look = function(_, context)
      seen = context
      return ""
    end }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Look", { metadata = { { key = "K", value = "1" }, { key = "k", value = "2" } } })
      peer:answer()
      assert.same({ S, "Look", { k = { "1", "2" } } }, { seen.service, seen.method, seen.metadata })
      assert.is_nil(seen.deadline)
      assert.is_true(seen.canceled())
    end)
  end))

  it("ends a handler's waits at the deadline, and answers DEADLINE_EXCEEDED", support.run(function()
    local left
    local handlers = {
      Wait = function(_, context)
        left = context.deadline - vmctl.now()
        return vmctl.sleep(10)
      end,
      Assert = function() assert(vmctl.sleep(10)) end,
      Stream = { server_stream = true, client_stream = true, handler = function(stream) return stream:recv() end },
    }
    ends.with_server({ [S] = handlers }, function(peer)
      for i, name in ipairs { "Wait", "Assert", "Stream" } do
        peer:request(2 * i - 1, name, { timeout_nano = 30000000, flags = i == 3 and wire.REMOTE_OPEN or 0 })
        local id, code = peer:answer()
        assert.same({ 2 * i - 1, 4 }, { id, code })
      end
      assert.is_true(left > 0.01 and left <= 0.03)
    end)
  end))

  it("runs the handler of a request whose time is over, and every wait of it fails", support.run(function()
    local code
    local handlers = {
      Wait = function()
        code = support.code(vmctl.sleep(1))
        return nil, "late", code
      end,
      Deaf = function() return "done" end,
    }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Wait", { timeout_nano = -1 })
      assert.equal(4, select(2, peer:answer()))
      assert.equal("ETIMEDOUT", code)
      peer:request(3, "Deaf", { timeout_nano = -1 })
      assert.same({ 3, 0, "done" }, { peer:answer() })
    end)
  end))

  it("cancels the handlers of a client that has gone", support.run(function()
    local codes, canceled = {}, nil
    local handlers = {
      Wait = function(_, context)
        codes[1] = support.code(vmctl.sleep(10))
        canceled = context.canceled()
      end,
      Stream = { client_stream = true, handler = function(stream) codes[2] = support.code(stream:recv()) end },
    }
    ends.with_server({ [S] = handlers }, function(peer)
      peer:request(1, "Wait")
      peer:request(3, "Stream", { flags = wire.REMOTE_OPEN })
      support.settle()
      peer.stream:close()
      support.eventually(function() return codes[1] and codes[2] end)
      assert.same({ "ECANCELED", "ECANCELED" }, codes)
      assert.is_true(canceled)
    end)
  end))

  it("limits the streams of a connection", support.run(function()
    local gate = vmctl.channel()
    ends.with_server({ [S] = { Wait = function() return gate:recv() end } }, function(peer)
      for id = 1, 7, 2 do peer:request(id, "Wait") end
      local id, code = peer:answer()
      assert.same({ 7, 8 }, { id, code })
      assert(gate:send "x")
      assert.same({ 1, 0, "x" }, { peer:answer() })
      peer:request(9, "Wait")
      gate:send "y" gate:send "y" gate:send "y"
      local ids = {}
      for i = 1, 3 do ids[i] = peer:answer() end
      assert.same({ 3, 5, 9 }, ids)
    end, { streams = 3 })
  end))

  it("serves two clients at a time, each with ids of its own", support.run(function()
    local path = support.tmpdir() .. "/s"
    local listener = assert(vmctl.listen("unix:" .. path))
    local server = assert(ttrpc.server { [S] = { Echo = echo } })
    local serving = vmctl.spawn(server.serve, server, listener)
    local clients = { assert(ttrpc.connect("unix:" .. path)), assert(ttrpc.connect("unix:" .. path)) }
    vmctl.map(clients, function(client, n)
      for i = 1, 20 do assert.equal(n .. "/" .. i, client:call(S, "Echo", n .. "/" .. i)) end
    end)
    clients[1]:close()
    assert.equal("still", clients[2]:call(S, "Echo", "still"))
    clients[2]:close()
    listener:close()
    assert.is_true(serving:join(30))
  end))

  it("lets nobody in whom the policy refuses, without a byte", support.run(function()
    local path = support.tmpdir() .. "/s"
    local listener = assert(vmctl.listen("unix:" .. path))
    local server = assert(ttrpc.server({ [S] = { Echo = echo } }, { allow = function() return nil, "no" end }))
    vmctl.spawn(server.serve, server, listener)
    local client = assert(ttrpc.connect("unix:" .. path))
    assert.equal("ERESET", support.code(client:call(S, "Echo", "x")))
    client:close()
    server:close()
  end))

  it("closes a connection whose client takes none of its answers, and serves the others", support.run(function()
    local near, far = support.pair()
    local handlers = { Large = function() return ("x"):rep(1 << 20) end, Echo = echo }
    local server = assert(ttrpc.server { [S] = handlers })
    vmctl.scope(function(scope)
      vmctl.spawn_in(scope, server.converse, server, far)
      local a, b = support.pair()
      vmctl.spawn_in(scope, server.converse, server, b)
      for i = 0, 7 do
        assert(near:write(wire.frame(wire.REQUEST, wire.encode_request { service = S, method = "Large" }, 2 * i + 1, 0)))
      end
      local client = assert(ttrpc.client(a))
      assert.equal("x", client:call(S, "Echo", "x"))
      client:close()
      server:close()
    end)
    near:close()
  end))

  it("refuses mistakes of the program at its line", function()
    assert.has_error(function() ttrpc.server() end)
    assert.has_error(function() ttrpc.server({}, { conections = 1 }) end)
    assert.has_error(function() ttrpc.server { [S] = { Echo = 1 } } end)
    assert.has_error(function() ttrpc.server { [S] = { Echo = { handler = echo, servr_stream = true } } } end)
    assert.has_error(function() ttrpc.server { ["nerdbox.services.vmevents.v1.Events"] = { Nope = echo } } end)
    assert.has_error(function() ttrpc.service { name = "x" } end)
    assert.has_error(function() ttrpc.service { name = "x", methods = { A = { reqest = "y" } } } end)
  end)
end)

describe("a shutdown of vmctl.TtrpcServer", function()
  local function start(handlers)
    local path = support.tmpdir() .. "/s"
    local listener = assert(vmctl.listen("unix:" .. path))
    local server = assert(ttrpc.server { [S] = handlers })
    local serving = vmctl.spawn(server.serve, server, listener)
    return server, assert(ttrpc.connect("unix:" .. path)), serving, path
  end

  it("lets what is at work end, closes idle connections at once, and begins nothing new", support.run(function()
    local gate = vmctl.channel()
    local server, client, serving, path = start { Wait = function() return gate:recv() end, Echo = echo }
    local idle = assert(ttrpc.connect("unix:" .. path))
    assert.equal("x", idle:call(S, "Echo", "x"))
    local call = vmctl.spawn(client.call, client, S, "Wait")
    support.eventually(function() return client:stats().live == 1 end)
    support.settle()
    local shutdown = vmctl.spawn(server.shutdown, server, 5)
    support.settle()
    assert.equal("ERESET", support.code(idle:call(S, "Echo", "x")))
    assert.equal("UNAVAILABLE", support.code(client:call(S, "Echo", "x")))
    assert.is_nil((ttrpc.connect("unix:" .. path)))
    gate:send "done"
    assert.equal("done", call:join())
    assert.is_true(shutdown:join(30))
    assert.is_true(serving:join(30))
    client:close()
    idle:close()
  end))

  it("cancels what is left when the time is up", support.run(function()
    local code
    local server, client, serving = start { Wait = function() code = support.code(vmctl.sleep(10)) end }
    local call = vmctl.spawn(client.call, client, S, "Wait")
    support.eventually(function() return client:stats().live == 1 end)
    support.settle()
    assert.equal("ETIMEDOUT", support.code(server:shutdown(0.03)))
    assert.equal("ERESET", support.code(call:join()))
    assert(serving:join(30))
    assert.equal("ECANCELED", code)
    client:close()
  end))

  it("sends a last answer whole, however large", support.run(function()
    local go_on = vmctl.channel()
    local server, client = start { Large = function()
      go_on:recv()
      return ("x"):rep(4000000)
    end }
    local call = vmctl.spawn(client.call, client, S, "Large")
    support.eventually(function() return client:stats().live == 1 end)
    local ending = vmctl.spawn(server.shutdown, server, 30)
    support.settle()
    assert.is_false(ending:status() == "done")
    go_on:send(true)
    assert.is_true(ending:join())
    assert.equal(4000000, #call:join())
    client:close()
  end))
end)
