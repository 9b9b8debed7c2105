local assert = require "luassert"
local socketforward = require "vmctl.socketforward"
local sf = require "spec.support.socketforward"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, eventually = support.code, support.eventually

local function refused(stream)
  local text, why = sf.read_all(stream)
  stream:close()
  return text, why
end

describe("socketforward Accept", function()
  it("says nothing until a process connects, then what the vectors say", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local host = w:accept()
    assert.equal("ETIMEDOUT", code(host.next(0.05)))
    local s <close> = assert(w:dial "a")
    local request = assert(host.next())
    assert.equal("fwd", request.forward_id)
    assert.matches("^socketfwd%-%d+%-......$", request.stream_id)
    local stream <close>, answer = w:open_stream(request.stream_id) -- luacheck: ignore
    assert.equal(request.stream_id, answer)
    host.answer(request.stream_id)
    assert(s:write "to the host")
    assert.equal("to the host", stream:read_exact(11, 1))
    assert(stream:write "to the guest")
    assert.equal("to the guest", s:read_exact(12, 1))
  end))

  it("keeps bytes that come right behind the id", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local host = w:accept()
    local s <close> = assert(w:dial "a")
    local id = assert(host.next()).stream_id
    local stream <close> = assert(vmctl.dial(w.streams))
    assert(stream:write((">s4"):pack(id) .. "early"))
    assert.equal(id, sf.read_answer(stream))
    host.answer(id)
    assert.equal("early", s:read_exact(5, 1))
  end))

  it("closes the connection when success is told before there is a stream", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local host = w:accept()
    local s = assert(w:dial "a")
    assert(s:write "x")
    host.answer(assert(host.next()).stream_id)
    assert.same({ "", "ECONNRESET" }, { refused(s) })
  end))

  it("closes it on an error, whatever that says", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local host = w:accept()
    for _, text in ipairs { "failed to dial host socket", "unknown forward ID: fwd", "\27[2J" } do
      local s = assert(w:dial "a")
      assert(s:write "x")
      host.answer(assert(host.next()).stream_id, text)
      assert.same({ "", "ECONNRESET" }, { refused(s) })
    end
    assert.same({ 3, 0 }, { w.service:stats().failed, w.service:stats().pending })
  end))

  it("ignores results for ids that are unknown, done with, or another stream's", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local host = w:accept()
    local other = w:accept(w:connect())
    host.answer("nonsense")
    host.answer("")
    local s <close> = assert(w:dial "a")
    local request = host.next(0.1) or assert(other.next())
    local mine, theirs = host, other
    if not host then mine, theirs = other, host end
    local stream <close> = w:open_stream(request.stream_id) -- luacheck: ignore
    mine.answer(request.stream_id)
    mine.answer(request.stream_id)
    mine.answer(request.stream_id, "too late")
    theirs.answer(request.stream_id, "not yours")
    assert(s:write "x")
    assert.equal("x", stream:read_exact(1, 1))
    assert(mine.stream:send "\255\255") -- bytes that are no message
    local another <close> = assert(w:dial "a") -- luacheck: ignore
    assert(mine.next(0.3) or theirs.next(0.3))
  end))

  it("takes results in any order", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local host = w:accept()
    local list = {}
    for i = 1, 5 do
      list[i] = { s = assert(w:dial "a") }
      list[i].id = assert(host.next()).stream_id
    end
    for i = 5, 1, -1 do
      list[i].stream = w:open_stream(list[i].id)
      host.answer(list[i].id)
    end
    for i = 1, 5 do
      assert(list[i].s:write("n" .. i))
      assert.equal("n" .. i, list[i].stream:read_exact(2, 1))
      list[i].s:close()
      list[i].stream:close()
    end
  end))

  it("offers a connection to the next stream when one does not know its id, and remembers who does", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local one, two = w:accept(w:connect()), w:accept(w:connect())
    for round = 1, 3 do
      local s <close> = assert(w:dial "a") -- luacheck: ignore
      local request = one.next(0.1)
      if request then
        assert.equal(1, round, "the stream that does not know it was asked again")
        one.answer(request.stream_id, "unknown forward ID: fwd")
      end
      request = assert(two.next())
      local stream <close> = w:open_stream(request.stream_id) -- luacheck: ignore
      two.answer(request.stream_id)
      assert(s:write "x")
      assert.equal("x", stream:read_exact(1, 1))
    end
    assert.equal(0, w.service:stats().failed)
  end))

  it("fails what was handed out when a stream ends, and keeps the rest for the next", sf.with(function(w)
    assert(w:bind { { "fwd", w:path "a" } })
    local host = w:accept()
    local handed = assert(w:dial "a")
    assert(handed:write "x")
    assert(host.next())
    assert(host.stream:close_send()) -- RC+ND alone takes it out of service
    assert.equal("ECONNRESET", select(2, refused(handed)))
    assert.equal("EOF", code(host.next()))
    local waiting <close> = assert(w:dial "a") -- luacheck: ignore
    eventually(function() return w.service:stats().pending == 1 end)
    assert.equal("fwd", assert(w:accept(w:connect()).next()).forward_id)
  end))

  it("gives those who waited, in their order, to the first stream that comes", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" } })
    local list = {}
    for i = 1, 10 do
      list[i] = assert(w:dial "a")
      eventually(function() return w.service:stats().pending == i end)
    end
    local host, last = w:accept(), 0
    for _ = 1, 10 do
      local time = math.tointeger(assert(host.next()).stream_id:match "^socketfwd%-(%d+)")
      assert.is_true(time > last)
      last = time
    end
    for _, s in ipairs(list) do s:close() end
  end))

  it("gives up after its time, queued or handed out", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" } })
    local queued = assert(w:dial "a")
    assert(queued:write "x")
    assert.equal("ECONNRESET", select(2, refused(queued)))
    local host = w:accept()
    local handed = assert(w:dial "a")
    assert(handed:write "x")
    assert(host.next())
    assert.equal("ECONNRESET", select(2, refused(handed)))
    assert.same({ 2, 0 }, { w.service:stats().expired, w.service:stats().pending })
  end, { pending_timeout = 0.3, queue_timeout = 0.3 }, 5))

  it("notices a process that hangs up while it waits", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" } })
    assert(w:dial "a"):close()
    eventually(function() return w.service:stats().gone == 1 end)
    assert.equal(0, w.service:stats().pending)
  end))

  it("closes the stream of a process that has left before the host's success", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" } })
    local host = w:accept()
    local process = assert(w:dial "a")
    local request = assert(host.next())
    process:close()
    eventually(function() return w.service:stats().gone == 1 end)
    local stream = w:open_stream(request.stream_id)
    assert.equal(1, w.service:stats().unclaimed)
    host.answer(request.stream_id)
    assert.equal("EOF", code(stream:read(1, 30)))
    assert.equal(0, w.service:stats().unclaimed)
    local other = w:open_stream "not-handed-out"
    host.answer "not-handed-out"
    host.answer(request.stream_id)
    support.settle()
    assert.equal(1, w.service:stats().unclaimed)
    other:close()
  end))

  it("accepts no more than there is room for, and drops nobody", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" }, { "b", w:path "b" } })
    local list = {}
    for i = 1, 12 do list[i] = assert(w:dial "a") end
    support.settle()
    assert.equal(4, w.service:stats().accepted) -- the backlog holds the others
    local other <close> = assert(w:dial "b") -- luacheck: ignore
    eventually(function() return w.service:stats().accepted == 5 end, "another forward has a queue of its own")
    local host = w:accept()
    for _ = 1, 13 do host.answer(assert(host.next()).stream_id, "no") end
    for _, s in ipairs(list) do
      assert.equal("", (refused(s)))
    end
    assert.equal(13, w.service:stats().accepted)
  end, { queue = 4 }))

  it("leaves room for others in a stream's window", sf.with(function(w)
    assert(w:bind { { "slow", w:path "slow" }, { "fast", w:path "fast" } })
    local host, list = w:accept(), {}
    for i = 1, 60 do list[i] = assert(w:dial "slow") end
    for _ = 1, 32 do assert.equal("slow", assert(host.next()).forward_id) end
    assert.equal("ETIMEDOUT", code(host.next(0.05)))
    list[61] = assert(w:dial "fast")
    assert.equal("fast", assert(host.next()).forward_id)
    for _, s in ipairs(list) do s:close() end
  end))
