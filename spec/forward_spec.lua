local agent = require "spec.support.agent"
local core = require "vmctl.core"
local forwarding = require "spec.support.forward"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local counts, fs, path = forwarding.counts, core.fs, forwarding.path
local ANY = "tcp:127.0.0.1:0"
local MiB = 1 << 20

describe("vmctl.forward", function()
  it("leads from a port to a socket, from a socket to a port", run(function()
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local first <close> = assert(vmctl.forward { from = ANY, to = server.address })
    local second <close> = assert(vmctl.forward { from = "unix:" .. path(), to = first:address() })
    assert.is_true(first:address().port > 0)
    assert.equal("QUESTION", forwarding.ask(second:address(), "question"))
    for _, forward in ipairs { first, second } do counts(forward, { connections = 1, open = 0, from_to = 8, to_from = 8, failed = 0 }) end
    assert.equal(("vmctl.Forward(%s to %s)"):format(ANY, server.address), tostring(first))
  end))

  it("leads into a guest, to a port and to a socket", run(function()
    agent.serve(function(client)
      for _, where in ipairs { ANY, "unix:" .. path() } do
        local server <close> = forwarding.serve(where, forwarding.shout)
        local forward <close> = assert(vmctl.forward { from = ANY, to = client:inside(server.address) })
        assert.equal("INSIDE", forwarding.ask(forward:address(), "inside"))
        counts(forward, { connections = 1, open = 0, from_to = 6, to_from = 6 })
      end
    end)
  end))

  it("takes anything that can be dialled as its target", run(function()
    local near, far = support.pair()
    for _, to in ipairs { "exec:tr a-z A-Z", function() return near end } do
      local forward <close> = assert(vmctl.forward { from = ANY, to = to })
      if type(to) == "function" then vmctl.spawn(function() forwarding.shout(far) far:close() end) end
      assert.equal("ANYTHING", forwarding.ask(forward:address(), "anything"))
    end
  end))

  it("takes this machine as a target for this machine", run(function()
    local server <close> = forwarding.serve(ANY, forwarding.shout)
    local where = "unix:" .. path()
    local forward <close> = assert(vmctl.forward { from = vmctl.host:inside(where), to = vmctl.host:inside(server.address) })
    assert.equal("HERE", forwarding.ask(where, "here"))
    assert.equal(where, tostring(forward:address()))
  end))

  it("carries much both ways at once, unchanged, and counts it while it runs", run(function()
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.echo)
    local forward <close> = assert(vmctl.forward { from = ANY, to = server.address })
    local stream <close> = assert(vmctl.dial(forward:address()))
    local piece = ("0123456789abcde\n"):rep(MiB // 16)
    local writer = vmctl.spawn(function()
      for i = 1, 64 do assert(stream:write(("%07d"):format(i) .. piece:sub(8))) end
    end)
    for i = 1, 64 do
      assert.is_true(stream:read_exact(MiB) == ("%07d"):format(i) .. piece:sub(8))
      if i == 32 then
        local stats = forward:stats()
        assert.equal(1, stats.open)
        assert.is_true(stats.from_to >= 32 * MiB and stats.to_from >= 32 * MiB and stats.to_from <= 64 * MiB)
      end
    end
    writer:join()
    assert.same({ connections = 1, open = 1, failed = 0, from_to = 64 * MiB, to_from = 64 * MiB }, forward:stats())
  end, 20))

  it("serves many at once, and counts each", run(function()
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.echo)
    local forward <close> = assert(vmctl.forward { from = ANY, to = server.address })
    local numbers, sent = {}, 0
    for i = 1, 200 do numbers[i], sent = i, sent + #tostring(i) end
    vmctl.map(numbers, function(i) assert.equal(tostring(i), forwarding.ask(forward:address(), tostring(i))) end)
    counts(forward, { connections = 200, open = 0, failed = 0, from_to = sent, to_from = sent })
  end, 10))
end)

