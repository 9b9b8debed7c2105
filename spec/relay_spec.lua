local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local MiB = 1 << 20

local function read_all(stream)
  local parts = {}
  while true do
    local part, err, name = stream:read()
    if not part then
      assert(name == "EOF", err)
      return table.concat(parts)
    end
    parts[#parts + 1] = part
  end
end

-- A client and a server with a relay between them, and the relay's task.
local function relayed(options)
  local client, a = pair()
  local b, server = pair()
  local relay = vmctl.spawn(vmctl.relay, a, b, options)
  vmctl.yield()
  return client, server, relay, a, b
end

describe("vmctl.relay", function()
  it("carries bytes both ways", run(function()
    local client, server, relay = relayed()
    client:write "question"
    assert.equal("question", server:read())
    server:write "answer"
    assert.equal("answer", client:read())
    relay:cancel()
  end))

  it("takes the streams: they are closed", run(function()
    local client, server, relay, a, b = relayed()
    assert.equal("ECLOSED", code(a:read()))
    assert.equal("ECLOSED", code(b:write "x"))
    client:write "still goes through"
    assert.equal("still goes through", server:read())
    relay:cancel()
  end))

  it("delivers first what was in the buffers of the streams", run(function()
    local client, a = pair()
    local b, server = pair()
    client:write "readleft over"
    assert.equal("read", a:read(4))
    b:cork()
    b:write "corked, "
    a:cork()
    a:write "to the client"
    local relay = assert(core.relay(a, b))
    client:write " and new"
    client:shutdown()
    server:shutdown()
    assert.equal("corked, left over and new", read_all(server))
    assert.equal("to the client", read_all(client))
    assert.same({ a_to_b = 25, b_to_a = 13, over = true }, relay:wait())
  end))

  it("carries much more than fits, both ways at once, unchanged", run(function()
    local client, server, relay = relayed()
    local up, down = ("upwards 1234567\n"):rep(MiB), ("down\0\1\2\3\n"):rep(MiB)
    vmctl.spawn(function() assert(client:write(up) and client:shutdown()) end)
    vmctl.spawn(function() assert(server:write(down) and server:shutdown()) end)
    local got = vmctl.map({ client, server }, read_all)
    assert.is_true(got[1] == down and got[2] == up)
    assert.same({ a_to_b = #up, b_to_a = #down, over = true }, relay:join())
  end, 10))

  it("stops the writer when the reader stops", run(function()
    local client, _, relay = relayed()
    local _, _, name, taken = client:write(("x"):rep(16 * MiB), 0.1)
    assert.equal("ETIMEDOUT", name)
    assert.is_true(taken < 4 * MiB)
    relay:cancel()
  end))

  it("goes between streams of every kind", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local client = assert(vmctl.dial(listener:address()))
    local relay = vmctl.spawn(vmctl.relay, assert(listener:accept()), assert(vmctl.dial "exec:tr a-z A-Z"))
    client:write "shout"
    client:shutdown()
    assert.equal("SHOUT", read_all(client))
    assert.same({ a_to_b = 5, b_to_a = 5, over = true }, relay:join())
  end))

  it("goes between two commands", run(function()
    local from, to = assert(vmctl.dial "exec:seq 1 100000; exec >&-; cat >/dev/null"), assert(vmctl.dial "exec:md5sum")
    assert.same({ a_to_b = 588895, b_to_a = 36, over = true }, vmctl.relay(from, to))
  end))

  it("goes through a terminal, which cannot splice", run(function()
    local _, master = core.process { argv = { "sh", "-c", "stty raw -echo; echo ready; exec cat" }, tty = true,
      session = true }
    assert.equal("ready", master:read_line())
    local client, a = pair()
    local relay = vmctl.spawn(vmctl.relay, a, master)
    local sent = ("through a terminal "):rep(500)
    vmctl.spawn(function() assert(client:write(sent)) end)
    assert.is_true(client:read_exact(#sent) == sent)
    relay:cancel()
  end))
end)

describe("vmctl.relay: ends", function()
  it("the client's half first", run(function()
    local client, server, relay = relayed()
    client:write "all I have"
    client:shutdown()
    assert.equal("all I have", read_all(server))
    server:write "thank you"
    assert.equal("thank you", client:read())
    assert.not_equal("done", relay:status())
    server:close()
    assert.equal("EOF", code(client:read()))
    assert.same({ a_to_b = 10, b_to_a = 9, over = true }, relay:join())
  end))

  it("the server's half first", run(function()
    local client, server, relay = relayed()
    server:write "take this"
    server:shutdown()
    assert.equal("take this", read_all(client))
    client:write "got it"
    assert.equal("got it", server:read())
    client:close()
    assert.equal("EOF", code(server:read()))
    assert.same({ a_to_b = 6, b_to_a = 9, over = true }, relay:join())
  end))

  it("the client altogether, then the server", run(function()
    local client, server, relay = relayed()
    client:write "last words"
    client:close()
    assert.equal("last words", read_all(server))
    server:close()
    assert.same({ a_to_b = 10, b_to_a = 0, over = true }, relay:join())
  end))

  it("the server altogether, then the client", run(function()
    local client, server, relay = relayed()
    server:write "last words"
    server:close()
    assert.equal("last words", read_all(client))
    client:close()
    assert.same({ a_to_b = 0, b_to_a = 10, over = true }, relay:join())
  end))

  it("both at once, with everything under way delivered", run(function()
    local client, server, relay = relayed()
    client:write "up"
    server:write "down"
    client:shutdown()
    server:shutdown()
    assert.equal("up", read_all(server))
    assert.equal("down", read_all(client))
    assert.same({ a_to_b = 2, b_to_a = 4, over = true }, relay:join())
  end))

  it("a command by itself: what it wrote arrives, then the end", run(function()
    local client, a = pair()
    local relay = vmctl.spawn(vmctl.relay, a, assert(vmctl.dial "exec:seq 1 200000"))
    assert.equal(1288895, #read_all(client))
    client:close()
    assert.equal(1288895, relay:join().b_to_a)
  end))
end)

describe("vmctl.relay: limits", function()
  it("idle: ETIMEDOUT when no byte was moved for so long, and both ends are closed", run(function()
    local client, server, relay = relayed { idle = 0.03 }
    client:write "x"
    assert.equal("x", server:read())
    local stats, _, name, partial = relay:join()
    assert.is_nil(stats)
    assert.equal("ETIMEDOUT", name)
    assert.same({ a_to_b = 1, b_to_a = 0, over = true }, partial)
    assert.equal("EOF", code(client:read()))
    assert.equal("EOF", code(server:read()))
  end))

  it("idle: each byte in either direction begins it anew", run(function()
    local client, server, relay = relayed { idle = 0.1 }
    for i = 1, 10 do
      local from, to = client, server
      if i % 2 == 0 then from, to = server, client end
      from:write "x"
      assert.equal("x", to:read())
      support.passed(vmctl.sleep, 0.03)
    end
    assert.not_equal("done", relay:status())
  end))

  it("linger: ETIMEDOUT so long after one direction has ended, not before", run(function()
    local client, server, relay = relayed { linger = 0.05 }
    support.passed(vmctl.sleep, 0.1)
    assert.not_equal("done", relay:status())
    client:shutdown()
    assert.equal("EOF", code(server:read()))
    server:write "within the time"
    assert.equal("within the time", client:read())
    assert.equal("ETIMEDOUT", code(relay:join()))
    assert.equal("EOF", code(client:read()))
  end))

  it("timeout: the whole of it", run(function()
    local client, server, relay = relayed { timeout = 0.03 }
    assert.equal("ETIMEDOUT", code(relay:join()))
    assert.equal("EOF", code(client:read()))
    assert.equal("EOF", code(server:read()))
  end))

  it("is ended by cancelling its task", run(function()
    local client, server, relay = relayed()
    relay:cancel()
    assert.equal("ECANCELED", code(relay:join()))
    assert.equal("EOF", code(client:read()))
    assert.equal("EOF", code(server:read()))
  end))

  it("is ended by close from another task: ECLOSED", run(function()
    local client, a = pair()
    local b, server = pair()
    local relay = assert(core.relay(a, b))
    local waiting = vmctl.spawn(function() return relay:wait() end)
    vmctl.yield()
    relay:close()
    relay:close()
    assert.equal("ECLOSED", code(waiting:join()))
    assert.is_true(relay:stats().over)
    assert.equal("EOF", code(client:read()))
    assert.equal("EOF", code(server:read()))
  end))
end)

describe("vmctl.relay: refuses", function()
  it("a stream at which another task is, and leaves both as they are", run(function()
    local client, a = pair()
    local b, server = pair()
    local reader = vmctl.spawn(function() return a:read() end)
    vmctl.yield()
    assert.equal("EBUSY", code(vmctl.relay(a, b)))
    assert.equal("EBUSY", code(vmctl.relay(b, a)))
    client:write "for the reader"
    assert.equal("for the reader", reader:join())
    b:write "still open"
    assert.equal("still open", server:read())
  end))

  it("a closed stream with ECLOSED", run(function()
    local _, a = pair()
    local b = pair()
    b:close()
    assert.equal("ECLOSED", code(vmctl.relay(a, b)))
    assert.is_false(a:closed())
  end))

  it("the same stream twice, and unknown options, by raising", run(function()
    local a, b = pair()
    assert.has_error(function() vmctl.relay(a, a) end)
    assert.has_error(function() vmctl.relay(a, b, { lingering = 1 }) end)
    assert.is_false(a:closed() or b:closed())
  end))
end)
