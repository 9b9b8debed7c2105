-- A microvm that rebooted took several times as long as a boot, or never came back: its kernel tried one way after another to reset
-- a machine that knows none of them. VMCTL_REBOOTS says how many there are in a row (`make test-boots`).
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120 -- seconds for each
local REBOOTS = math.tointeger(tonumber(os.getenv "VMCTL_REBOOTS")) or 2

guest.on_each_channel(describe, "a microvm that reboots", function(channel)
  it("comes back each time, in one new epoch", support.run(function()
    local vm <close> = guest.boot { machine = "microvm", reboot = true, channel = channel }
    local told = vmctl.channel(2 * REBOOTS)
    local cancel = vm:on_epoch(function(number, why) told:send { number, why } end)
    for expected = 2, REBOOTS + 1 do
      local begun = vmctl.now()
      vm:run "reboot -f; sleep 1000"
      assert.same({ expected, "reboot" }, told:recv(LIMIT))
      local reset = vmctl.now()
      assert(vm:wait_ready(LIMIT))
      assert.equal(expected, vm:epoch())
      if REBOOTS > 2 then
        print(("# reboot %d over %s: reset after %.1f s, ready after %.1f s"):format(expected - 1, channel, reset - begun,
          vmctl.now() - begun))
      end
    end
    cancel()
  end, LIMIT * (REBOOTS + 1)))
end)