describe("vmctl.forward: a connection's end", function()
  -- A client and a server's end with a forward between them.
  local function between(fn, opts)
    return run(function()
      local listener <close> = assert(vmctl.listen("unix:" .. path()))
      local all = { from = ANY, to = listener:address() }
      for name, value in pairs(opts or {}) do all[name] = value end
      local forward <close> = assert(vmctl.forward(all))
      local client <close> = assert(vmctl.dial(forward:address()))
      local server <close> = assert(listener:accept(30))
      fn(client, server, forward)
    end)
  end

  it("of the client's half first is carried on, and the answer comes back", between(function(client, server, forward)
    client:write "all I have"
    client:shutdown()
    assert.equal("all I have", forwarding.read_all(server))
    assert.equal(1, forward:stats().open)
    server:write "thank you"
    assert.equal("thank you", client:read())
    server:close()
    assert.equal("EOF", code(client:read()))
    counts(forward, { open = 0, from_to = 10, to_from = 9 })
  end))

  it("of the server's half first is carried on, and the client goes on talking", between(function(client, server, forward)
    server:write "greeting"
    server:shutdown()
    assert.equal("greeting", forwarding.read_all(client))
    client:write "late question"
    assert.equal("late question", server:read_exact(13))
    client:close()
    assert.equal("EOF", code(server:read()))
    counts(forward, { open = 0, from_to = 13, to_from = 8 })
  end))

  it("of the client as a whole reaches the server", between(function(client, server, forward)
    client:write "bye"
    client:close()
    assert.equal("bye", forwarding.read_all(server))
    server:close()
    counts(forward, { open = 0 })
  end))

  it("of the server as a whole reaches the client", between(function(client, server, forward)
    server:write "bye"
    server:close()
    assert.equal("bye", forwarding.read_all(client))
    client:close()
    counts(forward, { open = 0 })
  end))

  it("comes after `idle` seconds without a byte", between(function(client, server, forward)
    client:write "x"
    assert.equal("x", server:read())
    assert.equal("EOF", code(client:read(nil, 30)))
    counts(forward, { open = 0, from_to = 1 })
  end, { idle = 0.05 }))

  it("comes `linger` seconds after the end of one direction", between(function(client, _, forward)
    client:shutdown()
    assert.equal("EOF", code(client:read(nil, 30)))
    counts(forward, { open = 0 })
  end, { linger = 0.05 }))
end)

-- The end of a refused connection: the reset may come before the client's connect has ended.
local function refused(forward)
  local stream <close>, _, name = vmctl.dial(forward:address())
  return name or code(stream:read(nil, 30))
end

describe("vmctl.forward: a target", function()
  it("that is not there resets the connection, is counted, and its reason is kept; later it is found", run(function()
    local where = "unix:" .. path()
    local forward <close> = assert(vmctl.forward { from = ANY, to = where })
    assert.equal("ECONNRESET", refused(forward))
    local stats = counts(forward, { connections = 1, failed = 1, open = 0, last_code = "ENOENT" })
    assert.truthy(stats.last_error:find(where, 1, true))
    for _ = 1, 2 do
      local server <close> = forwarding.serve(where, forwarding.shout)
      assert.equal("BACK", forwarding.ask(forward:address(), "back"))
      server:close()
      assert.equal("ECONNRESET", refused(forward))
    end
    counts(forward, { connections = 5, failed = 3 })
    assert.equal("open", forward:status())
  end))

  it("that never answers is given up in time", run(function()
    local forward <close> = assert(vmctl.forward { from = ANY, timeout = 0.05, to = function(timeout)
      vmctl.sleep(timeout)
      return nil, "slow", "ETIMEDOUT"
    end })
    assert.equal("ECONNRESET", refused(forward))
    counts(forward, { failed = 1, last_code = "ETIMEDOUT" })
  end))

  it("whose agent dies fails each connection, and none hangs", run(function()
    local forward
    agent.program(function(client, _, pid)
      local server <close> = forwarding.serve("unix:" .. path(), forwarding.echo)
      forward = assert(vmctl.forward { from = ANY, to = client:inside(server.address) })
      local stream <close> = assert(vmctl.dial(forward:address()))
      stream:write "x"
      assert.equal("x", stream:read())
      os.execute("kill -KILL " .. pid)
      local name = code(stream:read(nil, 30))
      assert.is_true(name == "EOF" or name == "ECONNRESET", name)
      stream:close()
      assert.equal("ECONNRESET", refused(forward))
      local stats = counts(forward, { failed = 1, open = 0 })
      assert.is_true(({ ECONNREFUSED = true, ENOENT = true, ECONNRESET = true })[stats.last_code], stats.last_code)
    end)
    forward:close()
  end, 10))
end)

