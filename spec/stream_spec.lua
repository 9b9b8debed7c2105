local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

describe("vmctl.Stream: read", function()
  it("returns what is there", run(function()
    local near, far = pair()
    assert.is_true(near:write "hello")
    assert.equal("hello", far:read())
  end))

  it("returns at most n bytes, the others later", run(function()
    local near, far = pair()
    near:write "hello"
    assert.equal("he", far:read(2))
    assert.equal("llo", far:read(100))
  end))

  it("waits for the first byte", run(function()
    local near, far = pair()
    local reader = vmctl.spawn(function() return far:read() end)
    vmctl.yield()
    assert.equal("waiting", reader:status())
    near:write "x"
    assert.equal("x", reader:join())
  end))

  it("keeps all byte values as they are", run(function()
    local near, far = pair()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    all = table.concat(all)
    near:write(all)
    assert.equal(all, far:read_exact(256))
  end))

  it("returns ETIMEDOUT when nothing comes in time, and is usable afterwards", run(function()
    local near, far = pair()
    assert.equal("ETIMEDOUT", code(far:read(nil, 0.01)))
    assert.equal("ETIMEDOUT", code(far:read { timeout = 0.01 }))
    assert.equal("ETIMEDOUT", code(far:read(10, { timeout = 0.01 })))
    near:write "late"
    assert.equal("late", far:read())
  end))

  it("with a time-out of 0 returns what the kernel has, and never waits", run(function()
    local near, far = pair()
    assert.equal("ETIMEDOUT", code(far:read(nil, 0)))
    near:write "now"
    assert.equal("now", far:read(nil, 0))
    assert.equal("ETIMEDOUT", code(far:read(nil, 0)))
  end))

  it("returns EOF when the peer has closed, after all that came before, again and again", run(function()
    local near, far = pair()
    near:write "last words"
    near:close()
    assert.equal("last words", far:read())
    for _ = 1, 3 do assert.equal("EOF", code(far:read())) end
  end))

  it("uses the stream's own time-out when the call has none", run(function()
    local near, far = pair()
    assert.equal(far, far:set_timeout { read = 0.01 })
    assert.equal("ETIMEDOUT", code(far:read()))
    assert.equal("ETIMEDOUT", code(far:read_exact(1)))
    assert.equal("ETIMEDOUT", code(far:read_line()))
    near:set_timeout(0.01)
    assert.equal("ETIMEDOUT", code(near:read()))
  end))

  it("works in a plain script too", function()
    local near, far = pair()
    vmctl.spawn(function() near:write "from a task" end)
    assert.equal("from a task", far:read())
    assert.equal("ETIMEDOUT", code(far:read(nil, 0.01)))
  end)

  it("raises for a number of bytes that is none, and for a time-out that is none", run(function()
    local near, far = pair()
    for _, n in ipairs { 0, -1, 1.5, "many" } do assert.has_error(function() far:read(n) end) end
    assert.has_error(function() far:read_exact(-1) end)
    assert.has_error(function() far:read_line(0) end)
    assert.has_error(function() far:read(1, 0 / 0) end)
    assert.has_error(function() far:read(1, "soon") end)
    assert.has_error(function() far:read { timeout = "soon" } end)
    assert.has_error(function() near.read(42) end)
  end))
end)

