-- Two yamux sessions that speak to each other over a socket pair.
local frame = require "vmctl.yamux.frame"
local mux = require "vmctl.mux"
local native = require "spec.support.native"
local support = require "spec.support"
local vmctl = require "vmctl"
local yamux = require "vmctl.yamux"

local code, run, pair = support.code, support.run, support.pair

-- Calls fn(client session, server session); `serve(stream)` gets what the client opens. `small`: the link holds few bytes.
local function with_sessions(serve, fn, limit, small)
  return run(function()
    local near, far = pair()
    if small then
      native.functions().buffers(near:fileno(), small)
      native.functions().buffers(far:fileno(), small)
    end
    local a = yamux.session(near, { client = true, on_stream = serve }):start "near"
    local b = yamux.session(far, { client = false, on_stream = serve }):start "far"
    vmctl.yield()
    fn(a, b)
    a:close()
    b:close()
    vmctl.yield()
  end, limit)
end

local function read_all(s)
  local parts = {}
  for data in function() return (s:read()) end do parts[#parts + 1] = data end
  return table.concat(parts)
end

local function echo(s)
  for data in function() return (s:read()) end do
    if not s:write(data) then break end
  end
  s:close()
end

local LARGE = ("0123456789abcdef"):rep(1 << 16) -- 1 MiB: several windows

describe("yamux: a stream", function()
  it("carries bytes both ways, more than its window holds", with_sessions(echo, function(a)
    local s = assert(a:open())
    local writer = vmctl.spawn(function() return s:write(LARGE) and s:shutdown() end)
    assert.is_true(read_all(s) == LARGE)
    assert.is_true(writer:join())
    s:close()
  end, 10))

  it("may be opened by either side", with_sessions(echo, function(a, b)
    for _, session in ipairs { a, b, a, b } do
      local s = assert(session:open())
      s:write "x"
      assert.equal("x", s:read())
      s:close()
    end
  end))

  it("closed for writing on both sides loses nothing of what is still on its way to a slow reader",
    with_sessions(function(s)
      s:write(LARGE:sub(1, 700000))
      s:close()
    end, function(a)
      local s = assert(a:open())
      assert(s:shutdown())
      support.settle()
      local got = 0
      for data in function() return (s:read(10000)) end do
        got = got + #data
        if got % 50000 < 10000 then support.settle() end
      end
      assert.equal(700000, got)
      s:close()
    end, 10))

  it("loses nothing when its user ends his writing while the last piece is being delivered", run(function()
    for size = 200000, 260000, 10000 do -- what a socket pair holds lies between
      with_sessions(function(s)
        s:write(LARGE:sub(1, size))
        s:close()
      end, function(a)
        local s = assert(a:open())
        support.settle() -- all of it is here, as far as there is room
        assert(s:shutdown())
        support.settle()
        assert.equal(size, #read_all(s))
        s:close()
      end)()
    end
  end, 5))

  it("loses nothing of what had come when its link ends", with_sessions(function(s)
    s:write(LARGE:sub(1, 300000))
    s:read()
    s:close()
  end, function(a, b)
    local s = assert(a:open())
    support.settle()
    b:close()
    assert.is_true(#read_all(s) >= 200000) -- what its user's socket holds, at least
    s:close()
  end, 5))

  it("that is reset by its user's close tells the writer at the other end", with_sessions(function(s)
    s:read()
    s:close()
  end, function(a)
    local s = assert(a:open())
    local why
    repeat why = code(s:write(LARGE)) until why
    assert.is_true(why == "EPIPE" or why == "ECONNRESET")
    s:close()
  end, 5))

  it("is forgotten by both sides when both have closed it", with_sessions(echo, function(a, b)
    for _ = 1, 50 do
      local s = assert(a:open())
      s:write "x"
      assert.equal("x", s:read())
      s:close()
    end
    support.eventually(function() return a:streams() == 0 and b:streams() == 0 end)
  end, 5))
end)

describe("yamux: many streams", function()
  it("at once, a hundred of them, each its own", with_sessions(echo, function(a)
    local list = {}
    for i = 1, 100 do list[i] = i end
    vmctl.map(list, function(i)
      local s = assert(a:open())
      local text = (i .. " "):rep(20000)
      local writer = vmctl.spawn(function() return s:write(text) and s:shutdown() end)
      assert.is_true(read_all(s) == text)
      assert.is_true(writer:join())
      s:close()
    end)
  end, 20))

  it("of which some are not read do not hold up the others", with_sessions(function(s)
    if s:read(1) == "!" then
      s:write(LARGE)
      s:close()
    else
      echo(s)
    end
  end, function(a)
    local stalled = {}
    for i = 1, 10 do
      stalled[i] = assert(a:open())
      stalled[i]:write "!"
    end
    support.settle()
    for _ = 1, 20 do
      local s = assert(a:open())
      s:write "?quick"
      s:shutdown()
      assert.equal("quick", read_all(s))
      s:close()
    end
    for i = 1, 10 do
      assert.is_true(read_all(stalled[i]) == LARGE)
      stalled[i]:close()
    end
  end, 10))

  it("that write from both sides at once, pings between them, do not wait for each other", with_sessions(function(s)
    local writer = vmctl.spawn(function() return s:write(LARGE) and s:shutdown() end)
    assert(#read_all(s) == #LARGE)
    writer:join()
    s:close()
  end, function(a, b)
    local jobs = {}
    for i = 1, 8 do
      jobs[i] = function()
        local s = assert((i % 2 == 0 and a or b):open())
        local writer = vmctl.spawn(function() return s:write(LARGE) and s:shutdown() end)
        assert.is_true(read_all(s) == LARGE)
        assert.is_true(writer:join())
        s:close()
      end
    end
    for _, session in ipairs { a, b } do
      jobs[#jobs + 1] = function()
        for _ = 1, 200 do assert(session:ping(5)) end
      end
    end
    vmctl.all(jobs)
  end, 20, 4096))
end)

describe("yamux: opening", function()
  -- The link's other end is written by hand.
  local function with_peer(backlog, fn)
    return run(function()
      local near, far = pair()
      local session = yamux.session(near, { client = true, backlog = backlog }):start "near"
      vmctl.yield()
      fn(session, far)
      session:close()
      far:close()
    end)
  end

  it("waits while the peer leaves too many streams unanswered", with_peer(2, function(session, far)
    local streams = { assert(session:open()), assert(session:open()) }
    assert.equal("ETIMEDOUT", code(session:open(0.02)))
    local opening = vmctl.spawn(function() return session:open(1) end)
    vmctl.yield()
    assert(far:write(frame.pack(frame.WINDOW, frame.ACK, 3, 0)))
    streams[3] = assert(opening:join(30))
    assert.equal("ETIMEDOUT", code(session:open(0.02)))
    assert(far:write(frame.pack(frame.WINDOW, frame.RST, 1, 0))) -- a refusal is an answer as well
    streams[4] = assert(session:open(1))
    for _, s in ipairs(streams) do s:close() end
  end))

  it("fails at once for who waits when the peer says good-bye, or its link ends", with_peer(1, function(session, far)
    local first = assert(session:open())
    local opening = vmctl.spawn(function() return code(session:open(1)) end)
    vmctl.yield()
    assert(far:write(frame.pack(frame.GO_AWAY, 0, 0, 0)))
    assert.equal("ECONNREFUSED", opening:join(0.5))
    far:close()
    support.eventually(function() return not session:alive() end)
    assert.equal("ECONNREFUSED", code(session:open(1)))
    first:close()
  end))

  it("is followed by frames that a virtio port takes at once: 32 KiB with their header", with_peer(1, function(session, far)
    local s = assert(session:open())
    assert(s:write(LARGE:sub(1, 100000), 5))
    assert(far:read_exact(frame.SIZE, 5))
    local sizes, left = {}, 100000
    while left > 0 do
      local _, kind, _, _, length = frame.unpack(assert(far:read_exact(frame.SIZE, 5)))
      assert.equal(frame.DATA, kind)
      assert(far:read_exact(length, 5))
      sizes[#sizes + 1], left = frame.SIZE + length, left - length
    end
    assert.equal(32768, math.max(table.unpack(sizes)))
  end))

  it("gives the room of a stream that was closed unanswered to the next", with_peer(1, function(session, far)
    local first = assert(session:open())
    local opening = vmctl.spawn(function() return session:open(1) end)
    vmctl.yield()
    assert(far:write(frame.pack(frame.WINDOW, frame.FIN, 1, 0)))
    first:close()
    assert(opening:join(30)):close()
  end))
end)

describe("yamux: a ping", function()
  it("is answered, also when several wait", with_sessions(echo, function(a, b)
    assert.is_number(a:ping(30))
    for _, took in ipairs(vmctl.map({ a, a, b, a, b, a, a }, function(session) return assert(session:ping(30)) end)) do
      assert.is_number(took)
    end
  end))

  it("that nobody answers is ETIMEDOUT", run(function()
    local near, far = pair()
    local session = yamux.session(near, { client = true }):start "near"
    vmctl.yield()
    assert.equal("ETIMEDOUT", code(session:ping(0.05)))
    session:close()
    far:close()
  end))
end)

describe("yamux: a good-bye", function()
  it("ends the opening of streams from the other side, and nothing else", with_sessions(echo, function(a, b)
    local before = assert(a:open())
    before:write "w"
    assert.equal("w", before:read())
    assert(b:go_away())
    assert(b:ping(1)) -- by its answer, the good-bye has come
    assert.equal("ECONNREFUSED", code(a:open()))
    before:write "x"
    assert.equal("x", before:read())
    local other = assert(b:open())
    other:write "y"
    assert.equal("y", other:read())
    before:close()
    other:close()
  end, 5))

  it("lets a stream that crosses it on the way be refused", run(function()
    local near, far = pair()
    local session = yamux.session(near, { client = true, on_stream = echo }):start "near"
    vmctl.yield()
    assert(session:go_away())
    assert(far:write(frame.pack(frame.WINDOW, frame.SYN, 2, 0)))
    local expected = frame.pack(frame.GO_AWAY, 0, 0, 0) .. frame.pack(frame.WINDOW, frame.RST, 2, 0)
    assert.equal(expected, far:read_exact(#expected, 1))
    session:close()
    assert.equal("ECLOSED", code(session:go_away()))
    far:close()
  end))
end)

describe("mux: the guest's side", function()
  it("ends, and does not spin, when its link is one that ends", run(function()
    local near, far = pair()
    local running = vmctl.spawn(function() return mux.server():run(far) end)
    support.settle()
    near:close()
    assert.equal("EOF", code(running:join(30)))
    far:close()
  end))

  it("takes a new host's hello amid a frame of the old one's", run(function()
    local near, far = pair()
    local server = mux.server()
    local listener = server:listen(7)
    local running = vmctl.spawn(function() return server:run(far) end)
    local first = assert(mux.connect(near, 1))
    first:drop()
    vmctl.yield()
    near:write("\0\0\0\0\0\0\0\1\0\0\0\100" .. "half of it") -- a data frame of 100 bytes
    local second = assert(mux.connect(near, 8))
    local accepting = vmctl.spawn(function() return listener:accept(30) end)
    local s = assert(second:connect(7, 1))
    s:close()
    assert(accepting:join()):close()
    second:close()
    running:cancel()
    far:close()
  end, 10))
end)
