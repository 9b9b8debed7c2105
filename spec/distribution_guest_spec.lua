-- #distribution: unchanged disks of Debian 12 and 13 (tools/debian-root) as guests. VMCTL_DISTRIBUTIONS names those that run
-- (`make test-distributions`). Takes about 400 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local distributions = require "spec.support.distributions"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = distributions.LIMIT
local FILES = 10000

if distributions.kind "cloud" then
  describe("a disk of Debian's bookworm with cloud-init #distribution", function()
    it("is led to the agent by a volume of NoCloud's, which alters nothing else", support.run(function()
      local vm <close> = distributions.boot(support.tmpdir(), { root = { "disk:" .. distributions.kind "cloud", ways = { "nocloud" } },
        boot = "firmware" })
      assert.equal("nocloud", vm:agent_came_by())
      assert.equal("running\n", distributions.state(vm))
      assert.equal("debian-bookworm\n", distributions.say(vm, "hostname"))
      assert.equal("", distributions.say(vm, "getent passwd debian || true"))
      assert(vm:shutdown(LIMIT))
    end, 2 * LIMIT))
  end)
end

for _, suite in ipairs(distributions.suites()) do
  local disk = distributions.disk(suite)

  describe(("a disk of Debian's %s #distribution"):format(suite), function()
    local folder, boot = nil, distributions.boot
    local say = distributions.say

    local function run(body, boots)
      return support.run(function()
        folder = support.tmpdir()
        body()
      end, LIMIT * boots)
    end

    local function kept() return { root = { "disk:" .. disk, keep = folder .. "/kept.qcow2" }, writes = "keep" } end

    it("boots to 'running' with the agent beside systemd, and powers off; nothing on it has changed", run(function()
      local before = assert(core.fs.stat(disk))
      local vm <close> = boot(folder, { root = "disk:" .. disk, kernel = false })
      assert.equal("kernel", vm.boot)
      assert.equal("running\n", distributions.state(vm))
      assert.equal("", say(vm, "systemctl --failed --no-legend"))
      assert.equal("systemd\n/root\ndebian-" .. suite .. "\n", say(vm, "cat /proc/1/comm; echo $HOME; hostname"))
      assert.equal("active\n", say(vm, "systemctl is-active vmctl-agent.service"))
      assert.is_true(math.abs(tonumber(say(vm, "date +%s")) - os.time()) < 30)
      assert(vm:shutdown(LIMIT))
      assert.truthy(vm:console():find "Power down", vm:console())
      assert.same(before, core.fs.stat(disk))
    end, 2))

    it("runs its own kernel and initrd, which a guest finds once, with a share", run(function()
      local shared = folder .. "/shared"
      assert(core.fs.mkdir(shared))
      assert(core.fs.replace(shared .. "/file", "shared\n"))
      local options = { root = "disk:" .. disk, kernel = false, network = "user",
        shares = { { host = shared, guest = "/srv/a share", read_only = true } } }
      local vm <close> = boot(folder, options)
      assert.equal("running\n", distributions.state(vm))
      assert.equal("kernel", vm.boot, vm.boot_reason)
      assert.equal("systemd\nshared\n", say(vm, "cat /proc/1/comm; cat '/srv/a share/file'"))
      assert.truthy(say(vm, "ip addr"):find("inet 10.0.2.15/24", 1, true))
      assert.equal("0\n", say(vm, "test -e /boot/vmlinuz-$(uname -r); echo $?"))
      say(vm, "modprobe loop") -- its modules are those of its kernel
      assert.equal(1, #core.fs.list(folder .. "/cache/kernels"))
      assert(vm:shutdown(LIMIT))
    end, 2))

    it("is started by its own loader, and its systemd is told of the agent from outside", run(function()
      local before = assert(core.fs.stat(disk))
      local vm <close> = boot(folder, { root = "disk:" .. disk, boot = "firmware" })
      assert.equal(distributions.WAY[suite], vm:agent_came_by())
      assert.equal("running\n", distributions.state(vm))
      assert(vm:shutdown(LIMIT))
      assert.same(before, core.fs.stat(disk))
    end, 2))

    it("keeps ten thousand files over a reboot, and what was synced over a loss of power", run(function()
      local options = kept()
      options.reboot = true
      local vm <close> = boot(folder, options)
      assert.equal("running\n", distributions.state(vm))
      say(vm, ("mkdir /srv/a; cd /srv/a; i=0; while [ $i -lt %d ]; do i=$((i+1)); echo $i > $i; done; cp -a /srv/a /srv/b"):format(FILES))
      local sum = say(vm, "cd /srv/b; ls | sort -n | xargs cat | sha256sum")
      local news = vmctl.channel(4)
      vm:on_epoch(function(_, why) news:send(why) end)
      vm:run { "systemctl", "reboot", timeout = LIMIT } -- its connection may end before it does
      assert.equal("reboot", news:recv(LIMIT))
      assert(vm:wait_ready(LIMIT))
      assert.equal(sum, say(vm, "cd /srv/b; ls | sort -n | xargs cat | sha256sum"))
      assert.equal(FILES .. "\n", say(vm, "ls /srv/a | wc -l"))
      local random = say(vm, "dd if=/dev/urandom of=/srv/random bs=1M count=8 conv=fsync status=none; sync /srv; sha256sum /srv/random")
      assert(vm:kill())
      local again <close> = boot(folder, kept())
      assert.equal(random, say(again, "sha256sum /srv/random"))
      assert.equal("running\n", distributions.state(again))
      assert(again:shutdown(LIMIT))
    end, 3))

    it("answers when it is full, and when it may not be written", run(function()
      local vm <close> = boot(folder, { root = "disk:" .. disk })
      assert.equal("running\n", distributions.state(vm))
      say(vm, "fallocate -l $((($(stat -f -c %f /) - 8192) * 4096)) /fill") -- what is kept for root too
      local result = assert(vm:run("dd if=/dev/zero of=/more bs=1M count=64", { timeout = LIMIT }))
      assert.equal(1, result.exit_code)
      assert.truthy(result.stderr:find("No space left on device", 1, true), result.stderr)
      local ok, err, code = vm:write_file("/big", ("x"):rep(1 << 20))
      assert.same({ nil, "EREMOTE" }, { ok, code })
      assert.truthy(err:find("No space left on device", 1, true), err)
      assert.equal("running\n", distributions.state(vm))
      assert(vm:shutdown(LIMIT))
      for _, kernel in ipairs { distributions.KERNEL, false } do
        local fixed <close> = boot(folder, { root = { "disk:" .. disk, read_only = true }, kernel = kernel })
        assert.truthy(say(fixed, "grep ' / ext4 ' /proc/mounts"):find(" ro,", 1, true))
        result = assert(fixed:run("echo more > /more; mount -o remount,rw /", { timeout = LIMIT }))
        assert.not_equal(0, result.exit_code)
        assert(fixed:shutdown(LIMIT))
      end
    end, 4))
  end)
end
