-- One reader and one writer a stream: a second one is an error at once, never a mixture (cqueues#9, luv#503).
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local function waiting(fn)
  local task = vmctl.spawn(fn)
  vmctl.yield()
  assert.equal("waiting", task:status())
  return task
end

describe("a second reader", function()
  it("gets EBUSY at once, whatever it asks for; the first is not disturbed", run(function()
    local near, far = pair { format = { max = 100 } }
    local first = waiting(function() return far:read_line() end)
    local _, message, name = far:read()
    assert.equal("EBUSY", name)
    assert.truthy(message:find("pair", 1, true))
    assert.equal("EBUSY", code(far:read_exact(1)))
    assert.equal("EBUSY", code(far:read_line()))
    assert.equal("EBUSY", code(far:read_frame()))
    assert.equal("EBUSY", code(far:read_frames()))
    assert.equal("EBUSY", code(far:read(nil, 0)))
    near:write "for the first\n"
    assert.equal("for the first", first:join())
  end))

  it("does not take the bytes of half a line from the first", run(function()
    local near, far = pair()
    local first = waiting(function() return far:read_line() end)
    near:write "half "
    support.eventually(function() return far:stats().buffered_in == 5 end)
    far:read_exact(100, 0)
    near:write "a line\n"
    assert.equal("half a line", first:join())
  end))

  it("is no writer: both directions are independent", run(function()
    local near, far = pair()
    local first = waiting(function() return far:read() end)
    assert.is_true(far:write "meanwhile")
    assert.equal("meanwhile", near:read())
    near:write "x"
    assert.equal("x", first:join())
  end))

  it("may read when the first has timed out or was cancelled", run(function()
    local near, far = pair()
    assert.equal("ETIMEDOUT", code(far:read(nil, 0.01)))
    local first = waiting(function() return far:read() end)
    first:cancel()
    assert.equal("ECANCELED", code(first:join()))
    near:write "free again"
    assert.equal("free again", far:read())
  end))
end)

describe("a second writer", function()
  it("gets EBUSY at once; nothing of it is sent", run(function()
    local near, far = pair { format = { max = 100 } }
    local big = ("1"):rep(1 << 20)
    local first = waiting(function() return near:write(big) end)
    assert.equal("EBUSY", code(near:write "2"))
    assert.equal("EBUSY", code(near:write_frame "2"))
    assert.equal("EBUSY", code(near:write_frames { "2", "2" }))
    assert.equal("EBUSY", code(near:flush()))
    assert.equal("EBUSY", code(near:shutdown()))
    assert.is_true(far:read_exact(#big) == big)
    assert.is_true(first:join())
    assert.equal("ETIMEDOUT", code(far:read(nil, 0)))
  end))
end)
