local cc = require "vmctl.cc"
local core = require "vmctl.core"
local ends = require "spec.support.cc"
local log = require "vmctl.log"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local types = cc.types

local function named(name)
  return function() return cc.response():success():string(name):build() end
end

-- Calls fn() and gives what was logged meanwhile.
local function logged(fn)
  local lines, before = {}, log.write
  log.write = function(line) table.insert(lines, line) end
  log.set_level "error"
  local ok, err = pcall(fn)
  log.write = before
  log.set_level(os.getenv "VMCTL_LOG" or "off")
  assert(ok, err)
  return table.concat(lines, "\n")
end

describe("cc server: a mux", function()
  it("calls the handler of a request's type, the last one that was set", run(function()
    local mux = ends.mux { INSTANCE_ID = named "first", FS_READLINK = function(d) return named(d:string() .. "!")() end }
    mux:handle(types.INSTANCE_ID, named "last")
    ends.with_server(mux:handler(), function(peer)
      assert.same({ types.RESPONSE, "\0\0\0\0\4last" }, { peer:ask(types.INSTANCE_ID) })
      assert.same({ types.RESPONSE, "\0\0\0\0\2a!" }, { peer:ask(types.FS_READLINK, "\0\0\0\1a") })
    end)
  end))

  it("refuses a request that nobody knows, and the connection goes on", run(function()
    ends.with_server({ INSTANCE_ID = named "x" }, function(peer)
      for _, kind in ipairs { 0x0999, 0xff00, 0xff01, 0, 0xffff } do
        peer:send(kind, "whatever")
        assert.same({ 2, ("unknown message type: 0x%04x"):format(kind), "", "" }, { peer:refusal() })
      end
      assert.equal(types.RESPONSE, (peer:ask(types.INSTANCE_ID)))
    end)
  end))

  it("answers what is too short with 99, whether its handler looks or stumbles", run(function()
    local reached = 0
    local handlers = {
      FS_OPEN = function(d)
        local path, err, why = d:string()
        if not path then return nil, err, why end
      end,
      FS_STAT = function(d) return "\0" .. d:string():upper() end,
      FS_REMOVE = function(d)
        d:string()
        reached = reached + 1
        return true
      end,
    }
    ends.with_server(handlers, function(peer)
      for name in pairs(handlers) do
        peer:send(types[name], "\0\0\0\9abc")
        assert.same({ 99, "unexpected EOF", "", "" }, { peer:refusal() })
      end
      assert.equal(1, reached)
    end)
  end))

  it("raises for what is no handler", function()
    local mux = cc.mux()
    for _, case in ipairs { { "INSTANCE_ID", print }, { -1, print }, { 65536, print }, { 1, "x" } } do
      assert.is_false((pcall(mux.handle, mux, case[1], case[2])))
    end
    assert.is_false((pcall(cc.server, nil, 7)))
    assert.is_false((pcall(cc.server, 7, mux)))
    assert.is_false((pcall(cc.server, nil, mux, { limit = 1 })))
  end)
end)

