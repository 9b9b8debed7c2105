-- Many streams over one link: the yamux sessions, and the hello with which host and guest find each other on a serial port.
-- Socket pairs stand for the link; the real one is in machine_spec.lua.
local assert = require "luassert"
local frame = require "vmctl.yamux.frame"
local mux = require "vmctl.mux"
local support = require "spec.support"
local vmctl = require "vmctl"
local yamux = require "vmctl.yamux"

local code, run, pair = support.code, support.run, support.pair

local WAIT = 30 -- seconds: a limit, not a promise
local PORT = 5000

-- Calls fn(session, link end of the guest) with a host's mux whose guest serves PORT with `serve(stream)`.
local function with_guest(serve, fn)
  return run(function()
    local near, far = pair()
    local server = mux.server()
    local listener = server:listen(PORT)
    vmctl.scope(function(scope)
      vmctl.spawn_in(scope, server.run, server, far)
      vmctl.spawn_in(scope, function()
        for conn in function() return (listener:accept(math.huge)) end do vmctl.spawn_in(scope, serve, conn) end
      end)
      local session = assert(mux.connect(near, WAIT))
      fn(session, near)
      session:close()
      scope:cancel()
    end)
    far:close()
  end, 10)
end

local function read_all(s)
  local parts = {}
  for data in function() return (s:read { timeout = WAIT }) end do parts[#parts + 1] = data end
  return table.concat(parts)
end

-- A server that answers with what it got, when it has got all of it.
local function echo(conn)
  local text = read_all(conn)
  conn:write(text, WAIT)
  conn:close()
end

local function wait_forever(conn)
  conn:read { timeout = math.huge }
end

describe("a mux", function()
  it("can be dropped for the next one on the same link: its streams end, and connecting says ERESET", run(function()
    local near, far = pair()
    local server = mux.server()
    local listener = server:listen(PORT)
    vmctl.scope(function(scope)
      vmctl.spawn_in(scope, server.run, server, far)
      vmctl.spawn_in(scope, function()
        for conn in function() return (listener:accept(math.huge)) end do vmctl.spawn_in(scope, echo, conn) end
      end)
      local first = assert(mux.connect(near, WAIT))
      local s = assert(first:connect(PORT))
      local reading = vmctl.spawn(function() return s:read(1, WAIT) end)
      vmctl.yield()
      first:drop()
      assert.is_nil((reading:join()))
      assert.is_false(first:alive())
      assert.is_nil((first:connect(PORT, WAIT)))
      first:ended(WAIT)
      s:close()
      local second = assert(mux.connect(near, WAIT))
      s = assert(second:connect(PORT))
      assert(s:write "again")
      assert(s:shutdown())
      assert.equal("again", read_all(s))
      s:close()
      second:close()
      scope:cancel()
    end)
    far:close()
  end, 10))

  it("connects to a port that is served, and to no other", with_guest(echo, function(session)
    local s = assert(session:connect(PORT))
    assert(s:write "hello")
    assert(s:shutdown())
    assert.equal("hello", read_all(s))
    s:close()
    assert.equal("ECONNREFUSED", code(session:connect(4000)))
    assert.is_true(session:alive())
  end))

  it("carries many streams at once, each intact", with_guest(echo, function(session)
    local numbers = {}
    for i = 1, 30 do numbers[i] = i end
    vmctl.map(numbers, function(i)
      local s = assert(session:connect(PORT))
      local text = (("%d "):format(i)):rep(60000)
      local writer = vmctl.spawn(function() return s:write(text, WAIT * 3) and s:shutdown(WAIT * 3) end)
      assert.is_true(read_all(s) == text)
      assert(writer:join())
      s:close()
    end)
  end))

  it("lets a stream that nobody reads stop its writer, and no other", with_guest(function(conn)
    local kind = conn:read_line { timeout = WAIT }
    if kind == "echo" then return echo(conn) end
    wait_forever(conn:write(("x"):rep(1 << 22), WAIT) and conn or conn)
  end, function(session)
    local stuck = assert(session:connect(PORT))
    assert(stuck:write "stuck\n")
    support.settle()
    local s = assert(session:connect(PORT))
    assert(s:write "echo\nother")
    assert(s:shutdown())
    assert.equal("other", read_all(s))
    s:close()
    assert.is_true(#assert(stuck:read_exact(1 << 20, WAIT)) == 1 << 20)
    stuck:close()
  end))

  it("delivers what came before the peer closed with bytes unread", with_guest(function(conn)
    conn:read_line { timeout = WAIT }
    conn:write "the answer"
    support.settle() -- until there are more bytes for it, which it does not read
    conn:close()
  end, function(session)
    for _ = 1, 5 do
      local s = assert(session:connect(PORT))
      assert(s:write "question\n")
      assert(s:write(("x"):rep(1000)))
      assert.equal("the answer", s:read_exact(10, WAIT))
      s:close()
    end
  end))

  it("tells a writer whose peer has gone", with_guest(function(conn)
    conn:read_line { timeout = WAIT }
    conn:close()
  end, function(session)
    local s = assert(session:connect(PORT))
    assert(s:write "question\n")
    local piece = ("x"):rep(100000)
    local name
    repeat name = code(s:write(piece, WAIT)) until name
    assert.is_true(name == "EPIPE" or name == "ECONNRESET", name)
    s:close()
  end))

  it("keeps a stream beyond the time limit under which it was opened", with_guest(echo, function(session)
    local s = vmctl.timeout(0.05, function() return assert(session:connect(PORT)) end)
    support.passed(vmctl.sleep, 0.1)
    assert(s:write "late")
    assert(s:shutdown())
    assert.equal("late", read_all(s))
    s:close()
  end))

  it("ends its streams with its link", with_guest(wait_forever, function(session, link)
    local s = assert(session:connect(PORT))
    local reading = vmctl.spawn(function() return s:read { timeout = WAIT } end)
    vmctl.yield()
    link:close()
    assert.equal("EOF", code(reading:join()))
    support.eventually(function() return not session:alive() end)
    assert.is_nil(session:connect(PORT))
    s:close()
  end))

  it("asks for a sign of life", with_guest(echo, function(session)
    assert.is_true(assert(session:ping(WAIT)) < WAIT)
  end))
end)

describe("the hello", function()
  local function answer(link)
    local server = mux.server()
    local listener = server:listen(PORT)
    return vmctl.spawn(function() return server:run(link) end), listener
  end

  it("is repeated until somebody answers, and what stood in the line before is skipped", run(function()
    local near, far = pair()
    assert(near:write "login: \xff\xfevmctl half of a hello \xff")
    assert(far:write "boot noise\r\n\xff\xfe")
    local connecting = vmctl.spawn(function() return mux.connect(near, WAIT) end)
    support.passed(vmctl.sleep, 0.25)
    local running = answer(far)
    local session = assert(connecting:join())
    session:close()
    running:cancel()
    far:close()
  end))

  it("that nobody answers is ETIMEDOUT, on a link that has ended EOF", run(function()
    local near, far = pair()
    near:label "the port"
    local session, message, name = mux.connect(near, 0.15)
    assert.is_nil(session)
    assert.equal("ETIMEDOUT", name)
    assert.truthy(message:find("the port: nobody answered", 1, true))
    far:close()
    local gone = code(mux.connect(near, WAIT))
    assert.is_true(gone == "EOF" or gone == "EPIPE" or gone == "ECONNRESET", gone)
    near:close()
  end))

  it("of a new host ends the session of the one before", run(function()
    local near, far = pair()
    local running, listener = answer(far)
    local first = assert(mux.connect(near, WAIT))
    local old = assert(first:connect(PORT))
    local served = assert(listener:accept(WAIT))
    first:drop() -- it sends nothing more, and the line stays open
    vmctl.yield()
    local second = assert(mux.connect(near, WAIT))
    assert.equal("EOF", code(served:read { timeout = WAIT }))
    local s = assert(second:connect(PORT))
    assert(s:write "new")
    assert.equal("new", assert(listener:accept(WAIT)):read_exact(3, WAIT))
    for _, stream in ipairs { old, served, s } do stream:close() end
    second:close()
    running:cancel()
    far:close()
  end))

  it("is found again after garbage", run(function()
    local near, far = pair()
    local running = answer(far)
    local first = assert(mux.connect(near, WAIT))
    first:drop()
    vmctl.yield()
    assert(near:write(("\7"):rep(100)))
    local second = assert(mux.connect(near, WAIT))
    assert.is_number(second:ping(WAIT))
    second:close()
    running:cancel()
    far:close()
  end))
end)

describe("a yamux session", function()
  -- A session of ours, and its link's other end to be written by hand.
  local function with_session(opts, fn)
    return run(function()
      local near, far = pair()
      local session = yamux.session(near, opts):start "session"
      vmctl.yield()
      fn(session, far)
      session:close()
      far:close()
    end, 10)
  end

  local function ends(session, name)
    support.eventually(function() return not session:alive() end)
    assert.equal(name, code(session:ping(WAIT)))
  end

  local refused = {
    ["of another version"] = "\1" .. frame.pack(frame.PING, 0, 0, 0):sub(2),
    ["of a kind that is none"] = frame.pack(9, 0, 0, 0),
    ["with more data than a window"] = frame.pack(frame.DATA, 0, 2, frame.WINDOW_SIZE + 1),
    ["that opens a stream with a number of ours"] = frame.pack(frame.WINDOW, frame.SYN, 1, 0),
    ["that opens the stream 0, which is the session"] = frame.pack(frame.WINDOW, frame.SYN, 0, 0),
  }
  for what, bytes in pairs(refused) do
    it("ends at a frame " .. what, with_session({ client = true, on_stream = wait_forever }, function(session, far)
      assert(far:write(bytes))
      ends(session, "EPROTO")
    end))
  end

  it("ends when a stream gets more than its window", with_session({ client = true, on_stream = function(s)
    vmctl.sleep(WAIT)
    s:close()
  end }, function(session, far)
    local data = ("x"):rep(frame.WINDOW_SIZE)
    assert(far:write(frame.pack(frame.DATA, frame.SYN, 2, #data, data)))
    assert(far:write(frame.pack(frame.DATA, 0, 2, #data, data)))
    ends(session, "EPROTO")
  end))

  it("ignores frames of streams that it does not know", with_session({ client = true }, function(session, far)
    assert(far:write(frame.pack(frame.DATA, 0, 7, 3, "abc") .. frame.pack(frame.WINDOW, frame.FIN, 9, 5)
      .. frame.pack(frame.DATA, frame.RST, 11, 0) .. frame.pack(frame.PING, frame.SYN, 0, 42)))
    assert.equal(frame.pack(frame.PING, frame.ACK, 0, 42), far:read_exact(frame.SIZE, WAIT))
    assert.is_true(session:alive())
  end))

  it("opens none after the peer has said good-bye", with_session({ client = true }, function(session, far)
    assert(far:write(frame.pack(frame.GO_AWAY, 0, 0, 0) .. frame.pack(frame.PING, frame.SYN, 0, 1)))
    assert(far:read_exact(frame.SIZE, WAIT))
    assert.equal("ECONNREFUSED", code(session:open()))
  end))

  it("ends when its link takes nothing any more", with_session({ client = true, send_timeout = 0.2 }, function(session, far)
    local s = assert(session:open())
    assert(far:write(frame.pack(frame.WINDOW, 0, 1, 1 << 30))) -- the peer would take much, but reads nothing
    local writer = vmctl.spawn(function() return s:write(("x"):rep(1 << 24), WAIT) end)
    ends(session, "ETIMEDOUT")
    assert.is_nil(writer:join())
    s:close()
  end))

  it("gives up a closed stream that the peer keeps", with_session({ client = true, linger = 0.05 }, function(session, far)
    assert(session:open()):close()
    local seen = far:read_exact(3 * frame.SIZE, WAIT)
    assert.equal(frame.pack(frame.WINDOW, frame.SYN, 1, 0) .. frame.pack(frame.DATA, frame.FIN, 1, 0)
      .. frame.pack(frame.DATA, frame.RST, 1, 0), seen)
    assert.equal(0, session:streams())
  end))

  it("keeps a half-closed stream for as long as its user does", with_session({ client = true, linger = 0.05 },
    function(session, far)
      local s = assert(session:open())
      assert(s:shutdown())
      support.passed(vmctl.sleep, 0.2)
      assert(far:write(frame.pack(frame.DATA, frame.FIN, 1, 4, "late")))
      assert.equal("late", read_all(s))
      s:close()
    end))
end)
