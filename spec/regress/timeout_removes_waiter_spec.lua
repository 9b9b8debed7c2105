-- A wait that timed out must not be woken later, by what it waited for, while its task waits for something else
-- (lua-nginx-module#376, cqueues#57).
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

describe("a wait that timed out", function()
  it("is not woken by what comes later", run(function()
    local near, far = pair()
    local _, other = pair()
    local task = vmctl.spawn(function()
      assert.equal("ETIMEDOUT", code(far:read(nil, 1)))
      local before = vmctl.now()
      assert.equal("ETIMEDOUT", code(other:read(nil, 5)))
      return vmctl.now() - before, far:read()
    end)
    support.passed(vmctl.sleep, 3)
    near:write "too late for the first"
    local _, waited, got = support.passed(task.join, task)
    assert.is_true(waited >= 5)
    assert.equal("too late for the first", got)
  end))

  it("does not keep the direction busy", run(function()
    local near, far = pair()
    for _ = 1, 3 do assert.equal("ETIMEDOUT", code(far:read(nil, 0.005))) end
    near:write "x"
    assert.equal("x", far:read())
    local big = ("x"):rep(1 << 20)
    for _ = 1, 3 do assert.equal("ETIMEDOUT", code(near:write(big, 0.005))) end
  end))

  it("takes no connection from who accepts after it", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    assert.equal("ETIMEDOUT", code(listener:accept(0.005)))
    local accepting = vmctl.spawn(function() return listener:accept() end)
    vmctl.yield()
    assert(vmctl.dial(listener:address()))
    assert.truthy(accepting:join())
  end))

  it("leaves nothing of a dial behind", run(function()
    local listener <close> = assert(vmctl.listen("tcp:127.0.0.1:0", { backlog = 0 }))
    local streams, fds = {}, nil
    for _ = 1, 4 do
      fds = support.fds()
      streams[#streams + 1] = vmctl.dial(listener:address(), { timeout = 0.02 })
    end
    assert.is_true(#streams < 4)
    assert.same(fds, support.fds()) -- the last one timed out: checked without a run of the collector
  end))
end)