describe("vmctl.Stream: read_exact", function()
  it("waits until all bytes are there", run(function()
    local near, far = pair()
    local reader = vmctl.spawn(function() return far:read_exact(6) end)
    for _, part in ipairs { "ab", "cd", "efgh" } do
      near:write(part)
      vmctl.yield()
    end
    assert.equal("abcdef", reader:join())
    assert.equal("gh", far:read())
  end))

  it("returns an empty string for 0 bytes, even with nothing there", run(function()
    local near, far = pair()
    assert.equal("", far:read_exact(0))
    assert.is_false(near:closed())
  end))

  it("keeps what came when it times out", run(function()
    local near, far = pair()
    near:write "abc"
    assert.equal("ETIMEDOUT", code(far:read_exact(5, 0.01)))
    near:write "de"
    assert.equal("abcde", far:read_exact(5))
  end))

  it("returns EPROTO when the stream ends in between, and leaves the bytes to be read", run(function()
    local near, far = pair()
    near:write "abc"
    near:close()
    local _, message, name = far:read_exact(5)
    assert.equal("EPROTO", name)
    assert.truthy(message:find("3 bytes", 1, true))
    assert.equal("abc", far:read())
    assert.equal("EOF", code(far:read_exact(5)))
  end))

  it("returns ETOOBIG for more than the stream's limit, and the stream goes on", run(function()
    local near, far = pair()
    assert.equal("ETOOBIG", code(far:read_exact(1 << 40)))
    near:write "still here"
    assert.equal("still here", far:read_exact(10))
  end))

  it("reads a megabyte", run(function()
    local near, far = pair()
    local big = ("0123456789abcdef"):rep(65536)
    vmctl.spawn(function() assert(near:write(big)) end)
    assert.is_true(far:read_exact(#big) == big)
  end))
end)

describe("vmctl.Stream: read_line", function()
  it("returns lines without their end, be it LF or CR LF", run(function()
    local near, far = pair()
    near:write "one\ntwo\r\n\n\r\nthr\ree\nrest"
    for _, line in ipairs { "one", "two", "", "", "thr\ree" } do assert.equal(line, far:read_line()) end
    assert.equal("rest", far:read())
  end))

  it("takes a line at the limit, its end counted, and refuses one beyond", run(function()
    local near, far = pair()
    near:write "1234567\n12345678\n"
    assert.equal("1234567", far:read_line(8))
    assert.equal("ETOOBIG", code(far:read_line(8)))
  end))

  it("ends reading at a line over the limit, and the peer can still be told", run(function()
    local near, far = pair()
    near:write "fine\nno end of it"
    assert.equal("fine", far:read_line { max = 10 })
    local _, message, name = far:read_line(10)
    assert.equal("ETOOBIG", name)
    assert.truthy(message:find("10 bytes", 1, true))
    near:write "\nthe next line\n"
    assert.equal("ETOOBIG", code(far:read_line()))
    assert.equal("ETOOBIG", code(far:read()))
    assert.equal("ETOOBIG", code(far:read_exact(1)))
    assert.is_true(far:write "too long\n")
    assert.equal("too long", near:read_line())
  end))

  it("goes on behind a line over the limit when skip_past has found its end", run(function()
    local near, far = pair()
    near:write "no end of "
    assert.equal("ETOOBIG", code(far:read_line(10)))
    near:write "it\nthe next line\n"
    assert.is_true(far:skip_past "\n")
    assert.equal("the next line", far:read_line())
  end))

  it("has a limit even when none is given", run(function()
    local near, far = pair()
    local writer = vmctl.spawn(function() return near:write(("x"):rep(4 << 20)) end)
    assert.equal("ETOOBIG", code(far:read_line()))
    far:close()
    assert.equal("EPIPE", code(writer:join()))
  end))

  it("keeps half a line when it times out", run(function()
    local near, far = pair()
    near:write "half "
    assert.equal("ETIMEDOUT", code(far:read_line(100, 0.01)))
    assert.equal("ETIMEDOUT", code(far:read_line { max = 100, timeout = 0.01 }))
    near:write "a line\n"
    assert.equal("half a line", far:read_line())
  end))

  it("returns EPROTO for a last line without end, which can still be read", run(function()
    local near, far = pair()
    near:write "whole\nhalf"
    near:close()
    assert.equal("whole", far:read_line())
    assert.equal("EPROTO", code(far:read_line()))
    assert.equal("half", far:read())
    assert.equal("EOF", code(far:read_line()))
  end))
end)

describe("vmctl.Stream: close", function()
  it("is idempotent, and everything afterwards is ECLOSED", run(function()
    local near, far <close> = pair()
    near:set_format { max = 10 }
    assert.is_true(near:close())
    assert.is_true(near:close())
    assert.is_true(near:closed())
    for _, call in ipairs { "read", "read_line", "read_frame", "read_frames", "flush", "shutdown", "detach", "fileno",
      "peer", "address", "credentials" } do
      assert.equal("ECLOSED", code(near[call](near)), call)
    end
    assert.equal("ECLOSED", code(near:read_exact(1)))
    assert.equal("ECLOSED", code(near:write "x"))
    assert.equal("ECLOSED", code(near:write_frame "x"))
    assert.equal("EOF", code(far:read()))
  end))

  it("happens at the end of a scope with <close>, and when the collector finds it", run(function()
    local far
    do
      local near <close>, other = pair()
      far = other
      assert.is_false(near:closed())
    end
    assert.equal("EOF", code(far:read()))
    far:close()
    local forgotten, left = pair()
    assert.is_false(forgotten:closed())
    forgotten = nil -- luacheck: ignore
    collectgarbage()
    assert.equal("EOF", code(left:read()))
    left:close()
  end))

  it("sends what was written and not yet sent", run(function()
    local near, far <close> = pair()
    near:cork()
    near:write "in the buffer"
    near:close()
    assert.equal("in the buffer", far:read())
  end))

  it("throws away what was received and not read", run(function()
    local near, far = pair()
    near:write "unread"
    assert.equal("u", far:read(1))
    far:close()
    assert.equal("ECLOSED", code(far:read()))
  end))

  it("of one stream leaves the others alone", run(function()
    local near, far = pair()
    for _ = 1, 3 do
      local a, b = pair()
      a:close()
      b:close()
      assert.equal("ECLOSED", code(a:read()))
    end
    near:write "x"
    assert.equal("x", far:read())
  end))
end)

describe("vmctl.Stream: hang_up", function()
  it("tells who reads and who writes ECONNRESET, behind what was received", run(function()
    local near, far = pair()
    far:write "abc"
    local reader = vmctl.spawn(function() return near:read_exact(5) end)
    vmctl.yield()
    assert.is_true(near:hang_up())
    assert.is_true(near:hang_up())
    assert.equal("ECONNRESET", code(reader:join()))
    assert.equal("abc", near:read())
    assert.equal("ECONNRESET", code(near:read()))
    assert.equal("ECONNRESET", code(near:write "x"))
    assert.equal("EOF", code(far:read()))
  end))

  it("ends a write that waits", run(function()
    local near, far = pair()
    local writer = vmctl.spawn(function() return near:write(("x"):rep(16 << 20)) end)
    vmctl.yield()
    near:hang_up()
    assert.equal("ECONNRESET", code(writer:join()))
    far:close()
  end))

  it("ends a relay that has the stream", run(function()
    local a, b = pair()
    local c, d = pair()
    local relay = vmctl.spawn(function() return vmctl.relay(b, c) end)
    vmctl.yield()
    c:hang_up()
    assert.equal("ECONNRESET", code(relay:join()))
    assert.equal("EOF", code(a:read()))
    assert.equal("EOF", code(d:read()))
  end))
end)

describe("vmctl.Stream: what it tells", function()
  it("counts bytes", run(function()
    local near, far = pair()
    near:write "12345"
    far:read(2)
    assert.same({ bytes_in = 0, bytes_out = 5, buffered_in = 0, buffered_out = 0 }, near:stats())
    assert.same({ bytes_in = 5, bytes_out = 0, buffered_in = 3, buffered_out = 0 }, far:stats())
  end))

  it("has a label, which errors and tostring show", run(function()
    local near, far = pair()
    assert.equal("guest 7", near:label "guest 7")
    assert.equal("guest 7", near:label())
    assert.equal("vmctl.Stream(guest 7)", tostring(near))
    local _, message = near:read(nil, 0)
    assert.truthy(message:find("read guest 7", 1, true))
    near:close()
    assert.equal("vmctl.Stream(guest 7, closed)", tostring(near))
    _, message = near:write "x"
    assert.truthy(message:find("write guest 7", 1, true))
    assert.truthy(far)
  end))

  it("has a file descriptor, which stays its own", run(function()
    local near, far = pair()
    assert.is_number(near:fileno())
    assert.not_equal(near:fileno(), far:fileno())
    assert.equal(near:fileno(), near:fileno())
  end))

  it("knows the process at the other end of a Unix socket", run(function()
    local near, far = pair()
    local uid, gid, pid = core.fs.identity()
    assert.same({ pid = pid, uid = uid, gid = gid }, near:credentials())
    assert.same({ pid = pid, uid = uid, gid = gid }, far:credentials())
  end))

  it("has no credentials on a pipe", run(function()
    local process, _, stdout = core.process { argv = { "true" }, stdout = "pipe" }
    assert.is_string(code(stdout:credentials()))
    process:wait()
  end))

  it("knows that the peer has gone although bytes are unread", run(function()
    local near, far <close> = pair()
    near:write "unread"
    assert.is_false(far:hung_up())
    near:close()
    assert.is_true(far:hung_up())
    assert.equal("unread", far:read())
    assert.equal("EOF", code(far:read()))
    assert.is_true(far:hung_up())
  end))

  it("hides its finalizer from scripts", run(function()
    local near, far = pair()
    assert.is_false(getmetatable(near))
    assert.is_nil(far.__gc)
  end))
end)

describe("vmctl.Stream: detach", function()
  it("gives the fd, and the bytes that were read and not used; the stream is closed", run(function()
    local near, far = pair()
    near:write "used left over"
    assert.equal("used ", far:read(5))
    local fd, left = far:detach()
    assert.is_number(fd)
    assert.equal("left over", left)
    assert.is_true(far:closed())
    assert.equal("ECLOSED", code(far:read()))
    local again <close> = assert(core.open(fd, "socket", "again"))
    near:write "new"
    assert.equal("new", again:read())
    again:write "back"
    assert.equal("back", near:read())
  end))

  it("gives an empty string when nothing is left over", run(function()
    local _, far = pair()
    local fd, left = far:detach()
    assert.equal("", left)
    assert(core.open(fd)):close()
  end))

  it("returns EBUSY while somebody waits or bytes are to be sent, and nothing is lost", run(function()
    local near, far = pair()
    local reader = vmctl.spawn(function() return far:read() end)
    vmctl.yield()
    assert.equal("EBUSY", code(far:detach()))
    near:cork()
    near:write "x"
    assert.equal("EBUSY", code(near:detach()))
    near:flush()
    assert.equal("x", reader:join())
  end))

  it("returns ENOTSUP for a stream of two descriptors", run(function()
    local child = assert(core.process_stream({ argv = { "cat" }, group = true }, "cat"))
    assert.equal("ENOTSUP", code(child:detach()))
    child:write "still there"
    assert.equal("still there", child:read())
  end))
end)
