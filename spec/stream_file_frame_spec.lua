local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local MIB = 1 << 20
local format = core.format { type = 2, length = 4, max = 8 << 20 }

local bytes = {}
for i = 1, 3 * MIB // 4 do bytes[i] = (">I4"):pack(i * 2654435761 & 0xffffffff) end
local CONTENT = table.concat(bytes)

-- Calls fn(near, far, file) with a pair of streams and an open file on a local file system.
local function with(fn)
  return run(function()
    local near, far = support.pair()
    near:set_format(format)
    far:set_format(format)
    local root <close> = assert(core.fs.root(support.tmpdir()))
    local file = assert(root:open("/f", "+c", 384))
    if not file:quick() then return pending "temporary files are in a share here" end
    assert(file:write(CONTENT))
    assert(file:seek(0, 0))
    fn(near, far, file)
    file:close()
    near:close()
    far:close()
  end, 60)
end

local function payload(text) return "\0" .. (">I4"):pack(#text) .. text end

describe("vmctl.Stream: a part of a file as a frame", function()
  it("is what the file holds behind its position, which moves on", with(function(near, far, file)
    assert(file:seek(7, 0))
    local at = 7
    vmctl.scope(function()
      vmctl.spawn(function()
        for _, most in ipairs { MIB, 200000, 5 * MIB } do assert.is_true(near:write_file_frame(0xff00, file, most)) end
        assert(near:write_frame(1, "behind"))
      end)
      for _, most in ipairs { MIB, 200000, MIB } do
        local kind, body = far:read_frame(60)
        local count = (">I4"):unpack(body, 2)
        assert.is_true(count <= most and count >= most - 4096, count) -- a pipe holds pages, of which the first is cut
        assert.equal(0xff00, kind)
        assert.is_true(payload(CONTENT:sub(at + 1, at + count)) == body)
        at = at + count
      end
      assert.same({ 1, "behind" }, { far:read_frame(60) })
    end)
    assert.equal(at, file:seek(0, 1))
    assert.equal(at - 7 + 3 * 11 + 12, near:stats().bytes_out)
  end))

  it("is left to the caller where it is short, behind other output, and in a trace", with(function(near, far, file)
    assert.is_false(near:write_file_frame(1, file, 1000))
    assert(file:seek(-1000, 2))
    assert.is_false(near:write_file_frame(1, file, MIB))
    assert(file:seek(0, 0))
    near:cork()
    assert(near:write "x")
    assert.is_false(near:write_file_frame(1, file, MIB))
    assert(near:flush())
    assert.equal("x", far:read())
    core.trace(function() end)
    local traced = near:write_file_frame(1, file, MIB)
    core.trace(nil)
    assert.is_false(traced)
    assert.equal(0, file:seek(0, 1))
    assert.is_false(near:stats().bytes_out > 1)
    assert.has_error(function() near:write_file_frame(1 << 16, file, MIB) end)
    assert.has_error(function() near:write_file_frame(1, "file", MIB) end)
  end))

  it("waits for a slow reader, and others are told that it is busy", with(function(near, far, file)
    vmctl.scope(function()
      local writer = vmctl.spawn(function() return near:write_file_frame(1, file, MIB) end)
      vmctl.yield()
      assert.equal("EBUSY", code(near:write_frame(1, "x")))
      local parts = {}
      for i = 1, 17 do
        parts[i] = assert(far:read_exact(i == 17 and 11 or 65536, 60))
        vmctl.yield()
      end
      assert.is_true((">I2I4"):pack(1, MIB + 5) .. payload(CONTENT:sub(1, MIB)) == table.concat(parts))
      assert.is_true(writer:join())
    end)
  end))

  it("that does not get out in time is queued, and the stream stays in order", with(function(near, far, file)
    assert.equal("ETIMEDOUT", code(near:write_file_frame(1, file, MIB, 0.01)))
    vmctl.scope(function()
      vmctl.spawn(function() assert(near:write_frame(2, "behind")) end)
      local kind, body = far:read_frame(60)
      assert.equal(1, kind)
      assert.is_true(payload(CONTENT:sub(1, MIB)) == body)
      assert.same({ 2, "behind" }, { far:read_frame(60) })
    end)
  end))

  it("for a peer that has gone is EPIPE, and no signal", with(function(near, far, file)
    vmctl.scope(function()
      local writer = vmctl.spawn(function() return code(near:write_file_frame(1, file, MIB)) end)
      vmctl.yield()
      assert(far:read_exact(100000, 60))
      far:close()
      assert.is_true(writer:join() == "EPIPE" or writer:join() == "ECONNRESET")
    end)
    assert.is_false(near:write_file_frame(1, file, MIB))
    assert.is_true(code(near:write_frame(1, "x")) ~= nil)
  end))

  it("ends when the stream is closed", with(function(near, _, file)
    vmctl.scope(function()
      local writer = vmctl.spawn(function() return code(near:write_file_frame(1, file, MIB)) end)
      vmctl.yield()
      near:close()
      assert.equal("ECLOSED", writer:join())
    end)
  end))
end)
