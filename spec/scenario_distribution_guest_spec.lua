-- #distribution: tests that begin with copies of an unchanged Debian (`make test-distributions`). Takes about 40 seconds.
local assert = require "luassert"
local distributions = require "spec.support.distributions"
local guest = require "spec.support.guest"
local scenario = require "vmctl".scenario

local LIMIT = distributions.LIMIT

for _, suite in ipairs(distributions.suites()) do
  describe(("tests with copies of Debian's %s #distribution"):format(suite), function()
    local vms = scenario.machines({ debian = { root = "disk:" .. distributions.disk(suite) } }, {
      defaults = { kernel = guest.kernel, modules_dir = guest.modules_dir(), agent = guest.agent, cpus = 2, ready = "system",
        boot_timeout = LIMIT },
      snapshot = true, timeout = LIMIT, limit = 3 * LIMIT,
      prepare = function(all)
        all.debian:succeed "echo written > /srv/file; sync; echo late > /srv/late; cat /proc/sys/kernel/random/boot_id > /srv/boot"
      end,
    })

    local function is_as_prepared()
      assert.equal("running\n", vms.debian:succeed "systemctl is-system-running")
      assert.equal("file\nlate\n", vms.debian:succeed "ls /srv | grep -v boot")
      assert.equal("written\nlate\n", vms.debian:succeed "cat /srv/file /srv/late")
      vms.debian:succeed "cmp /srv/boot /proc/sys/kernel/random/boot_id"
    end

    it("begin with what was prepared, and change it", function()
      is_as_prepared()
      vms.debian:succeed "logger -t of-this-test a word; journalctl --sync"
      assert.equal("a word", vms.debian:journal({ identifier = "of-this-test" })[1].message)
      local told = select(2, pcall(vms.debian.succeed, vms.debian, "exit 3"))
      assert.truthy(told:find("\n  journal of debian", 1, true) and told:find("of-this-test[", 1, true), told)
      told = select(2, pcall(vms.debian.wait_for_unit, vms.debian, "nosuch.service"))
      assert.truthy(told:find("\nnosuch.service is inactive (dead)", 1, true), told)
      vms.debian:succeed "rm /srv/file; echo other > /srv/other; sync; systemctl stop cron 2>/dev/null || true"
      vms.debian:succeed "echo 3 > /proc/sys/vm/drop_caches; cat /srv/late"
    end)

    it("begin anew each time, also from what is only on the disk", function()
      is_as_prepared()
      vms.debian:succeed "echo 3 > /proc/sys/vm/drop_caches"
      is_as_prepared()
      assert.truthy(vms.debian:succeed("tar -C / -cf - usr/bin | wc -c"):find "^%d%d%d%d%d%d%d%d+\n")
    end)
  end)
end
