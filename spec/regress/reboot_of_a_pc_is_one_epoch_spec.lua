-- A PC that rebooted advanced its epoch by two or three: its firmware resets it again.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120

describe("a q35 that reboots", function()
  it("begins one epoch each time", support.run(function()
    local vm <close> = guest.boot { machine = "q35", reboot = true }
    local told = vmctl.channel(4)
    vm:on_epoch(function(number, why) told:send { number, why } end)
    vm:run "reboot -f; sleep 1000"
    assert.same({ 2, "reboot" }, told:recv(LIMIT))
    assert(vm:wait_ready(LIMIT))
    assert.equal(2, vm:epoch())
    assert(vm:reset())
    assert(vm:wait_ready(LIMIT))
    assert.equal(3, vm:epoch())
  end, LIMIT))
end)
