-- A read that times out, or is cancelled, in the middle of a frame must lose nothing of it.
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

describe("half a frame", function()
  it("survives time-outs, wherever it is cut", run(function()
    local near, far = pair { format = { type = 1, max = 100 } }
    local bytes = "\7\0\0\0\5hello"
    for at = 1, #bytes - 1 do
      near:write(bytes:sub(1, at))
      assert.equal("ETIMEDOUT", code(far:read_frame { timeout = 0.001 }))
      assert.equal("ETIMEDOUT", code(far:read_frames(9, 0)))
      near:write(bytes:sub(at + 1))
      assert.same({ 7, "hello" }, { far:read_frame { timeout = 1 } })
    end
  end))

  it("survives a cancelled task", run(function()
    local near, far = pair { format = { max = 100 } }
    local reader = vmctl.spawn(function() return far:read_frame() end)
    near:write "\0\0\0\5hel"
    support.eventually(function() return far:stats().buffered_in == 7 end)
    reader:cancel()
    assert.equal("ECANCELED", code(reader:join()))
    near:write "lo"
    assert.equal("hello", far:read_frame())
  end))

  it("survives a vmctl.timeout", run(function()
    local near, far = pair { format = { max = 100 } }
    near:write "\0\0\0\5hel"
    assert.equal("ETIMEDOUT", code(vmctl.timeout(0.01, function() return far:read_frame(60) end)))
    near:write "lo"
    assert.equal("hello", far:read_frame())
  end))

  it("that is large survives, too", run(function()
    local near, far = pair { format = { max = 8 << 20 } }
    local big = ("0123456789abcdef"):rep(1 << 18)
    local writer = vmctl.spawn(function() return near:write_frame(big) end)
    local got, _, name
    local timeouts = 0
    repeat
      got, _, name = far:read_frame(0)
      if name == "ETIMEDOUT" then timeouts = timeouts + 1 end
      vmctl.yield()
    until got
    assert.is_true(timeouts > 1)
    assert.is_true(got == big)
    assert.is_true(writer:join())
  end))
end)