describe("vmctl.forward: limit", function()
  it("keeps further connections in the backlog until one has ended", run(function()
    local served = 0
    local server <close> = forwarding.serve("unix:" .. path(), function(stream)
      served = served + 1
      forwarding.echo(stream)
    end)
    local forward <close> = assert(vmctl.forward { from = ANY, to = server.address, limit = 2 })
    local streams = {}
    for i = 1, 4 do
      streams[i] = assert(vmctl.dial(forward:address()))
      streams[i]:write(tostring(i))
    end
    assert.equal("1", streams[1]:read())
    assert.equal("2", streams[2]:read())
    assert.equal("ETIMEDOUT", code(streams[3]:read(nil, 0.05)))
    assert.same({ 2, 2 }, { served, forward:stats().connections })
    streams[1]:close()
    assert.equal("3", streams[3]:read())
    assert.equal("ETIMEDOUT", code(streams[4]:read(nil, 0.05)))
    streams[3]:close()
    assert.equal("4", streams[4]:read())
    for _, stream in ipairs(streams) do stream:close() end
    counts(forward, { connections = 4, open = 0 })
  end))
end)

describe("vmctl.forward: on_connection", function()
  it("hears of each one, and may wait", run(function()
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local peers = {}
    local forward <close> = assert(vmctl.forward { from = ANY, to = server.address, on_connection = function(peer)
      vmctl.sleep(0.01)
      peers[#peers + 1] = peer
      return true
    end })
    assert.equal("A", forwarding.ask(forward:address(), "a"))
    assert.equal("127.0.0.1", peers[1].host)
  end))

  it("refuses by anything but true, with a reason, and by an error", run(function()
    local dialled = false
    local answers = { function() return false, "not today" end, function() end, function() error "broken" end }
    for i, hook in ipairs(answers) do
      local forward <close> = assert(vmctl.forward { from = ANY, on_connection = hook, to = function() dialled = true end })
      assert.equal("ECONNRESET", refused(forward))
      local stats = counts(forward, { failed = 1, last_code = i < 3 and "EPERM" or "EINVAL" })
      assert.truthy(stats.last_error:find(({ "not today", "refused", "broken" })[i], 1, true))
    end
    assert.is_false(dialled)
  end))
end)

describe("vmctl.forward: allow", function()
  it("lets in our own user, and others only by rule", run(function()
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.shout)
    local asked = 0
    local forward <close> = assert(vmctl.forward { from = ANY, to = server.address, allow = function()
      asked = asked + 1
      return nil, "nobody may"
    end })
    local stream <close> = assert(vmctl.dial(forward:address()))
    assert.is_nil(stream:read(nil, 30))
    assert.same({ 1, 0 }, { asked, forward:stats().connections })
  end))
end)

describe("vmctl.forward on a Unix socket", function()
  it("makes a private file, or one of the mode that is asked for, and removes it", run(function()
    for mode, opts in pairs { [384] = {}, [438] = { mode = 438 } } do
      local file = path()
      opts.from, opts.to = "unix:" .. file, ANY
      local forward <close> = assert(vmctl.forward(opts))
      assert.equal(mode, fs.stat(file).mode)
      forward:close()
      assert.is_nil(fs.stat(file))
    end
  end))

  it("replaces a stale socket, and nothing else", run(function()
    local file = path()
    local listener = assert(vmctl.listen("unix:" .. file))
    assert.equal("EADDRINUSE", code(vmctl.forward { from = "unix:" .. file, to = ANY }))
    assert(fs.rename(file, file .. "-stale"))
    listener:close()
    local stale = "unix:" .. file .. "-stale"
    local forward <close> = assert(vmctl.forward { from = stale, to = ANY })
    assert.equal("EADDRINUSE", code(vmctl.forward { from = stale, to = ANY }))
    forward:close()
    assert(fs.replace(file, "a file"))
    local none, message, name = vmctl.forward { from = "unix:" .. file, to = ANY }
    assert.is_nil(none)
    assert.equal("EADDRINUSE", name)
    assert.truthy(message:find("forward unix:" .. file, 1, true))
    assert.equal("file", fs.stat(file).type)
  end))

  it("leaves the file alone that has taken the place of its own", run(function()
    local file = path()
    local forward = assert(vmctl.forward { from = "unix:" .. file, to = ANY })
    os.remove(file)
    local other <close> = assert(vmctl.listen("unix:" .. file))
    forward:close()
    assert.equal("socket", fs.stat(file).type)
    other:close()
  end))
end)