end)

describe("socketforward streams", function()
  it("are answered with their id, and refused when it is there already", sf.with(function(w)
    local one <close>, first = w:open_stream "id-1" -- luacheck: ignore
    local two <close>, second = w:open_stream "id-1" -- luacheck: ignore
    assert.same({ "id-1", 'stream "id-1" already exists' }, { first, second })
    assert.same({ "", "EOF" }, { sf.read_all(two) })
    local claimed <close> = w.service._streams:claim "id-1" -- luacheck: ignore
    local three <close>, third = w:open_stream "id-1" -- luacheck: ignore
    assert.equal("id-1", third) -- once claimed, the id may be used again
  end))

  local shared = socketforward.streams()

  it("are kept by a manager that services share", sf.with(function(w)
    local other = socketforward.service { streams = shared, directory = w.folder .. "2" }
    local own <close>, answer = w:open_stream "other-1" -- luacheck: ignore
    assert.equal("other-1", answer)
    assert.same({ 1, 1 }, { other:stats().unclaimed, w.service:stats().unclaimed })
    assert.is_nil(shared:claim "other-2")
    local path = w:host_server(sf.echo)
    w:forward { app = path }
    local process <close> = assert(w:dial "app")
    assert(process:write "hello")
    assert.equal("hello", process:read_exact(5, 30))
    other:close()
    w.service:shutdown()
    assert.equal(1, shared:count())
    local claimed <close> = assert(shared:claim "other-1")
    assert.equal(0, shared:count())
    assert(claimed:write "raw")
    assert.equal("raw", own:read_exact(3, 30))
  end, { streams = shared }))

  it("are kept by nothing else than a manager", function()
    for _, streams in ipairs { {}, "x" } do
      local ok, err = pcall(function() socketforward.service { streams = streams } end)
      assert.is_false(ok)
      assert.matches("^spec/socketforward_accept_spec.lua:%d+: socketforward%.service: option 'streams': ", err)
    end
  end)

  it("need an id of 1 to 256 bytes, of whatever kind", sf.with(function(w)
    local empty <close>, text = w:open_stream "" -- luacheck: ignore
    assert.equal("the stream has no id", text)
    local odd <close>, echoed = w:open_stream(("\0\255"):rep(128)) -- luacheck: ignore
    assert.equal(256, #echoed)
    for _, head in ipairs { "\0\0\1\1", "\255\255\255\255" } do
      local long <close> = assert(vmctl.dial(w.streams))
      assert(long:write(head))
      assert.same({ "", "EOF" }, { sf.read_all(long) })
    end
  end))

  it("are opened side by side: who stalls stalls nobody, and not for long", sf.with(function(w)
    local stalled = {}
    for i = 1, 60 do
      stalled[i] = assert(vmctl.dial(w.streams))
      assert(stalled[i]:write(i % 2 == 0 and "\0\0" or "\0\0\0\5ab"))
    end
    local good <close>, answer = w:open_stream "good" -- luacheck: ignore
    assert.equal("good", answer)
    for _, s in ipairs(stalled) do
      assert.equal("", (sf.read_all(s)))
      s:close()
    end
    assert.equal(1, w.service:stats().unclaimed)
  end, { handshake_timeout = 0.3 }))

  it("are dropped when nobody claims them, or when their peer has gone", sf.with(function(w)
    local gone = w:open_stream "gone"
    gone:close()
    eventually(function() return w.service:stats().unclaimed == 0 end)
    local kept <close> = w:open_stream "kept" -- luacheck: ignore
    assert.same({ "", "EOF" }, { sf.read_all(kept) })
    assert.equal(0, w.service:stats().unclaimed)
  end, { unclaimed_timeout = 0.7 }, 5))

  it("are bounded in number while unclaimed", sf.with(function(w)
    local list = {}
    for i = 1, 6 do
      local answer
      list[i], answer = w:open_stream("id" .. i)
      assert.equal(i <= 5 and "id" .. i or "too many streams wait to be claimed", answer)
    end
    for _, s in ipairs(list) do s:close() end
  end, { unclaimed = 5 }))
end)
