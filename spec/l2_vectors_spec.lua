local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local l2 = vmctl.l2

-- A reader's results for each vector's bytes when nothing follows them: how many frames, how many invalid lengths, and whether
-- the connection ends by itself. The default is one frame.
local special = {
  coalesced_two = { frames = 2 }, zero_length = { invalid = 1 }, short_13 = { invalid = 1 }, hdr_65535 = {}, hdr_65536 = {},
  hdr_69632 = {}, hdr_69633 = { ends = true }, hdr_max = { ends = true }, truncated = {},
  little_endian_mistake = { ends = true }, -- its length is 1006632960
  vnet_hdr_form = { frames = 1, ends = true }, -- that never comes; what is left of it is no length
}

-- Our own, not QEMU's: a second opinion on frames and invalid lengths.
local function parse(bytes)
  local frames, at = {}, 1
  while #bytes - at + 1 >= 4 do
    local length = (">I4"):unpack(bytes, at)
    if length > 69632 or #bytes - at - 3 < length then break end
    if length >= 14 then frames[#frames + 1] = bytes:sub(at + 4, at + 3 + length) end
    at = at + 4 + length
  end
  return frames
end

local function expected(vector)
  local want = special[vector.name] or { frames = 1 }
  local frames = parse(vector.bytes)
  assert.equal(want.frames or 0, #frames, vector.name)
  return frames, want
end

-- A tail that shows whether the reader is still in step.
local TAIL = l2s.frame { text = "the tail" }

describe("the vectors of qemu-l2", function()
  local all = vectors.load "qemu-l2"

  it("are all there", function() assert.equal(20, #all) end)

  it("come out of a port, cut at every byte", run(function()
    for _, vector in ipairs(all) do
      local frames, want = expected(vector)
      local whole = not want.ends and (#frames > 0 or want.invalid)
      local step = #vector.bytes > 200 and 97 or 1
      for cut = 0, #vector.bytes, step do
        local a, far = support.pair()
        local port = l2.port(a)
        far:write(vector.bytes:sub(1, cut))
        local got = port:recv_many(256, 0) or {}
        far:write(vector.bytes:sub(cut + 1) .. (whole and (">s4"):pack(TAIL) or ""))
        while true do
          local more = port:recv_many(256, 0)
          if not more then break end
          table.move(more, 1, #more, #got + 1, got)
        end
        if whole then assert.equal(TAIL, table.remove(got), vector.name) end
        assert.same(frames, got, vector.name)
        assert.equal(want.invalid or 0, port:stats().invalid, vector.name)
        if want.ends then
          assert.equal("ETOOBIG", (port:done(0)), vector.name)
        else
          far:close()
          assert.equal(whole and "EOF" or "EPROTO", code(port:recv(30)), vector.name)
        end
        port:close()
        far:close()
      end
    end
  end, 20))

  it("are what a port writes", run(function()
    for _, vector in ipairs(all) do
      local frames, want = expected(vector)
      if #frames > 0 and not want.ends then
        local a, far = support.pair()
        local port = l2.port(a)
        assert(port:send_many(frames))
        assert.equal(vector.bytes, far:read_exact(#vector.bytes, 1), vector.name)
        for _, frame in ipairs(frames) do port:send(frame) end
        assert.equal(vector.bytes, far:read_exact(#vector.bytes, 1), vector.name)
        port:close()
        far:close()
      end
    end
  end))

  it("go through a switch, cut at every byte, and what is none of them does not", run(function()
    for _, vector in ipairs(all) do
      local frames, want = expected(vector)
      local whole = not want.ends and (#frames > 0 or want.invalid)
      local sw, far = l2s.switch { "out" }
      local step = #vector.bytes > 200 and 97 or 1
      for cut = 0, #vector.bytes, step do
        local near, raw = support.pair()
        local port = assert(sw:add(near, { name = "in" }))
        raw:write(vector.bytes:sub(1, cut))
        vmctl.sleep(0)
        vmctl.sleep(0)
        raw:write(vector.bytes:sub(cut + 1) .. (whole and (">s4"):pack(TAIL) or ""))
        local got = {}
        local last = whole and TAIL or frames[#frames]
        while got[#got] ~= last do
          local more = assert(far.out:recv_many(256, 1))
          table.move(more, 1, #more, #got + 1, got)
        end
        if want.ends then support.eventually(function() return port:state() == "ended" end) end
        if whole then table.remove(got) end
        assert.same(frames, got, vector.name)
        assert.equal((want.invalid or 0) + (want.ends and 1 or 0), port:counts().invalid, vector.name)
        raw:close()
        port:remove()
      end
      assert.equal("ETIMEDOUT", code(far.out:recv(0.01)), vector.name)
      sw:close()
    end
  end, 20))
end)

describe("bad lengths at a switch", function()
  local function bytes_of(length, body) return (">I4"):pack(length) .. ("x"):rep(body) end

  it("of 0 to 13 bytes are left out, counted, and said once a connection", run(function()
    local sw, far = l2s.switch { "out" }
    local near, raw = support.pair()
    local port
    local lines = l2s.logged(function()
      port = sw:add(near, { name = "in" })
      for length = 0, 13 do raw:write(bytes_of(length, length)) end
      raw:write((">s4"):pack(TAIL))
      assert.equal(TAIL, far.out:recv(30))
      support.eventually(function() return port:counts().invalid == 14 end)
      raw:write(bytes_of(0, 0) .. (">s4"):pack(TAIL))
      assert.equal(TAIL, far.out:recv(30))
      support.settle()
    end)
    assert.equal(15, port:counts().invalid)
    assert.equal(1, #l2s.about(lines, "a frame of a length that no frame has"))
    assert.equal("ETIMEDOUT", code(far.out:recv(0.01)))
    assert.equal(2, port:counts().frames_in)
    assert.equal("connected", (port:state()))
    sw:close()
  end))

  it("over the limit end that port alone, at the header", run(function()
    for _, length in ipairs { 69633, 0x00020000, 0x3c000000, 0xffffffff } do
      local sw, far = l2s.switch { "out", "other" }
      local near, raw = support.pair()
      local port
      local lines = l2s.logged(function()
        port = sw:add(near, { name = "in" })
        raw:write((">s4"):pack(TAIL) .. bytes_of(length, 0))
        assert.equal("EOF", code(raw:read(nil, 30)))
        support.eventually(function() return port:state() == "ended" end)
        support.settle()
      end)
      assert.same({ "ended", "ETOOBIG", 1 }, { port:state() })
      assert.equal(1, #l2s.about(lines, "the connection ended (ETOOBIG)"))
      assert.equal(1, port:counts().invalid)
      assert.equal(TAIL, far.out:recv(30))
      assert.equal(TAIL, far.other:recv(30))
      far.other:send(TAIL)
      assert.equal(TAIL, far.out:recv(30))
      sw:close()
    end
  end))

  it("that the limit allows pass whole", run(function()
    local sw, far = l2s.switch({ "out" }, { longest = 69632 })
    local near, raw = support.pair()
    sw:add(near, { name = "in" })
    for _, size in ipairs { 14, 65535, 65536, 69632 } do
      local big = l2s.frame { size = size }
      local sender = vmctl.spawn(function() raw:write((">s4"):pack(big)) end)
      assert.equal(big, far.out:recv(30))
      sender:join()
    end
    sw:close()
  end))

  it("that are cut by the end are discarded, and the next connection begins clean", run(function()
    local whole = (">s4"):pack(l2s.frame { size = 100 })
    local sw, far = l2s.switch { "out" }
    local near, raw = support.pair()
    local port = sw:add(near, { name = "in" })
    for _, cut in ipairs { 1, 3, 4, 5, 50, 103 } do
      raw:write(whole:sub(1, cut))
      raw:close()
      support.eventually(function() return port:state() == "ended" end)
      near, raw = support.pair()
      assert(port:attach(near))
      raw:write((">s4"):pack(TAIL))
      assert.equal(TAIL, far.out:recv(30))
    end
    assert.same({ "connected", nil, 7 }, { port:state() })
    assert.equal(6, port:counts().frames_in)
    assert.equal("ETIMEDOUT", code(far.out:recv(0.01)))
    sw:close()
  end))
end)
