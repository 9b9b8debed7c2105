-- Output in pieces of single bytes took a place in a table for each of them, and those that were dropped kept theirs: a guest could
-- have its host take a hundred times the memory that `max_output` says.
local assert = require "luassert"
local collect = require "vmctl.process.collect"
local exec_process = require "vmctl.exec.process"
local files = require "vmctl.files.here"
local pieces = require "vmctl.base.pieces"
local support = require "spec.support"
local wire = require "vmctl.exec.wire"

local COUNT, LIMIT = 400000, 64 << 10

local function growth(fn)
  collectgarbage()
  collectgarbage()
  local before = collectgarbage "count"
  local result = fn()
  collectgarbage()
  return (collectgarbage "count" - before) * 1024, result
end

local function byte(i) return string.char(i % 251) end

describe("a copy of one folder again and again", function()
  it("takes the memory of one", support.run(function()
    local sink = assert(files.sink(support.tmpdir(), "top", { owner = "mine", relative = function(link) return link end }))
    assert(sink:put { path = "", type = "directory", mode = 493, uid = 0, gid = 0, mtime = 0, nsec = 0 })
    local bytes = growth(function()
      for i = 1, COUNT // 20 do
        assert(sink:put { path = "d", type = "directory", mode = 448 + i % 2, uid = 0, gid = 0, mtime = i, nsec = 0, size = 0, link = "" })
      end
    end)
    assert.is_true(bytes < 1 << 20, bytes)
    assert(sink:finish())
    sink:close()
  end, 120))
end)

describe("output of single bytes", function()
  it("takes the memory of its bytes", function()
    local bytes, kept = growth(function()
      local kept = pieces.new()
      for i = 1, COUNT do kept:add(byte(i)) end
      return kept
    end)
    assert.is_true(bytes < 2 * COUNT, bytes)
    assert.equal(COUNT, kept.bytes)
    local text = kept:text()
    for i = 1, COUNT, 997 do assert.equal(i % 251, text:byte(i)) end
  end)

  it("keeps its head and its tail, and nothing of the middle", function()
    local bytes, c = growth(function()
      local c = collect.collector(LIMIT)
      for i = 1, COUNT do collect.collect(c, byte(i)) end
      return c
    end)
    assert.is_true(bytes < 4 * LIMIT, bytes)
    local text = collect.collected(c)
    assert.equal(LIMIT, #text)
    assert.equal(COUNT - LIMIT, c.cut)
    assert.equal(byte(1), text:sub(1, 1))
    assert.equal(byte(LIMIT // 2), text:sub(LIMIT // 2, LIMIT // 2))
    assert.equal(byte(COUNT), text:sub(-1))
    assert.equal(byte(COUNT - LIMIT // 2 + 1), text:sub(LIMIT // 2 + 1, LIMIT // 2 + 1))
  end)

  it("that nobody reads is kept up to its bound", support.run(function()
    local near, far = support.pair { format = wire.format }
    local process = exec_process.new(near, wire.types.EXEC_STREAM, "vmctl", "x", "y")
    local writer = require("vmctl").spawn(function()
      for i = 1, COUNT // 100 do
        local frames = {}
        for j = 1, 50 do frames[j] = (">BI4c1BI4c1"):pack(wire.types.STDOUT, 1, byte(i), wire.types.STDERR, 1, byte(j)) end
        assert(far:write(table.concat(frames)))
      end
      assert(far:write_frame(wire.types.EXIT, "\0\0\0\0"))
    end)
    local bytes = growth(function() assert(process:wait(60)) end)
    writer:join()
    assert.is_true(bytes < 8 << 20, bytes)
    local read = 0
    for data in function() return (process:read(0)) end do read = read + #data end
    assert.equal(COUNT, read + process.discarded)
    assert.is_true(read > 10000, read)
    process:close()
    far:close()
  end, 120))
end)
