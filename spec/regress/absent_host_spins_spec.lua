-- A virtio port whose host has gone polls as hung up, level-triggered, which counts as readable and writable, while
-- writing gives EAGAIN: who waits must not spin. (For reading, which gives 0, see dial_spec.)
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

local EAGAIN = 11

describe("a virtio port without a host", function()
  it("is written to without spinning, and all is written when the host is back", support.run(function()
    for times, want in pairs { [5] = "true", [1000000] = "ETIMEDOUT" } do
      script.check(([[
        local core = require "vmctl.core"
        local _, line = core.process { argv = { "sleep", "5" }, tty = true, session = true }
        local port = core.open(line:detach(), "serial", "port")
        local cpu = os.clock()
        local ok, _, name = port:write("hello", 0.3)
        assert(os.clock() - cpu < 0.1, "it spins")
        assert(tostring(ok or name) == %q, name)
      ]]):format(want), { env = native.refusing(support.tmpdir(), times, EAGAIN) })
    end
  end, 10))
end)
