-- A time-out below 0 is one that is over, everywhere: it is what is left of a deadline that has passed (luv#329, where it
-- meant for ever).
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

describe("a negative time-out", function()
  it("is over at once, in a task", support.run(function()
    local lock = vmctl.lock()
    assert.is_true(vmctl.sleep(-1))
    assert.equal("ETIMEDOUT", code(vmctl.timeout(-1, vmctl.sleep, 60)))
    lock:with(nil, function() assert.equal("ETIMEDOUT", code(lock:with(-1, error))) end)
    assert.equal("ETIMEDOUT", code(vmctl.channel():recv { timeout = -1 }))
  end))

  it("is over at once, in a plain script", function()
    assert.is_true(vmctl.sleep(-1))
    assert.equal("ETIMEDOUT", code(vmctl.channel():recv(-1)))
    assert.equal("ETIMEDOUT", code(vmctl.timeout(-1, vmctl.sleep, 3600)))
  end)

  it("of a step does not wait", function()
    local sleeper = vmctl.spawn(vmctl.sleep, 3600)
    assert.is_true(vmctl.loop.step(-1))
    assert.equal("waiting", sleeper:status())
    sleeper:cancel()
    assert.equal("ECANCELED", code(sleeper:join()))
  end)
end)
