local assert = require "luassert"
local support = require "spec.support"
local log = require "vmctl.log"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local l2 = vmctl.l2

local function frame(n, text)
  return ("\xff"):rep(6) .. "\2\0\0\0\0\1\x88\xb5" .. (text or "") .. ("\0"):rep(n - 14 - #(text or ""))
end

-- A port, and the stream at its other end.
local function port_and_stream()
  local a, b = support.pair()
  return l2.port(a), b
end

describe("vmctl.L2Port", function()
  it("carries frames of every size that may be sent", run(function()
    local a, b = l2.socketpair()
    for _, size in ipairs { 14, 15, 60, 1514, 9014, 65535 } do
      local sent = vmctl.spawn(function() return a:send(frame(size), 1) end)
      assert.equal(frame(size), b:recv(30))
      assert.is_true(sent:join())
    end
    assert.same({ frames_in = 0, bytes_in = 0, frames_out = 6, bytes_out = 76152, invalid = 0 }, a:stats())
    assert.equal(6, b:stats().frames_in)
  end))

  it("refuses frames that are too short or too long, and sends nothing of them", run(function()
    local a, far = port_and_stream()
    for _, bad in ipairs { { 0, "EINVAL" }, { 1, "EINVAL" }, { 13, "EINVAL" }, { 65536, "ETOOBIG" } } do
      local bytes = ("x"):rep(bad[1])
      assert.equal(bad[2], code(a:send(bytes)))
      assert.equal(bad[2], code(a:send_many { frame(20), bytes }))
    end
    assert.equal("ETIMEDOUT", code(far:read(nil, 0)))
    assert.has_error(function() a:send(nil) end)
    assert.has_error(function() a:send_many "x" end)
  end))

  it("sends many frames in one piece, and receives all that are there", run(function()
    local a, b = l2.socketpair()
    assert(a:send_many { frame(20, "1"), frame(30, "2"), frame(40, "3") })
    assert.same({ frame(20, "1"), frame(30, "2") }, b:recv_many(2, 1))
    assert.same({ frame(40, "3") }, b:recv_many { timeout = 1 })
  end))

  it("leaves out and counts lengths of 0 to 13", run(function()
    local a, far = port_and_stream()
    far:write(("\0"):rep(4) .. "\0\0\0\1x" .. (">s4"):pack(("y"):rep(13)) .. (">s4"):pack(frame(20)))
    assert.equal(frame(20), a:recv(30))
    assert.equal(3, a:stats().invalid)
    far:write(("\0"):rep(8))
    assert.equal("ETIMEDOUT", code(a:recv(0.02)))
    assert.equal(5, a:stats().invalid)
    assert.equal(1, a:stats().frames_in)
  end))

  it("takes 69632 bytes as QEMU does, and ends at one more", run(function()
    for length, want in pairs { [69633] = "ETOOBIG", [0xffffffff] = "ETOOBIG", [0x3c000000] = "ETOOBIG" } do
      local a, far = port_and_stream()
      local longest = frame(69632)
      local task = vmctl.spawn(function() far:write((">s4"):pack(longest) .. (">I4"):pack(length)) end)
      assert.equal(#longest, #a:recv(30))
      task:join()
      assert.equal(want, code(a:recv(30)))
      assert.equal(want, a:done(1))
      assert.equal(want, code(a:recv(30)))
    end
  end))

  it("tells an end between frames from one inside a frame", run(function()
    for cut, want in pairs { [0] = "EOF", [1] = "EPROTO", [3] = "EPROTO", [4] = "EPROTO", [30] = "EPROTO" } do
      local a, far = port_and_stream()
      far:write((">s4"):pack(frame(20)) .. (">s4"):pack(frame(40)):sub(1, cut))
      far:close()
      assert.equal(frame(20), a:recv(30))
      assert.equal(want, code(a:recv(30)))
      assert.equal(want, (a:done(1)))
    end
  end))

  it("lets several tasks send", run(function()
    local a, b = l2.socketpair()
    local big = 50000
    local tasks = {}
    for i = 1, 8 do
      tasks[i] = vmctl.spawn(function()
        for _ = 1, 5 do assert(a:send(frame(big, tostring(i)))) end
      end)
    end
    local seen = {}
    for _ = 1, 40 do
      local got = assert(b:recv(30))
      assert.equal(big, #got)
      local who = got:sub(15, 15)
      seen[who] = (seen[who] or 0) + 1
    end
    for i = 1, 8 do
      tasks[i]:join()
      assert.equal(5, seen[tostring(i)])
    end
  end))

  it("gives a second reader EBUSY", run(function()
    local a, b = l2.socketpair()
    local first = vmctl.spawn(function() return b:recv(30) end)
    vmctl.yield()
    assert.equal("EBUSY", code(b:recv(30)))
    assert.equal("EBUSY", code(b:set_handler(function() end)))
    a:send(frame(20))
    assert.equal(frame(20), first:join())
    assert(b:set_handler(function() end))
    assert.equal("EBUSY", code(b:recv(0)))
  end))

  it("does not lose what comes before there is a handler, nor what is left when there is none any more", run(function()
    local a, b = l2.socketpair()
    assert(a:send_many { frame(20, "1"), frame(20, "2"), frame(20, "3"), frame(20, "4") })
    local got = {}
    b:set_handler(function(bytes, port)
      assert.equal(b, port)
      got[#got + 1] = bytes
      if #got == 2 then b:set_handler(nil) end
    end)
    support.eventually(function() return #got == 2 end)
    support.settle()
    assert.same({ frame(20, "1"), frame(20, "2") }, got)
    assert.equal(frame(20, "3"), b:recv(30))
    b:set_handler(function(bytes) got[#got + 1] = bytes end)
    support.eventually(function() return #got == 3 end)
    assert.equal(frame(20, "4"), got[3])
  end))

  it("replaces a handler, and takes it away and gives another at once", run(function()
    local a, b = l2.socketpair()
    local got = {}
    local function into(name) return function(bytes) got[#got + 1] = name .. bytes:sub(15, 15) end end
    b:set_handler(into "x")
    a:send(frame(20, "1"))
    support.eventually(function() return #got == 1 end)
    b:set_handler(into "y")
    a:send(frame(20, "2"))
    support.eventually(function() return #got == 2 end)
    b:set_handler(nil)
    b:set_handler(into "z")
    a:send(frame(20, "3"))
    support.eventually(function() return #got == 3 end)
    b:set_handler(nil)
    a:send(frame(20, "4"))
    assert.equal(frame(20, "4"), b:recv(30))
    assert.same({ "x1", "y2", "z3" }, got)
  end))

  it("logs an error of its handler and goes on", run(function()
    local a, b = l2.socketpair()
    local written, said, got = log.write, {}, 0
    log.write = function(text) said[#said + 1] = text end
    log.set_level "error"
    b:set_handler(function()
      got = got + 1
      if got == 1 then error "a mistake in a handler" end
    end)
    a:send_many { frame(20), frame(20) }
    local ok, err = pcall(support.eventually, function() return got == 2 end)
    log.set_level "off"
    log.write = written
    assert(ok, err)
    assert.equal(1, #said)
    assert.truthy(said[1]:find("a mistake in a handler", 1, true))
  end))

  it("has an address of its own: local, of one station, never the same", run(function()
    local a, b = l2.socketpair()
    assert.truthy(a:hwaddr():find "^%x[26ae]:%x%x:%x%x:%x%x:%x%x:%x%x$")
    assert.not_equal(a:hwaddr(), b:hwaddr())
    assert.equal(a:hwaddr(), a:hwaddr())
  end))

  it("tells who waits for its end why it ended", run(function()
    local a, b = l2.socketpair()
    local waiting = vmctl.spawn(function() return a:done(1) end)
    assert.equal("ETIMEDOUT", code(a:done(0.01)))
    b:close()
    assert.equal("EOF", waiting:join())
    a:close()
    a:close()
    assert.equal("ECLOSED", (a:done(0)))
    assert.equal("ECLOSED", code(a:send(frame(20))))
    assert.equal("ECLOSED", code(a:recv(0)))
  end))

  it("ends when a write fails", run(function()
    local a, b = l2.socketpair()
    b:close()
    local failed = code(a:send(frame(20)))
    assert.equal("EOF", failed)
    assert.equal("EOF", (a:done(1)))
    assert.equal("EOF", code(a:send(frame(20))))
  end))

  it("stays in step when a send does not get through in time", run(function()
    local a, b = l2.socketpair()
    local sent, ok, why, done, _ = 0 -- luacheck: ignore
    repeat
      ok, _, why, done = a:send(frame(60000, tostring(sent % 10)), 0.02)
      if ok then sent = sent + 1 end
    until not ok
    assert.equal("ETIMEDOUT", why)
    assert.equal(1, done) -- half of it is out
    for i = 0, sent do assert.equal(frame(60000, tostring(i % 10)), b:recv(30)) end
    assert(a:send(frame(20, "z"), 1))
    assert.equal(frame(20, "z"), b:recv(30))
  end))

  it("shows what it is", run(function()
    local a <close> = l2.socketpair()
    assert.equal("vmctl.L2Port(pair)", tostring(a))
    a:close()
    assert.equal("vmctl.L2Port(pair, ECLOSED)", tostring(a))
  end))
end)

describe("vmctl.l2", function()
  local function exchange(listener, address)
    local dialled <close> = assert(l2.dial(address, 1))
    local accepted <close> = assert(listener:accept(30))
    assert(dialled:send(frame(20, "to")))
    assert.equal(frame(20, "to"), accepted:recv(30))
    assert(accepted:send(frame(20, "fro")))
    assert.equal(frame(20, "fro"), dialled:recv(30))
    assert.truthy(dialled:address())
    assert.truthy(dialled:peer())
  end

  it("dials and listens over Unix sockets", run(function()
    local address = "unix:" .. support.tmpdir() .. "/wire"
    local listener <close> = assert(l2.listen(address))
    assert.equal(address, tostring(listener:address()))
    exchange(listener, address)
  end))

  it("dials and listens over TCP, of one family where it is named", run(function()
    for _, network in ipairs { "tcp", "tcp4" } do
      local listener <close> = assert(l2.listen(network .. ":127.0.0.1:0"))
      exchange(listener, ("%s:127.0.0.1:%d"):format(network, listener:address().port))
      exchange(listener, ("tcp4:localhost:%d"):format(listener:address().port))
      assert.equal("ERESOLVE", code(l2.dial(("tcp6:127.0.0.1:%d"):format(listener:address().port), 1)))
    end
    assert.equal("ERESOLVE", code(l2.listen "tcp4:[::1]:0"))
    local listener, _, why = l2.listen "tcp6:[::1]:0"
    if not listener then return assert.equal("EADDRNOTAVAIL", why) end -- a machine without IPv6
    exchange(listener, ("tcp6:[::1]:%d"):format(listener:address().port))
    listener:close()
  end))

  it("fails to dial where nobody listens, and to parse what is no address", run(function()
    assert.equal("ENOENT", code(l2.dial("unix:" .. support.tmpdir() .. "/none", 1)))
    assert.equal("EINVAL", code(l2.dial "tcp5:localhost:1"))
    assert.equal("EINVAL", code(l2.listen "ether"))
    assert.has_error(function() l2.dial("unix:x", { tiemout = 1 }) end)
  end))

  it("lets in only who may", run(function()
    local address = "unix:" .. support.tmpdir() .. "/wire"
    local listener <close> = assert(l2.listen(address, { allow = function() return nil, "nobody may" end }))
    local dialled <close> = assert(l2.dial(address))
    assert.equal("ETIMEDOUT", code(listener:accept(0.05)))
    assert.equal("EOF", code(dialled:recv(30)))
  end))
end)
