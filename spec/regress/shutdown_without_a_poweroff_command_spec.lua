-- A guest without a poweroff command was never shut down: it was killed when its time was over.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"

describe("shutdown", function()
  it("of a guest without a poweroff command is its agent's own", support.run(function()
    local image = guest.build_image { output = support.tmpdir() .. "/image", agent = guest.agent, busybox = false,
      modules_dir = guest.modules_dir() }
    local vm <close> = guest.boot { initrd = image }
    assert.equal(127, assert(vm:run { "poweroff" }).exit_code)
    assert(vm:shutdown(60))
    assert.same({ exit_code = 0 }, vm:wait())
  end, 120))
end)
