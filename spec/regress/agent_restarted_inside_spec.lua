-- An agent that was started anew inside its guest could not be reached any more over the virtio-serial port: the call in flight
-- hung, every later one ran out of time, and the guest was called ready.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code
local LIMIT = 120

guest.on_each_channel(describe, "an agent that is killed and started anew inside its guest", function(channel)
  it("ends the call in flight, and answers again", support.run(function()
    local image = guest.build_supervised(support.tmpdir())
    local vm <close> = guest.boot { initrd = image, channel = channel }
    for _ = 1, 2 do
      local flying = vmctl.spawn(function() return vm:run { "sleep", "1000" } end)
      support.eventually(function() return assert(vm:run { "pidof", "sleep" }).exit_code == 0 end)
      assert.equal("ERESET", code(vm:run "kill -9 $(pidof vmctl-agent); sleep 1000"))
      assert.equal("ERESET", code(flying:join(LIMIT)))
      assert(vm:wait_ready(LIMIT))
      assert.equal("again\n", assert(vm:run { "echo", "again" }).stdout)
    end
    assert.equal(1, vm:epoch())
  end, LIMIT))
end)
