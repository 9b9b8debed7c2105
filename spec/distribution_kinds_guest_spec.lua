-- #distribution: disks of Debians with something else than most of them have (`make test-distributions`).
-- Takes about 450 seconds.
local assert = require "luassert"
local distributions = require "spec.support.distributions"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = distributions.LIMIT
local boot, say = distributions.boot, distributions.say

for _, suite in ipairs(distributions.kind "dracut" and { "bookworm", "trixie" } or {}) do
  describe(("a disk of Debian's %s whose initrd is dracut's #distribution"):format(suite), function()
    it("has the address of its network, for which its initrd has no module", support.run(function()
      local vm <close> = boot(support.tmpdir(), { root = "disk:" .. distributions.kind("dracut", suite), kernel = false, network = "user" })
      assert.equal("kernel", vm.boot, vm.boot_reason)
      assert.truthy(vm.boot_reason:find("an initrd of dracut", 1, true), vm.boot_reason)
      assert.truthy(say(vm, "ip addr"):find("inet 10.0.2.15/24", 1, true), vm:console())
      assert.equal("running\n", distributions.state(vm))
      assert(vm:shutdown(LIMIT))
    end, 2 * LIMIT))
  end)
end

if distributions.kind "btrfs" then
  describe("a disk whose root is in a subvolume of a btrfs #distribution", function()
    local disk = "disk:" .. distributions.kind "btrfs"

    local function check(vm)
      assert.truthy(say(vm, "cat /proc/mounts"):find "\n/dev/vda3 / btrfs [^\n]*subvol=/@rootfs ")
      assert.equal("running\n", distributions.state(vm))
      assert(vm:shutdown(LIMIT))
    end

    it("starts by its own kernel, which is told of the subvolume, and by ours", support.run(function()
      local folder = support.tmpdir()
      do
        local vm <close> = boot(folder, { root = disk, kernel = false })
        assert.equal("kernel", vm.boot, vm.boot_reason)
        check(vm)
      end
      local vm <close> = boot(folder, { root = disk, boot = "ours" })
      check(vm)
    end, 4 * LIMIT))

    it("starts by its own loader", support.run(function()
      local vm <close> = boot(support.tmpdir(), { root = disk, boot = "firmware" })
      assert.equal("tmpfiles", vm:agent_came_by())
      check(vm)
    end, 2 * LIMIT))
  end)
end

if distributions.kind "openrc" then
  describe("a disk with OpenRC #distribution", function()
    local disk = "disk:" .. distributions.kind "openrc"

    local function system(vm) return vm:wait_ready { target = "system", timeout = 2 * LIMIT } end

    local function check_services(vm)
      assert(vm:write_file("/etc/init.d/good", "#!/sbin/openrc-run\ncommand=/bin/sleep\ncommand_args=infinity\n" ..
        "command_background=yes\npidfile=/run/good.pid\n", { mode = 493 }))
      assert(vm:write_file("/etc/init.d/bad", "#!/sbin/openrc-run\nstart() { return 1; }\n", { mode = 493 }))
      say(vm, "rc-service good start; rc-update add good default")
      assert.equal("sleep\n", say(vm, "cat /proc/$(cat /run/good.pid)/comm"))
      assert(system(vm))
      local record = assert(vm:run { "rc-service", "bad", "start", timeout = LIMIT })
      assert.not_equal(0, record.exit_code)
    end

    local function check_refusals(vm)
      local unit = vm:unit "good.service"
      for _, call in ipairs { unit.start, unit.wait, unit.show, unit.is_active, unit.journal } do
        local ok, err, code = call(unit)
        assert.same({ nil, "ENOTSUP" }, { ok, code })
        assert.truthy(err:find("its services are not systemd's (those of OpenRC: vm:run { \"rc-service\"", 1, true), err)
      end
      assert.equal("ENOTSUP", select(3, vm:systemctl "daemon-reload"))
      assert.equal("ENOTSUP", select(3, vm:journal()))
    end

    local function check_reboot(vm)
      local news = vmctl.channel(4)
      vm:on_epoch(function(_, why) news:send(why) end)
      vm:run { "reboot", timeout = LIMIT } -- its connection may end before it does
      assert.equal("reboot", news:recv(LIMIT))
      assert.truthy(vm:console():find("INIT: Switching to runlevel: 6", 1, true), vm:console())
      assert(vm:wait_ready(LIMIT))
      assert.equal("init\n/etc/init.d/good\n", say(vm, "cat /proc/1/comm; ls /etc/init.d/good"))
    end

    it("reaches its default level under our kernel, with the agent beside its init, reboots, and powers off", support.run(function()
      local folder = support.tmpdir()
      local vm <close> = boot(folder, { root = disk, kernel = false, network = "user", reboot = true })
      assert.same({ "ours", "the disk has no /boot/vmlinuz-VERSION with an initrd of that version beside it" }, { vm.boot, vm.boot_reason })
      assert(system(vm))
      assert.equal("default init\ndebian-bookworm\n", say(vm, "echo $(cat /run/openrc/softlevel) $(cat /proc/1/comm); hostname"))
      assert.equal("", say(vm, "rc-status --crashed || true"))
      assert.truthy(say(vm, "ip addr"):find("inet 10.0.2.15/24", 1, true))
      assert.truthy(say(vm, "cat /proc/mounts"):find("/dev/vda2 /boot/efi vfat ", 1, true)) -- by its fstab, whose modules are ours
      check_services(vm)
      check_refusals(vm)
      check_reboot(vm)
      assert(vm:shutdown(LIMIT))
      assert.truthy(vm:console():find("INIT: Switching to runlevel: 0", 1, true), vm:console())
      assert.truthy(vm:console():find "Power down", vm:console())
    end, 4 * LIMIT))
  end)
end
