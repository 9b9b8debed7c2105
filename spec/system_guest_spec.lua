-- #distribution: services and journals of unchanged Debians (`make test-distributions`). Takes about 60 seconds.
local assert = require "luassert"
local config = require "vmctl".config
local doctor = require "vmctl".doctor
local distributions = require "spec.support.distributions"
local guest = require "spec.support.guest"
local ready = require "vmctl".ready
local support = require "spec.support"

local LIMIT = distributions.LIMIT
local boot, say = distributions.boot, distributions.say

local function has(text, ...)
  for _, word in ipairs { ... } do assert.truthy(text:find(word, 1, true), ("no '%s' in: %s"):format(word, text)) end
end

for _, suite in ipairs(distributions.suites()) do
  describe(("the system of Debian's %s #distribution"):format(suite), function()
    local function run(body, boots)
      return support.run(function() body(support.tmpdir(), "disk:" .. distributions.disk(suite)) end, LIMIT * boots)
    end

    local function add_unit(vm, name, text)
      assert(vm:write_file("/run/systemd/system/" .. name, text))
      assert.equal(0, assert(vm:systemctl "daemon-reload").exit_code)
    end

    local function check_verbs(vm)
      add_unit(vm, "good.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
      local unit = vm:unit "good.service"
      assert.is_false(unit:is_active())
      local ok, err, code = unit:wait(LIMIT)
      assert.same({ nil, "EREMOTE" }, { ok, code })
      has(err, "wait for good.service to be active: it is inactive, and nothing is about to start it")
      assert(unit:start())
      assert(unit:wait(LIMIT))
      local shown = assert(unit:show { "ActiveState", "MainPID" })
      assert.equal("active", shown.ActiveState)
      assert.equal("sleep\n", say(vm, "cat /proc/" .. shown.MainPID .. "/comm"))
      assert(unit:restart())
      assert.not_equal(shown.MainPID, unit:show({ "MainPID" }).MainPID)
      assert.is_true(unit:is_active())
      assert(unit:enable())
      assert.equal("enabled", unit:show({ "UnitFileState" }).UnitFileState)
      assert(unit:disable { now = true })
      assert(unit:wait { state = "inactive", timeout = LIMIT })
      local record = assert(vm:systemctl { "is-active", "good.service" })
      assert.same({ 3, "inactive\n" }, { record.exit_code, record.stdout })
    end

    local function check_failures(vm)
      add_unit(vm, "bad.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo sour; exit 3'\n")
      local unit = vm:unit "bad.service"
      local ok, err, code = unit:start()
      assert.same({ nil, "EEXIT" }, { ok, code })
      has(err, "start bad.service: Job for bad.service failed", "\nbad.service is failed (failed), its result: exit-code",
        "\nthe journal of bad.service:\n  | ", "sour", "Failed with result 'exit-code'.")
      ok, err, code = unit:wait(LIMIT)
      assert.same({ nil, "EREMOTE" }, { ok, code })
      has(err, "it has failed: exit-code", "sour")
      ok, err, code = vm:unit("nosuch.service"):start()
      assert.same({ nil, "EEXIT" }, { ok, code })
      has(err, "Unit nosuch.service not found")
      local details
      ok, err, code, details = vm:wait_ready { target = "system", timeout = LIMIT }
      assert.same({ nil, "EREMOTE", { state = "degraded", failed = { "bad.service" } } }, { ok, code, details })
      assert.equal("EREMOTE", select(3, ready.wait(ready.system(vm), { timeout = LIMIT, attempt_timeout = LIMIT })))
      has(err, "the system is degraded: bad.service failed", "\nbad.service is failed", "sour")
      assert(unit:reset_failed())
      assert(vm:wait_ready { target = "system", timeout = LIMIT })
    end

    local function check_journal(vm)
      local list = assert(vm:journal { unit = "bad.service", priority = "err" })
      assert.same({ 0, "bad.service", "systemd", 3, 1 }, { list.dropped, list[1].unit, list[1].identifier, list[1].priority, list[1].pid })
      has(list[1].message, "Failed to start bad.service")
      assert.equal(0, #assert(vm:journal { identifier = "of nobody" }))
      say(vm, "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; done | systemd-cat -t many; " ..
        "printf '\\001\\377x' | systemd-cat -t bytes; head -c 100000 /dev/zero | tr '\\0' x | systemd-cat -t long; journalctl --sync")
      list = assert(vm:journal { identifier = "many", lines = 200 })
      assert.same({ 200, "101", "300" }, { #list, list[1].message, list[200].message })
      local few = assert(vm:journal { identifier = "many", max_bytes = 10000 })
      assert.equal("300", few[#few].message)
      assert.equal(300, #few + few.dropped)
      assert.is_true(#few > 5 and #few < 100, #few)
      assert.equal("\1\255x", assert(vm:journal { identifier = "bytes" })[1].message)
      local bytes = 0
      for _, entry in ipairs(assert(vm:journal { identifier = "long" })) do bytes = bytes + #entry.message end
      assert.equal(100000, bytes)
      assert.equal(0, #assert(vm:journal { since = list[1].time + 86400 }))
      local ok, err, code = vm:journal { since = "gestern" }
      assert.same({ nil, "journal: Failed to parse timestamp: gestern", "EREMOTE" }, { ok, err, code })
    end

    local function check_following(vm)
      local news <close> = assert(vm:journal { follow = true, identifier = "news" })
      assert.equal("ETIMEDOUT", select(3, news:next(0)))
      say(vm, "logger -t news one; logger -t news two; logger -t other none; logger -t news three")
      local heard = {}
      for entry in news:entries() do
        heard[#heard + 1] = entry.message
        if #heard == 3 then news:close() end
      end
      assert.same({ "one", "two", "three" }, heard)
      assert.equal("ECLOSED", select(3, news:next()))
    end

    local function push(vm, set) return config.push(vm, set, { timeout = LIMIT }) end

    local function check_configuration(vm)
      local set = {
        groups = { tools = { system = true } },
        users = { alice = { uid = 1234, groups = { "tools", "adm" }, shell = "/bin/bash" }, root = { groups = { "adm" } } },
        files = { ["/usr/local/bin/served"] = { content = "#!/bin/sh\nexec sleep infinity\n", mode = 493, owner = "alice:tools" } },
        units = {
          ["served.service"] = "[Service]\nExecStart=/usr/local/bin/served\nUser=alice\n[Install]\nWantedBy=multi-user.target\n",
          ["once.service"] = { Unit = { After = "served.service" }, Service = { Type = "oneshot", ExecStart = "/bin/true" } },
          ["each@.service"] = { content = "[Service]\nExecStart=/bin/sleep %i\n", runtime = true },
        },
      }
      local report = assert(push(vm, set))
      local kinds = {}
      for i, step in ipairs(report.steps) do kinds[i] = step.kind .. " " .. step.name end
      assert.same({ "group tools", "user alice", "user root", "file /usr/local/bin/served", "unit each@.service", "unit once.service",
        "unit served.service", "start once.service", "start served.service" }, kinds)
      assert.equal("alice adm tools\nenabled\nactive\n", say(vm, "id -nG alice; systemctl is-enabled served; systemctl is-active served"))
      set.units["once.service"] = nil -- it would run once more
      assert.is_false(assert(push(vm, set)).changed)
      local pid = vm:unit("served.service"):show({ "MainPID" }).MainPID
      set.units["served.service"] = set.units["served.service"] .. "# another\n"
      assert.is_true(assert(push(vm, set)).changed)
      assert.not_equal(pid, vm:unit("served.service"):show({ "MainPID" }).MainPID)
      assert(push(vm, { units = { ["served.service"] = false, ["once.service"] = false, ["each@.service"] = false },
        users = { alice = false }, groups = { tools = false } }))
      assert.equal("1\n2\n", say(vm, "id -u alice 2>/dev/null; echo $?; ls /etc/systemd/system/served.service 2>/dev/null; echo $?"))
    end

    local function check_refusals(vm)
      local marker = { ["/etc/marker"] = "x" }
      for text, units in pairs {
        ["a.service:3: Unknown key 'Foo' in section [Service], ignoring"] = { ["a.service"] = "[Service]\nExecStart=/bin/true\nFoo=1\n" },
        ["b.service:1: Invalid section header '[Sxx'"] = { ["b.service"] = "[Sxx\n" },
        ["c.service: Service has no ExecStart="] = { ["c.service"] = { Service = { Type = "oneshot" } } },
      } do
        local ok, err, code = push(vm, { files = marker, units = units })
        assert.same({ nil, "EINVAL" }, { ok, code })
        has(err, "units: systemd does not take them: " .. text)
      end
      assert.equal("2\n0\n", say(vm, "ls /etc/marker 2>/dev/null; echo $?; ls /etc/systemd/system | grep -c '^[abc].service' || true"))
      local bad = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo bitter; exit 3'\n"
      local ok, err, code = push(vm, { units = { ["bad.service"] = bad } })
      assert.same({ nil, "EEXIT" }, { ok, code })
      has(err, "start bad.service: Job for bad.service failed", "bitter")
      ok, err, code = push(vm, { users = { root = { uid = 7 } } })
      assert.same({ nil, "EREMOTE" }, { ok, code })
      has(err, "user root: the user root is there with the number 0")
      ok, err = push(vm, { users = { carol = { groups = { "nosuch" } } } })
      assert.is_nil(ok)
      has(err, "user carol: there is no group nosuch")
    end

    it("is up, has verbs for its units, and tells its journal", run(function(folder, root)
      local vm <close> = boot(folder, { root = root })
      local _, kind = assert(ready.wait(ready.system(vm), { timeout = LIMIT, attempt_timeout = LIMIT }))
      assert.equal("systemd", kind)
      assert.is_true(assert(vm:wait_ready { target = "system", timeout = LIMIT }) > 0)
      assert.equal("running\n", distributions.state(vm))
      check_verbs(vm)
      check_failures(vm)
      check_journal(vm)
      check_following(vm)
      check_configuration(vm)
      check_refusals(vm)
      assert(vm:shutdown(LIMIT))
    end, 2))

    it("is found by doctor on its disk", run(function(folder, root)
      local found = {}
      for _, finding in ipairs(doctor.root(root, { kernel = guest.kernel, modules_dir = guest.modules_dir(), agent = guest.agent,
        cache_dir = folder .. "/cache" })) do
        assert.is_true(finding.ok)
        found[finding.name] = finding.detail
      end
      assert.equal("raw, 3.0 GiB", found.disk)
      assert.equal("1: nothing known (1 MiB, GRUB's); 2: vfat 'ESP' (128 MiB, EFI system partition); 3: ext4 'root' (2.9 GiB)",
        found.partitions)
      has(found.distribution, "Debian GNU/Linux", suite)
      has(found.init, "systemd (/")
      assert.equal("no", found["cloud-init"])
      assert.equal(suite == "trixie" and "/usr/sbin/qemu-ga" or "no", found["qemu-ga"])
      assert.truthy(found.boot)
    end, 2))

    it("that never comes up is told of with what it waits for", run(function(folder, root)
      local vm <close> = boot(folder, { root = root, append = 'systemd.run="/bin/sleep infinity"' })
      assert(vm:unit("kernel-command-line.service"):wait { state = "activating", timeout = LIMIT })
      local ok, err, code, details = vm:wait_ready { target = "system", timeout = 10 }
      assert.same({ nil, "ETIMEDOUT" }, { ok, code })
      assert.is_true(details.state == "starting" or details.state == "initializing", details.state)
      has(err, ("the system is still %s: waiting for "):format(details.state), "kernel-command-line.service (start)",
        "the console's last lines:")
      assert(vm:kill())
    end, 2))
  end)
end
