local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local plain = { max = 1000 }
local typed = { type = 1, max = 1000, limits = { [3] = 5, [4] = 2000 } }

describe("vmctl.format", function()
  it("takes all layouts that the protocols have", function()
    for _, fields in ipairs {
      { max = 0 }, { max = 0xffffffff }, { type = 0, max = 1 }, { type = 1, max = 1 }, { type = 2, max = 1 },
      { type = 1, length = 4, order = "type", max = 1 }, { type = 1, order = "length", max = 1 },
      { type = 1, order = "length", stream = 4, flags = 1, max = 1 }, { type = 1, max = 1, limits = { [255] = 7 } },
    } do
      assert.is_userdata(vmctl.format(fields))
    end
  end)

  it("raises for others", function()
    for what, fields in pairs {
      ["no limit"] = {}, ["a limit below 0"] = { max = -1 }, ["a limit over 32 bits"] = { max = 1 << 32 },
      ["a type of 3 bytes"] = { type = 3, max = 1 }, ["a length of 2 bytes"] = { length = 2, max = 1 },
      ["a stream id of 2 bytes"] = { order = "length", stream = 2, max = 1 },
      ["flags of 2 bytes"] = { order = "length", flags = 2, max = 1 },
      ["a stream id behind the type"] = { type = 1, stream = 4, max = 1 },
      ["an unknown option"] = { max = 1, maximum = 2 },
      ["a limit for a type above 255"] = { max = 1, limits = { [256] = 1 } },
      ["a limit that is no number"] = { max = 1, limits = { [1] = "big" } }, ["no table"] = 5,
    } do
      assert.has_error(function() vmctl.format(fields) end, nil, what)
    end
  end)

  it("must be given before frames can be read or written", run(function()
    local near = pair()
    for _, call in ipairs { "read_frame", "read_frames" } do assert.has_error(function() near[call](near) end) end
    assert.has_error(function() near:write_frame "x" end)
    assert.has_error(function() near:write_frames { "x" } end)
  end))

  it("may be a table or a compiled one, shared by streams, and outlives its variable", run(function()
    local near, far = pair { format = typed }
    near:set_format(vmctl.format(typed))
    far:set_format(vmctl.format(typed))
    collectgarbage()
    near:write_frame(4, ("x"):rep(1500))
    assert.equal(4, (far:read_frame()))
    assert.equal("ETOOBIG", code(near:write_frame(3, "123456")))
  end))
end)

