-- A PC that rebooted advanced its epoch by two or three: its firmware resets it again.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120

describe("a q35 that reboots", function()
  it("begins one epoch each time", support.run(function()
    local vm <close> = guest.boot { machine = "q35", reboot = true }
    for expected = 2, 3 do
      local told = vmctl.channel(4)
      local cancel = vm:on_epoch(function(number, why) told:send { number, why } end)
      vm:run "reboot -f; sleep 1000"
      assert.same({ expected, "reboot" }, told:recv(LIMIT))
      assert(vm:wait_ready(LIMIT))
      assert.equal(expected, vm:epoch())
      cancel()
    end
    assert(vm:reset())
    assert(vm:wait_ready(LIMIT))
    assert.equal(4, vm:epoch())
  end, LIMIT))
end)
