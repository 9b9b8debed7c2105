local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

-- The lines of some bytes, and what is left behind the last one.
local function split(bytes)
  local lines, at = {}, 1
  for line, following in bytes:gmatch "([^\n]*)\n()" do
    lines[#lines + 1] = (line:gsub("\r$", ""))
    at = following
  end
  return lines, bytes:sub(at)
end

local function each(fn)
  local count = 0
  for _, vector in ipairs(vectors.load "stereos") do
    local lines, rest = split(vector.bytes)
    fn(vector, lines, rest)
    count = count + 1
  end
  assert.is_true(count >= 35, count .. " vectors")
end

local function read_lines(vector, far, lines)
  for _, line in ipairs(lines) do assert.equal(line, (far:read_line(1 << 20, 0)), vector.name) end
end

describe("the lines of stereos", function()
  it("are read when they come whole", run(function()
    each(function(vector, lines, rest)
      local near, far = pair()
      near:write(vector.bytes)
      read_lines(vector, far, lines)
      assert.equal("ETIMEDOUT", code(far:read_line(1 << 20, 0)))
      if rest ~= "" then assert.equal(rest, far:read()) end
      near:close()
      far:close()
    end)
  end))

  it("are read when cut at any byte", run(function()
    local near, far = pair()
    each(function(vector, lines, rest)
      for at = 1, #vector.bytes - 1 do
        near:write(vector.bytes:sub(1, at))
        local early = split(vector.bytes:sub(1, at))
        for i = 1, #early do assert.equal(lines[i], (far:read_line(1 << 20, 0)), vector.name) end
        assert.equal("ETIMEDOUT", code(far:read_line(1 << 20, 0)), vector.name)
        near:write(vector.bytes:sub(at + 1))
        read_lines(vector, far, { table.unpack(lines, #early + 1) })
        if rest ~= "" then assert.equal(rest, far:read_exact(#rest)) end
      end
    end)
  end, 10))

  it("are read byte by byte, by a reader that waits", run(function()
    local near, far = pair()
    each(function(vector, lines, rest)
      local writer = vmctl.spawn(function()
        for byte in vector.bytes:gmatch "." do
          near:write(byte)
          vmctl.yield()
        end
      end)
      for _, line in ipairs(lines) do assert.equal(line, (far:read_line()), vector.name) end
      if rest ~= "" then assert.equal(rest, far:read_exact(#rest)) end
      writer:join()
    end)
  end, 10))

  it("end with EPROTO when the last has no end, and it can still be read", run(function()
    local near, far = pair()
    local vector = vectors.load "stereos".no_final_newline
    near:write(vector.bytes)
    near:shutdown()
    assert.equal("EPROTO", code(far:read_line()))
    assert.equal(vector.bytes, far:read())
    assert.equal("EOF", code(far:read_line()))
  end))

  it("end with ETOOBIG beyond the limit, and the lines before are delivered", run(function()
    local vector = vectors.load "stereos".unsolicited_before_reply
    local lines = split(vector.bytes)
    local near, far = pair()
    near:write(vector.bytes .. ("x"):rep(100))
    for _, line in ipairs(lines) do assert.equal(line, (far:read_line(100))) end
    assert.equal("ETOOBIG", code(far:read_line(100)))
  end))
end)
