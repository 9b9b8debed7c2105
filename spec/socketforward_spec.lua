local assert = require "luassert"
local sf = require "spec.support.socketforward"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, eventually = support.code, support.eventually

local function ask(w, name, text)
  local s <close> = assert(w:dial(name))
  assert(s:write(text))
  s:shutdown()
  return sf.read_all(s)
end

describe("socketforward, from end to end,", function()
  it("carries a conversation from a guest's process to a host's server", sf.with(function(w)
    local f = w:forward { echo = w:host_server(sf.echo) }
    local s = assert(w:dial "echo")
    assert(s:write "hello")
    assert.equal("hello", s:read_exact(5, 1))
    assert.equal(1, f:stats().open)
    eventually(function() return f:stats().to_guest == 5 end, "counts move while the connection lives")
    assert(s:shutdown())
    assert.same({ "", "EOF" }, { sf.read_all(s) })
    s:close()
    eventually(function() return f:stats().open == 0 end)
    local stats = f:stats()
    assert.same({ 1, 0, 5, 5 }, { stats.total, stats.failed, stats.to_host, stats.to_guest })
    assert.same({ 1, 5 }, { stats.forwards.echo.total, stats.forwards.echo.to_host })
    eventually(function() return w.service:stats().open == 0 end)
    assert.same({ 5, 5 }, { w.service:stats().to_host, w.service:stats().to_guest })
    assert.same({ state = "serving", reopened = 0 }, f:status())
  end))

  it("carries half-close: a process that has said all still gets its reply", sf.with(function(w)
    w:forward { late = w:host_server(function(stream)
      local all = sf.read_all(stream)
      stream:write("got " .. #all)
    end) }
    assert.same({ "got 100000", "EOF" }, { ask(w, "late", ("x"):rep(100000)) })
  end))

  it("carries the host's end while the process goes on", sf.with(function(w)
    local got
    w:forward { first = w:host_server(function(stream)
      assert(stream:write "bye")
      stream:shutdown()
      got = sf.read_all(stream)
    end) }
    local s <close> = assert(w:dial "first")
    assert.same({ "bye", "EOF" }, { sf.read_all(s) })
    assert(s:write "still here")
    s:shutdown()
    eventually(function() return got == "still here" end)
  end))

  it("delivers what a process said before it left, without waiting for anything", sf.with(function(w)
    local got
    local path = w:host_server(function(stream) got = sf.read_all(stream) end)
    assert(w:bind { { "log", w:path "log" } })
    local s = assert(w:dial "log")
    assert(s:write "a line")
    s:close()
    support.passed(vmctl.sleep, 0.6) -- the look at those who have gone comes by
    w:forward { log = path }
    eventually(function() return got == "a line" end)
  end, nil, 4))

  it("serves many connections at once", sf.with(function(w)
    local f = w:forward { echo = w:host_server(sf.echo) }
    local list = {}
    for i = 1, 200 do list[i] = i end
    vmctl.map(list, function(i) assert.equal(("%d;"):format(i):rep(500), (ask(w, "echo", ("%d;"):format(i):rep(500)))) end)
    assert.same({ 200, 0 }, { f:stats().total, f:stats().failed })
  end, nil, 20))

  it("has a server that is killed and started again serve later connections", sf.with(function(w)
    local path, listener = w:host_server(sf.echo)
    local f = w:forward { echo = path }
    assert.equal("one", (ask(w, "echo", "one")))
    listener:close()
    assert.same({ "", "ECONNRESET" }, { ask(w, "echo", "two") }) -- no clean end: nobody has read it
    assert.equal(1, f:stats().failed)
    assert.truthy(f:stats().last_error:find(path, 1, true))
    w:host_server(sf.echo)
    assert.equal("three", (ask(w, "echo", "three")))
  end))

  it("gets its Accept stream back, and loses nobody who waits meanwhile", sf.with(function(w)
    local f = w:forward({ echo = w:host_server(sf.echo) }, { reconnect = function() return w:connect() end })
    local s = assert(w:dial "echo")
    assert(s:write "a")
    assert.equal("a", s:read_exact(1, 1))
    w.clients[1]:close() -- as a lost connection does
    eventually(function() return w.service:stats().hosts == 0 end)
    local other = assert(w:dial "echo")
    assert(other:write "b")
    assert.equal("b", other:read_exact(1, 3))
    assert(s:write "c") -- what ran goes on
    assert.equal("c", s:read_exact(1, 1))
    assert.same({ state = "serving", reopened = 1 }, f:status())
    s:close()
    other:close()
  end, nil, 5))

  it("gets it back on the same connection as well, when only the stream has ended", sf.with(function(w)
    local f = w:forward { echo = w:host_server(sf.echo) }
    f:reopen()
    eventually(function() return f:status().reopened == 1 end)
    assert.equal("x", (ask(w, "echo", "x")))
  end, nil, 4))

  it("says when it is lost for good, and what had been running goes on", sf.with(function(w)
    local states = {}
    local f = w:forward({ echo = w:host_server(sf.echo) }, { on_state = function(state) states[#states + 1] = state end })
    local s = assert(w:dial "echo")
    assert(s:write "x")
    assert.equal("x", s:read_exact(1, 1))
    w.client:close()
    local _, _, why = f:wait(30)
    assert.truthy(why == "ECLOSED" or why == "ERESET", why)
    assert.equal("failed", f:status().state)
    assert.same({ "serving", "failed" }, states)
    assert(s:write "y")
    assert.equal("y", s:read_exact(1, 1))
    s:close()
  end))

  it("ends with close: sockets go, connections end, and once more does no harm", sf.with(function(w)
    local f = w:forward { echo = w:host_server(sf.echo) }
    local s = assert(w:dial "echo")
    assert(s:write "x")
    assert.equal("x", s:read_exact(1, 1))
    assert.is_true(f:close())
    assert.is_true(f:close())
    assert.is_true(f:wait(30))
    assert.equal("", (sf.read_all(s)))
    s:close()
    eventually(function() return sf.file(w:path "echo") == nil end)
    assert.equal("closed", f:status().state)
    assert.equal("ECLOSED", code(f:add {}))
    assert.equal("x", (function() -- the client is the caller's, and can be used again
      w:forward { echo = w.root .. "/host.sock" }
      return (ask(w, "echo", "x"))
    end)())
  end))

  it("forwards more later, each id once", sf.with(function(w)
    local path = w:host_server(sf.echo)
    local f = w:forward { one = path }
    assert(f:add { two = { guest_path = w:path "two", host_path = path } })
    assert.equal("2", (ask(w, "two", "2")))
    assert.equal("EEXIST", code(f:add { one = { guest_path = w:path "three", host_path = path } }))
    assert.is_nil(sf.file(w:path "three"))
    local other = w:forward { three = path } -- a second forwarder of the same client shares its Accept stream
    assert.equal("3", (ask(w, "three", "3")))
    other:close()
    assert.equal("1", (ask(w, "one", "1")))
    assert.is_true(f:unbind())
    assert.same({}, { sf.file(w:path "one"), sf.file(w:path "two") })
  end))

  it("binds nothing when one socket cannot be had", sf.with(function(w)
    local path = w:host_server(sf.echo)
    local f, err, name = vmctl.socketforward.forward(w.client, {
      a = { guest_path = w:path "a", host_path = path }, b = { guest_path = "/etc/b.sock", host_path = path },
    }, { streams = w.streams })
    assert.same({ nil, "PERMISSION_DENIED" }, { f, name })
    assert.truthy(err:find("/etc/b.sock", 1, true), err)
    assert.is_nil(sf.file(w:path "a"))
    assert.equal(0, w.service:stats().sockets)
  end))

  it("lets the guest listen on TCP, at a port of its own choice", sf.with(function(w)
    local f = assert(vmctl.socketforward.forward(w.client, {
      web = { guest_address = "tcp:127.0.0.1:0", host_path = w:host_server(sf.echo) },
    }, { streams = w.streams }))
    local address = f:guest_address "web"
    assert.matches("^tcp:127%.0%.0%.1:[1-9]%d*$", address)
    local s <close> = assert(vmctl.dial(address))
    assert(s:write "x")
    assert.equal("x", s:read_exact(1, 1))
    assert(f:bind_again()) -- as after a new connection: no second port
    assert.equal(address, f:guest_address "web")
    assert.equal(1, w.service:stats().sockets)
    local _, err = vmctl.socketforward.forward(w.client, {
      all = { guest_address = "tcp:0.0.0.0:0", host_path = "/none" } }, { streams = w.streams })
    assert.truthy(err:find "loopback", err)
    f:close()
    eventually(function() return w.service:stats().sockets == 0 end)
  end))

  it("tells a mode of a guest that does not set it, and takes the socket away", sf.with(function(w)
    local bind, asked = w.service.bind, {}
    function w.service:bind(request) -- as the reference: it skips what it does not know
      for _, socket in ipairs(request.sockets) do
        asked[#asked + 1] = socket
        socket.extension = nil
      end
      return bind(self, request)
    end
    local f, err, name = vmctl.socketforward.forward(w.client, {
      key = { guest_path = w:path "key", host_path = "/none", mode = 384 } }, { streams = w.streams })
    assert.same({ nil, "ENOTSUP" }, { f, name })
    assert.truthy(err:find("forward key to ", 1, true), err)
    assert.truthy(err:find("with a mode of its own", 1, true), err)
    assert.is_nil(sf.file(w:path "key"))
    assert.equal(0, w.service:stats().sockets)
    assert.equal(1, #asked)
  end))

  it("never asks a guest for a socket without a name", sf.with(function(w)
    local asked
    function w.service.bind(_, request)
      asked = request.sockets
      return {}
    end
    local f, _, name = vmctl.socketforward.forward(w.client, {
      web = { guest_address = "tcp:127.0.0.1:0", host_path = "/none" } }, { streams = w.streams })
    assert.same({ nil, "ENOTSUP" }, { f, name })
    assert.equal(1, #asked)
    assert.matches("^/run/socketfwd/%.vmctl%-%x+$", asked[1].socket_path)
  end))

  it("resets a TCP connection that it has nobody for", sf.with(function(w)
    local f = assert(vmctl.socketforward.forward(w.client, {
      web = { guest_address = "tcp:127.0.0.1:0", host_path = w.root .. "/nobody" },
    }, { streams = w.streams }))
    local s <close> = assert(vmctl.dial(f:guest_address "web"))
    assert.equal("ECONNRESET", select(2, sf.read_all(s)))
    f:close()
  end))

  it("raises at the caller's line for options and entries that are none", sf.with(function(w)
    local forward = vmctl.socketforward.forward
    local entry = { guest_path = w:path "a", host_path = "/a" }
    assert.error_matches(function() forward(w.client, { a = entry }) end, "'open' and 'streams'")
    assert.error_matches(function() forward(w.client, { a = entry }, { stream = "x" }) end, "did you mean 'streams'")
    assert.error_matches(function() forward(w.client, { a = { guest_path = "/a" } }, { streams = w.streams }) end, "host_path")
    assert.error_matches(function() forward(w.client, { entry }, { streams = w.streams }) end, "ids expected")
    assert.equal("EINVAL", code(forward(w.client, { a = entry }, { streams = "nonsense:" })))
  end))
end)

describe("vmctl.socketforward", function()
  it("has the names of the reference's package", function()
    for _, name in ipairs { "service", "streams", "forward", "generate_stream_id", "forward_id" } do
      assert.equal("function", type(vmctl.socketforward[name]), name)
    end
    local service = vmctl.socketforward.service()
    for _, name in ipairs { "register", "bind", "accept", "shutdown", "serve_streams" } do
      assert.equal("function", type(service[name]), name)
    end
    assert.same({ 1025, 1026 }, { vmctl.socketforward.PORT, vmctl.socketforward.STREAM_PORT })
  end)

  it("makes stream ids in the reference's form, none twice", function()
    local seen = {}
    for _ = 1, 1000 do
      local id = assert(vmctl.socketforward.generate_stream_id "socketfwd")
      assert.matches("^socketfwd%-%d+%-[%w_-][%w_-][%w_-][%w_-][%w_-][%w_-]$", id)
      assert.equal(36, #id)
      assert.is_nil(seen[id])
      seen[id] = true
    end
    assert.has_error(function() vmctl.socketforward.generate_stream_id(("x"):rep(300)) end)
  end)
end)
