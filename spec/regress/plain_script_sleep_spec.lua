-- In a plain script a wait that ended just when nothing else was left to wait for was taken for one that can never end.
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, pair = support.code, support.pair

describe("a wait in a plain script", function()
  it("that is a sleep ends well", function()
    assert.is_true(vmctl.sleep(0.001))
  end)

  it("that ends by its time-out says so", function()
    local near, far = pair()
    assert.equal("ETIMEDOUT", code(far:read(nil, 0.001)))
    assert.equal("ETIMEDOUT", code(core.queue():wait(0.001)))
    near:close()
    far:close()
  end)

  it("without limit ends by what it waited for", function()
    local near, far = pair()
    vmctl.spawn(function() near:close() end)
    assert.equal("EOF", code(far:read(nil, math.huge)))
    far:close()
  end)

  it("that nothing can end is EDEADLK", function()
    assert.equal("EDEADLK", code(core.queue():wait()))
  end)
end)