describe("vmctl.forward: close", function()
  it("ends the connections, those that are still being made as well, and wakes who waits", run(function()
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.echo)
    local slow = false
    local forward = assert(vmctl.forward { from = ANY, to = function()
      if slow then vmctl.sleep(60) end
      return vmctl.dial(server.address)
    end })
    local where = forward:address()
    local first <close> = assert(vmctl.dial(where))
    first:write "x"
    assert.equal("x", first:read())
    slow = true
    local second <close> = assert(vmctl.dial(where))
    counts(forward, { open = 2 })
    assert.equal("ETIMEDOUT", code(forward:wait(0.01)))
    local waiting = vmctl.spawn(function() return forward:wait() end)
    vmctl.yield()
    assert.is_true(forward:close())
    assert.is_true(forward:close())
    assert.is_true(waiting:join(30))
    for _, stream in ipairs { first, second } do assert.is_nil(stream:read(nil, 30)) end
    assert.equal("ECONNREFUSED", code(vmctl.dial(where)))
    assert.same({ "closed", 0, 2, 0, 1 }, { forward:status(), forward:stats().open, forward:stats().connections,
      forward:stats().failed, forward:stats().from_to })
    assert.equal(where, forward:address())
    assert.truthy(tostring(forward):find(", closed", 1, true))
  end))

  it("leaves nothing behind in a program without tasks", function()
    script.check [[
      local vmctl = require "vmctl"
      local left, right = vmctl.pair()
      local forward = assert(vmctl.forward { from = "tcp:127.0.0.1:0", to = function() return left end })
      local stream = assert(vmctl.dial(forward:address()))
      stream:write "works while a call waits"
      assert(right:read_exact(24) == "works while a call waits")
      assert(forward:stats().open == 1 and forward:stats().from_to == 24)
      forward:close()
      assert(forward:stats().open == 0 and forward:stats().from_to == 24)
      assert(stream:read(nil, 30) == nil and right:read(nil, 30) == nil)
      local port <close> = assert(vmctl.forward { from = forward:address(), to = "tcp:127.0.0.1:1" })
      assert(tostring(port:address()) == tostring(forward:address()))
    ]]
  end)
end)

describe("vmctl.forward: mistakes", function()
  it("raise at the caller's line", function()
    for _, opts in ipairs {
      {}, { from = ANY }, { to = ANY }, { from = 5, to = ANY }, { from = ANY, to = true }, { from = ANY, to = ANY, limit = 0 },
      { from = ANY, to = ANY, timout = 1 }, { from = ANY, to = ANY, mode = 512 }, { from = ANY, to = ANY, idle = 0 },
    } do
      local ok, message = pcall(function() vmctl.forward(opts) end)
      assert.is_false(ok)
      assert.truthy(message:find("forward_spec.lua", 1, true), message)
    end
    assert.has_error(function() vmctl.forward(ANY) end)
  end)

  it("of the world come back", run(function()
    for want, opts in pairs {
      EINVAL = { from = "nonsense", to = ANY }, ENOTSUP = { from = "exec:true", to = ANY },
      ENOENT = { from = "unix:/no/such/folder/socket", to = ANY }, ENAMETOOLONG = { from = ANY, to = "unix:" .. ("x"):rep(108) },
    } do
      local forward, message, name = vmctl.forward(opts)
      assert.is_nil(forward)
      assert.equal(want, name)
      assert.equal("forward", message:match "^forward")
    end
  end))
end)
