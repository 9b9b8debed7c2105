-- A call that retries until its own time-out ends with the vmctl.timeout around it: its waits then fail at once,
-- and it went on asking without a pause.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

describe("a limit around what asks again", function()
  it("ends qga.connect, which has asked no more than the pauses allow", run(function()
    local near, far = support.pair()
    local _, got = support.passed(function()
      return code(vmctl.timeout(5, vmctl.qga.connect, function() return near end, { sync_timeout = 3600 }))
    end)
    assert.equal("ETIMEDOUT", got)
    local asked = 0
    while far:read_line(4096, 0) do asked = asked + 1 end
    assert.equal(3, asked) -- at 0, 1 and 3 seconds
    far:close()
  end))

  it("ends the wait for the end of a port", run(function()
    local a, far = support.pair()
    local port <close> = vmctl.l2.port(a)
    local _, got = support.passed(function() return code(vmctl.timeout(5, port.done, port)) end)
    assert.equal("ETIMEDOUT", got)
    _, got = support.passed(function() return code(vmctl.timeout(5, port.done, port, 3600)) end)
    assert.equal("ETIMEDOUT", got)
    far:close()
  end))
end)