describe("cc server: a handler", function()
  it("may be a function of the type, the payload and the context", run(function()
    local seen
    local function handler(kind, payload, context)
      seen = { kind, payload, type(context.connection), context.type }
      return "\0ok"
    end
    ends.with_server(handler, function(peer)
      assert.same({ types.RESPONSE, "\0ok" }, { peer:ask(0x1234, "payload") })
      assert.same({ 0x1234, "payload", "table", 0x1234 }, seen)
    end)
  end))

  it("that has nothing to say answers with the code alone", run(function()
    local results = { [1] = "", [2] = true }
    ends.with_server(function(kind) return results[kind] end, function(peer)
      for kind = 1, 3 do assert.same({ types.RESPONSE, "\0" }, { peer:ask(kind) }) end
    end)
  end))

  it("may return a builder", run(function()
    ends.with_server(function() return cc.response():success():uint32(7) end, function(peer)
      assert.same({ types.RESPONSE, "\0\0\0\0\7" }, { peer:ask(1) })
    end)
  end))

  it("fails with a number, an errno's name, or what another helper said", run(function()
    local failures = {
      { { "invalid file handle", 1 }, { 1, "invalid file handle", "", "" } },
      { { "open /x: no", 7, { op = "open", path = "/x" } }, { 7, "open /x: no", "open", "/x" } },
      { { "late", "ETIMEDOUT" }, { 5, "late", "", "" } }, { { "stopped", "ECANCELED" }, { 9, "stopped", "", "" } },
      { { "shut", "ECLOSED" }, { 4, "shut", "", "" } }, { { "no such file", "ENOENT" }, { 7, "no such file", "", "" } },
      { { "no code" }, { 99, "no code", "", "" } }, { { "the end of it", "EOF" }, { 99, "EOF", "", "" } },
      { { "odd", 0 }, { 99, "odd", "", "" } }, { { "odd", 256 }, { 99, "odd", "", "" } },
      { { "cc: x", "EREMOTE", { code = 42, message = "theirs", op = "o", path = "p" } }, { 42, "theirs", "o", "p" } },
    }
    ends.with_server(function(kind) return nil, table.unpack(failures[kind][1]) end, function(peer)
      for i, case in ipairs(failures) do
        peer:send(i)
        assert.same(case[2], { peer:refusal() })
      end
    end)
  end))

  it("that raises is answered with 99; why goes to the log alone", run(function()
    local lines = logged(function()
      ends.with_server({ INSTANCE_ID = function() error "a secret" end, FS_OPEN = function() return {} end }, function(peer)
        peer:send(types.INSTANCE_ID)
        assert.same({ 99, "the handler failed", "", "" }, { peer:refusal() })
        peer:send(types.FS_OPEN)
        assert.same({ 99, "the handler returned no answer", "", "" }, { peer:refusal() })
        assert.equal(types.ERROR, (peer:ask(types.INSTANCE_ID)))
      end)
    end)
    assert.truthy(lines:find("a secret", 1, true))
    assert.truthy(lines:find("INSTANCE_ID", 1, true))
  end))

  it("whose answer is over the limit is told so, and the client as well", run(function()
    ends.with_server(function(kind) return ("\0"):rep(kind) end, function(peer)
      assert.equal(1000, #select(2, peer:ask(1000)))
      peer:send(1001)
      assert.same({ 7, "an answer of 1001 bytes, the limit is 1000", "", "" }, { peer:refusal() })
    end, { max_payload = 1000 })
  end))

  it("may wait, while other connections are served", run(function()
    local gate = vmctl.channel()
    local path = support.tmpdir() .. "/s"
    local server <close> = assert(cc.server(path, ends.mux {
      INSTANCE_WAIT = function() return gate:recv() end, FS_OPEN = function() return gate:recv() end, INSTANCE_ID = named "x",
    }))
    local serving = vmctl.spawn(server.serve, server)
    for _, kind in ipairs { types.INSTANCE_WAIT, types.FS_OPEN } do
      local slow, quick = assert(cc.connect(path)), assert(cc.connect(path))
      local waiting = vmctl.spawn(slow.call, slow, kind)
      assert.equal("x", quick:call(types.INSTANCE_ID):string())
      gate:send(true)
      assert.truthy(waiting:join())
      slow:close()
      quick:close()
    end
    server:close()
    assert.is_true((serving:join(30)))
  end))

  it("of a request that may block is cancelled when its client goes away", run(function()
    for _, kind in ipairs { types.INSTANCE_WAIT, types.CMD_RUN, types.CONN_READ } do
      local heard
      ends.with_server(function()
        local _, _, why = vmctl.channel():recv(30)
        heard = why
      end, function(peer, _, task)
        peer:send(kind)
        support.settle()
        peer.stream:close()
        assert(task:join(30))
        assert.equal("ECANCELED", heard)
      end)
    end
  end))

  it("of a request that may block is not cancelled by a client that only ends its sending side", run(function()
    local gate = vmctl.channel()
    ends.with_server(function() return gate:recv() end, function(peer)
      peer:send(types.INSTANCE_WAIT)
      peer.stream:shutdown()
      support.settle()
      gate:send "\0done"
      assert.same({ types.RESPONSE, "\0done" }, { peer:recv() })
      peer:ended()
    end)
  end))

  it("gets requests that were sent at once one after the other", run(function()
    local order, gate = {}, vmctl.channel()
    ends.with_server(function(kind, payload)
      if kind == types.CMD_WAIT then gate:recv() end
      table.insert(order, payload)
      return "\0" .. payload
    end, function(peer)
      for _, each in ipairs { { types.CMD_WAIT, "a" }, { types.CMD_WAIT, "b" }, { 7, "c" }, { types.CMD_WAIT, "d" } } do
        peer:send(each[1], each[2])
      end
      for _ = 1, 3 do gate:send(true) end
      for _, each in ipairs { "a", "b", "c", "d" } do assert.equal("\0" .. each, select(2, peer:recv())) end
      assert.same({ "a", "b", "c", "d" }, order)
    end)
  end))

  it("is cancelled when the server is closed, and serve returns once it has ended", run(function()
    local path, ended = support.tmpdir() .. "/s", 0
    local server = assert(cc.server(path, function()
      local _, err, why = vmctl.channel():recv(30)
      ended = ended + 1
      return nil, err, why
    end))
    local serving = vmctl.spawn(server.serve, server)
    local clients, calls = {}, {}
    for i, kind in ipairs { types.FS_OPEN, types.CMD_WAIT } do
      clients[i] = assert(cc.connect(path))
      calls[i] = vmctl.spawn(clients[i].call, clients[i], kind)
    end
    support.settle()
    server:close()
    server:close()
    assert.is_true((serving:join(30)))
    assert.equal(2, ended)
    for i, call in ipairs(calls) do
      local why = code(call:join(30))
      assert.is_true(why == "ERESET" or why == "ECANCELED", why)
      clients[i]:close()
    end
    assert.is_nil(core.fs.stat(path))
  end))
end)

describe("cc server: a socket", function()
  it("is this user's alone, says its path, and goes with the server", run(function()
    local path = support.tmpdir() .. "/s"
    local server = assert(cc.server(path, cc.mux()))
    assert.equal(path, server:socket_path())
    local found = core.fs.stat(path)
    assert.same({ "socket", 384 }, { found.type, found.mode })
    server:close()
    assert.is_nil(core.fs.stat(path))
  end))

  it("of a dead server is replaced, one of a live server is not, and no other file is", run(function()
    local folder = support.tmpdir()
    local path = folder .. "/s"
    local first = assert(cc.server(path, cc.mux()))
    local _, err, why = cc.server(path, cc.mux())
    assert.equal("EADDRINUSE", why)
    assert.truthy(err:find(path, 1, true))
    assert(os.rename(path, folder .. "/kept"))
    first:close() -- the file has another name now: it stays, and nobody listens
    local second = assert(cc.server(folder .. "/kept", cc.mux()))
    second:close()
    assert(io.open(path, "w")):close()
    assert.equal("EADDRINUSE", code(cc.server(path, cc.mux())))
    assert.equal("file", core.fs.stat(path).type)
    assert.equal("ENAMETOOLONG", code(cc.server(folder .. ("/x"):rep(60), cc.mux())))
    assert.equal("ENOENT", code(cc.server(folder .. "/none/s", cc.mux())))
  end))

  it("that somebody else has bound by now is left to him", run(function()
    local path = support.tmpdir() .. "/s"
    local old = assert(cc.server(path, cc.mux()))
    os.remove(path)
    local new <close> = assert(cc.server(path, cc.mux()))
    old:close()
    assert.equal("socket", core.fs.stat(path).type)
    assert.equal(path, new:socket_path())
  end))

  it("lets in only whom the rules allow", run(function()
    local path, asked = support.tmpdir() .. "/s", 0
    local server <close> = assert(cc.server(path, ends.mux { INSTANCE_ID = named "x" }, {
      allow = function()
        asked = asked + 1
        if asked == 1 then return nil, "not you" end
        return true
      end,
    }))
    vmctl.spawn(server.serve, server)
    local client = assert(cc.connect(path))
    assert.equal("ERESET", code(client:call(types.INSTANCE_ID)))
    client = assert(cc.connect(path))
    assert.equal("x", client:call(types.INSTANCE_ID):string())
    client:close()
    server:close()
  end))

  it("serves one connection: the first of who may connect, and then nobody can get in", run(function()
    local path = support.tmpdir() .. "/s"
    local server = assert(cc.server(path, ends.mux { INSTANCE_ID = named "x" }))
    local serving = vmctl.spawn(server.serve_one, server)
    local client = assert(cc.connect(path))
    assert.equal("x", client:call(types.INSTANCE_ID):string())
    assert.equal("ENOENT", code(cc.connect(path)))
    client:close()
    assert.is_true((serving:join(30)))
  end))

  it("that is closed, or that nobody comes to, ends the wait for one connection", run(function()
    local folder = support.tmpdir()
    local server = assert(cc.server(folder .. "/a", cc.mux()))
    local serving = vmctl.spawn(server.serve_one, server)
    support.settle()
    server:close()
    assert.is_true((serving:join(30)))
    server = assert(cc.server(folder .. "/b", cc.mux()))
    assert.equal("ETIMEDOUT", code(server:serve_one(0.02)))
    server:close()
    assert.equal("ECLOSED", code(server:converse((support.pair()))))
  end))

  it("takes no more connections at a time than it may, and tells when the last has gone", run(function()
    local path, idle = support.tmpdir() .. "/s", 0
    local server <close> = assert(cc.server(path, ends.mux { INSTANCE_ID = named "x" },
      { connections = 1, on_idle = function() idle = idle + 1 end }))
    vmctl.spawn(server.serve, server)
    local first, second = assert(cc.connect(path)), assert(cc.connect(path))
    assert.truthy(first:call(types.INSTANCE_ID))
    local waiting = vmctl.spawn(second.call, second, types.INSTANCE_ID)
    assert.equal("ETIMEDOUT", code(waiting:join(0.03)))
    first:close()
    assert.truthy(waiting:join(30))
    second:close()
    support.eventually(function() return idle == 2 end)
    server:close()
  end))
end)
