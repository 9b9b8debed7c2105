-- #distribution: disks of a Debian 12 with something else than most of them have (`make test-distributions`).
-- Takes about 60 seconds.
local assert = require "luassert"
local distributions = require "spec.support.distributions"
local support = require "spec.support"

local LIMIT = distributions.LIMIT
local boot, say = distributions.boot, distributions.say

if distributions.kind "dracut" then
  describe("a disk whose initrd is dracut's #distribution", function()
    it("has the address of its network, though the initrd has no module for the card", support.run(function()
      local vm <close> = boot(support.tmpdir(), { root = "disk:" .. distributions.kind "dracut", kernel = false, network = "user" })
      assert.equal("kernel", vm.boot, vm.boot_reason)
      assert.truthy(vm.boot_reason:find("an initrd of dracut", 1, true), vm.boot_reason)
      assert.equal("0\n", say(vm, "lsinitrd /boot/initrd.img-$(uname -r) | grep -c virtio_net || true"))
      assert.truthy(say(vm, "ip addr"):find("inet 10.0.2.15/24", 1, true), vm:console())
      assert.equal("running\n", distributions.state(vm))
      assert(vm:shutdown(LIMIT))
    end, 2 * LIMIT))
  end)
end