describe("vmctl.Stream: read_frame", function()
  it("returns the payload alone when the format has no type", run(function()
    local near, far = pair { format = plain }
    near:write_frame "hello"
    near:write_frame ""
    assert.same({ n = 1, "hello" }, table.pack(far:read_frame()))
    assert.same({ n = 1, "" }, table.pack(far:read_frame()))
  end))

  it("returns type and payload", run(function()
    local near, far = pair { format = { type = 2, max = 10 } }
    near:write_frame(0xff01, "x")
    assert.same({ n = 2, 0xff01, "x" }, table.pack(far:read_frame()))
  end))

  it("returns type, payload, stream id and flags of the ttrpc layout", run(function()
    local near, far = pair { format = { order = "length", stream = 4, type = 1, flags = 1, max = 10 } }
    near:write_frame(3, "data", 0xffffffff, 5)
    assert.same({ n = 4, 3, "data", 0xffffffff, 5 }, table.pack(far:read_frame()))
  end))

  it("waits for the rest of a frame", run(function()
    local near, far = pair { format = plain }
    local reader = vmctl.spawn(function() return far:read_frame() end)
    for _, part in ipairs { "\0\0", "\0\5h", "el", "lo" } do
      vmctl.yield()
      assert.not_equal("done", reader:status())
      near:write(part)
    end
    assert.equal("hello", reader:join())
  end))

  it("returns EOF between two frames and EPROTO inside of one", run(function()
    local near, far = pair { format = plain }
    near:write "\0\0\0\1a\0\0\0\5hel"
    near:close()
    assert.equal("a", far:read_frame())
    local _, message, name = far:read_frame()
    assert.equal("EPROTO", name)
    assert.truthy(message:find("7 bytes", 1, true))
    near, far = pair { format = plain }
    near:write "\0\0\0\1a"
    near:close()
    assert.equal("a", far:read_frame())
    assert.equal("EOF", code(far:read_frame()))
  end))

  it("ends reading at a length over the limit; what came before is delivered, and the peer can be told", run(function()
    local near, far = pair { format = plain }
    near:write "\0\0\0\2ok\0\0\3\232" -- 1000 bytes: just right
    near:write(("x"):rep(1000) .. "\0\0\3\233")
    assert.equal("ok", far:read_frame())
    assert.equal(1000, #far:read_frame())
    local _, message, name = far:read_frame()
    assert.equal("ETOOBIG", name)
    assert.truthy(message:find("1001", 1, true) and message:find("1000", 1, true))
    near:write "\0\0\0\1x"
    assert.equal("ETOOBIG", code(far:read_frame()))
    assert.equal("ETOOBIG", code(far:read_frames()))
    assert.equal("ETOOBIG", code(far:read()))
    assert.is_true(far:write_frame "too long")
    assert.equal("too long", near:read_frame())
  end))

  it("says what a frame over the limit was, and goes on when it has been skipped", run(function()
    local format = { order = "length", type = 1, stream = 4, flags = 1, max = 100 }
    local near, far = pair { format = format }
    local big = 3 << 20
    local writer = vmctl.spawn(function()
      near:write((">I4I4BB"):pack(big, 77, 2, 1) .. ("x"):rep(big))
      near:write_frame(1, "next", 79, 0)
    end)
    local _, _, name, what = far:read_frame()
    assert.equal("ETOOBIG", name)
    assert.same({ type = 2, stream = 77, flags = 1, size = big }, what)
    assert.is_true(far:skip_frame())
    assert.same({ 1, "next", 79, 0 }, { far:read_frame() })
    writer:join()
    assert.is_true(far:skip_frame(), "nothing is in the way")
  end))

  it("keeps the rest of a frame over the limit in the way when skipping it timed out", run(function()
    local near, far = pair { format = plain }
    near:write("\0\0\4\0" .. ("x"):rep(1000))
    assert.equal("ETOOBIG", code(far:read_frame()))
    assert.equal("ETIMEDOUT", code(far:skip_frame(0.02)))
    assert.equal("ETOOBIG", code(far:read_frame()))
    near:write(("x"):rep(24) .. "\0\0\0\2ok")
    assert.is_true(far:skip_frame())
    assert.equal("ok", far:read_frame())
    near:write("\0\0\4\0" .. ("x"):rep(10))
    assert.equal("ETOOBIG", code(far:read_frame()))
    near:close()
    assert.equal("EOF", code(far:skip_frame()))
  end))

  it("gives a frame over the limit in pieces, and stands in the way until the last one was read", run(function()
    local near, far = pair { format = typed }
    local body = ("abcdefghij"):rep(1 << 16)
    local writer = vmctl.spawn(function()
      near:write((">I1I4"):pack(7, #body) .. body)
      near:write_frame(1, "next")
    end)
    assert.equal("ETOOBIG", code(far:read_frame()))
    local parts = { assert(far:read_skipped(3)) }
    assert.equal("abc", parts[1])
    assert.equal("ETOOBIG", code(far:read_frame()))
    repeat
      local piece = assert(far:read_skipped(1 << 16, 30))
      assert.is_true(#piece <= 1 << 16)
      parts[#parts + 1] = piece
    until piece == ""
    assert.is_true(table.concat(parts) == body)
    assert.same({ 1, "next" }, { far:read_frame() })
    writer:join()
    assert.equal("", far:read_skipped(1))
    near:write((">I1I4"):pack(7, 1 << 20) .. "x")
    assert.equal("ETOOBIG", code(far:read_frame()))
    assert.equal("x", far:read_skipped(10))
    assert.equal("ETIMEDOUT", code(far:read_skipped(10, 0.01)))
    near:close()
    assert.equal("EOF", code(far:read_skipped(10)))
  end))

  it("is split behind its first bytes when that is asked for", run(function()
    local near, far = pair { format = typed }
    for _, body in ipairs { "head and rest", "head", "he", "" } do
      assert.is_true(near:write_frame(5, body))
      assert.same({ 5, body:sub(1, 4), body:sub(5) }, { far:read_frame(30, 4) })
    end
    assert.has_error(function() far:read_frame(0, 0) end)
    assert.has_error(function() far:read_frame(0, 17) end)
    near:close()
    assert.equal("EOF", code(far:read_frame(30, 4)))
  end))

  it("knows limits by type", run(function()
    local near, far = pair { format = typed }
    near:write("\3\0\0\0\5abcde" .. "\4\0\0\7\208" .. ("x"):rep(2000) .. "\3\0\0\0\6")
    assert.same({ 3, "abcde" }, { far:read_frame() })
    assert.equal(2000, #select(2, far:read_frame()))
    assert.equal("ETOOBIG", code(far:read_frame()))
  end))

  it("refuses 4 GiB before a byte of it has come, whatever the type", run(function()
    for _, format in ipairs { plain, typed, { type = 2, max = 0xfffffffe } } do
      local near, far = pair { format = format }
      near:write(("\xff"):rep(6))
      assert.equal("ETOOBIG", code(far:read_frame(0.1)))
    end
  end))

  it("reads a frame much larger than all buffers", run(function()
    local near, far = pair { format = { max = 16 << 20 } }
    local big = ("0123456789abcdef"):rep(1 << 19)
    local writer = vmctl.spawn(function() return near:write_frame(big) end)
    assert.is_true(far:read_frame() == big)
    assert.is_true(writer:join())
  end))

  it("leaves to read what is behind the frame", run(function()
    local near, far = pair { format = plain }
    near:write "\0\0\0\2hi and raw bytes\nand a line\n"
    assert.equal("hi", far:read_frame())
    assert.equal(" and raw", far:read_exact(8))
    assert.equal(" bytes", far:read_line())
    assert.equal("and a line", far:read_line())
  end))
end)

describe("vmctl.Stream: read_frames", function()
  it("returns all that are there, at most as many as asked for", run(function()
    local near, far = pair { format = plain }
    near:write_frames { "a", "b", "c", "d" }
    assert.same({ "a", "b", "c" }, far:read_frames(3))
    assert.same({ "d" }, far:read_frames(3))
    assert.equal("ETIMEDOUT", code(far:read_frames(3, 0.01)))
    assert.equal("ETIMEDOUT", code(far:read_frames(3, { timeout = 0 })))
    assert.has_error(function() far:read_frames(0) end)
  end))

  it("returns the types in a second array", run(function()
    local near, far = pair { format = typed }
    near:write_frames({ 1, 2, 1 }, { "a", "b", "" })
    local payloads, types = far:read_frames()
    assert.same({ "a", "b", "" }, payloads)
    assert.same({ 1, 2, 1 }, types)
  end))

  it("waits for one, and leaves half a frame for later", run(function()
    local near, far = pair { format = plain }
    local reader = vmctl.spawn(function() return far:read_frames() end)
    vmctl.yield()
    near:write "\0\0\0\1a\0\0\0\2b"
    assert.same({ "a" }, reader:join())
    near:write "c"
    assert.same({ "bc" }, far:read_frames())
  end))

  it("delivers what came before a frame over the limit, which the next call refuses", run(function()
    local near, far = pair { format = plain }
    near:write "\0\0\0\1a\0\0\0\1b\xff\xff\xff\xff"
    assert.same({ "a", "b" }, far:read_frames())
    assert.equal("ETOOBIG", code(far:read_frames()))
  end))
end)

describe("vmctl.Stream: write_frame", function()
  it("refuses a payload over the limit with ETOOBIG, and sends nothing of it", run(function()
    local near, far = pair { format = typed }
    assert.equal("ETOOBIG", code(near:write_frame(3, "123456")))
    assert.is_true(near:write_frame(3, "12345"))
    assert.same({ 3, "12345" }, { far:read_frame() })
    assert.equal("ETIMEDOUT", code(far:read_frame(0)))
  end))

  it("raises for a type or a payload that is none, and sends nothing", run(function()
    local near, far = pair { format = typed }
    assert.has_error(function() near:write_frame(256, "x") end)
    assert.has_error(function() near:write_frame(-1, "x") end)
    assert.has_error(function() near:write_frame("x", "x") end)
    assert.has_error(function() near:write_frame(1) end)
    assert.has_error(function() near:write_frame(1, {}) end)
    assert.has_error(function() near:write_frames(1, "x") end)
    assert.equal("ETIMEDOUT", code(far:read_frame(0)))
  end))

  it("returns as fourth value how many frames of a batch it took", run(function()
    local near, far = pair { format = { max = 1 << 20 } }
    local batch = {}
    for i = 1, 40 do batch[i] = ("%02d"):format(i):rep(32768) end
    local _, _, name, taken = near:write_frames(batch, 0.02)
    assert.equal("ETIMEDOUT", name)
    assert.is_true(taken > 0 and taken < 40)
    for i = 1, taken do assert.is_true(far:read_frame() == batch[i]) end
    assert.equal("ETIMEDOUT", code(far:read_frame(0.02)))
  end))

  it("sends a batch of many frames in order", run(function()
    local near, far = pair { format = typed }
    local batch, types = {}, {}
    for i = 1, 20000 do batch[i], types[i] = "frame " .. i, i % 2 == 0 and 1 or 2 end
    local writer = vmctl.spawn(function() return near:write_frames(types, batch) end)
    local n = 0
    while n < #batch do
      local payloads, got = far:read_frames()
      for i, payload in ipairs(payloads) do
        n = n + 1
        if payload ~= batch[n] or got[i] ~= types[n] then error("frame " .. n .. " differs") end
      end
    end
    assert.is_true(writer:join())
  end))

  it("never mixes a frame that timed out with the next one", run(function()
    local near, far = pair { format = { max = 1 << 20 } }
    local first, second = ("1"):rep(1 << 20), ("2"):rep(1 << 20)
    assert.equal("ETIMEDOUT", code(near:write_frame(first, 0.01)))
    local writer = vmctl.spawn(function() return near:write_frame(second) end)
    assert.is_true(far:read_frame() == first)
    assert.is_true(far:read_frame() == second)
    assert.is_true(writer:join())
  end))
end)
