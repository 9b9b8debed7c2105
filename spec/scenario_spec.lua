-- Scenarios with real guests: what the verbs do, in machines that are shared, new, or copies of a booted one.
-- Takes about 50 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local options = require "vmctl.base.options"
local scenario = require "vmctl.scenario"
local there = require "spec.support.scenario"
local vmctl = require "vmctl"

local folder = there.folder()
local defaults = options.merge(there.defaults, { memory = "192M" })

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
end

-- The error of a verb that fails.
local function failure_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "it did not fail")
  return err
end

describe("two machines on a network", function()
  local vms = scenario.machines({ one = { display = true }, two = {} }, {
    defaults = options.merge(defaults, { networks = { "lan" } }), shared = true, artefacts = folder, timeout = 20, keep = true,
  })

  it("start side by side when the first of them is used", function()
    assert.equal("new", vms.two:state())
    assert.equal("hello\n", (vms.one:succeed "echo hello"))
    assert.equal("on", vms.two:state())
    assert_has(vms:artefacts(), folder .. "/two_machines_on_a_network")
  end)

  it("know each other by name", function()
    vms.one:succeed("ping -c 1 -W 5 two", { "ping", "-c", "1", "-W", "5", vms.two:ip() })
  end)

  it("run commands: their output, their exit code, their signal", function()
    assert.same({ 7, "out\n", "err\n" }, { vms.one:execute "echo out; echo err >&2; exit 7" })
    assert.equal(137, (vms.one:execute "kill -9 $$"))
    assert.same({ "ab", "x" }, { vms.one:succeed("printf a", "printf b; printf x >&2") })
    assert.equal("said\n", (vms.one:fail "echo said; false"))
    assert.equal("in", (vms.one:succeed { "cat", stdin = "in" }))
    vms.one:fail("false | true", "cd /none; echo next", "echo $unset")
    vms.one:succeed { "false | true; echo $unset", strict = false }
    assert_has(failure_of(vms.one.fail, vms.one, "nosuchcommand"), "exit code 127 after ")
    assert_has(failure_of(vms.one.fail, vms.one, "kill -SEGV $$"), "signal SEGV ended it")
    vms.one:fail { "nosuchcommand", strict = true, exit_code = 127 }
    assert_has(failure_of(vms.one.wait_until_fails, vms.one, "nosuchcommand", 2), "exit_code = N asks for it")
  end)

  it("say what failed, at the line of the test", function()
    local err = failure_of(function() vms.one:succeed("true", "echo half; echo 'no\7such' >&2; exit 9", "touch /tmp/never") end)
    assert.truthy(err:find "^spec/scenario_spec.lua:%d+: one: succeed: exit code 9 after ")
    assert_has(err, "command: echo half; echo 'no\\x07such' >&2; exit 9")
    assert_has(err, "stdout:\n    | half\n")
    assert_has(err, "stderr:\n    | no\\x07such\n")
    assert_has(err, "console of one")
    assert_has(err, "artefacts: " .. folder)
    vms.one:fail "test -e /tmp/never"
    assert_has(failure_of(vms.one.fail, vms.one, "echo fine"), ": it succeeded\n")
  end)

  it("show what there was when a command's time is over", function()
    local err = failure_of(vms.one.execute, vms.one, { "sh", "-c", "echo begun; sleep 60", timeout = 2 })
    assert_has(err, "not finished in time")
    assert_has(err, "| begun")
  end)

  it("are waited for: files, commands, ports", function()
    local server = vms.one:spawn "sleep 0.3; touch /tmp/late; exec nc -ll -p 7070 -e cat"
    vms.one:wait_for_closed_port(7071)
    vms.one:wait_for_file "/tmp/late"
    vms.one:wait_for_open_port(7070)
    vms.two:wait_for_open_port(7070, { host = vms.one:ip() })
    assert.equal("yes\n", vms.one:wait_until_succeeds "test -e /tmp/late && echo yes")
    server:close()
    vms.one:wait_until_fails("pidof nc", 10)
    vms.one:wait_for_closed_port(7070)
  end)

  it("end a wait in time, and say what was seen last", function()
    local err = failure_of(vms.one.wait_until_succeeds, vms.one, "echo not yet; echo because >&2; exit 4", 2)
    assert_has(err, "waiting for echo not yet")
    assert_has(err, "seen last: exit code 4")
    assert_has(err, "stdout:\n    | not yet")
    assert_has(err, "stderr:\n    | because")
    assert_has(failure_of(vms.one.wait_for_file, vms.one, "/no/file", 2), "waiting for /no/file; seen last: it is not there")
    assert_has(failure_of(vms.one.wait_for_open_port, vms.one, 7099, 0.2), "waiting for port 127.0.0.1:7099")
    assert_has(failure_of(vms.one.wait_for_console_text, vms.one, "never", 0.2), "console never showed 'never'")
    assert_has(failure_of(vms.one.wait_for_unit, vms.one, "x.service", 10), "this guest has no systemctl")
  end)

  it("wait for a unit of systemd, and see that it cannot become active", function()
    vms.two:succeed { "sh", "-c", [[cat > /sbin/systemctl && chmod +x /sbin/systemctl]], stdin = [[
#!/bin/sh
for unit; do :; done
if [ -e "/tmp/$unit" ]; then cat "/tmp/$unit"; else printf 'ActiveState=inactive\nJob=0\n'; fi
]] }
    vms.two:succeed "printf 'ActiveState=activating\nJob=7\n' > /tmp/a.service"
    local starter = vms.two:spawn { "sh", "-c", "sleep 0.4; echo ActiveState=active > /tmp/a.service" }
    vms.two:wait_for_unit("a.service", 10)
    starter:close()
    vms.two:succeed "printf 'ActiveState=failed\nResult=exit-code\n' > /tmp/b.service"
    assert_has(failure_of(vms.two.wait_for_unit, vms.two, "b.service", 10), "ActiveState=failed Result=exit-code")
    assert_has(failure_of(vms.two.wait_for_unit, vms.two, "c.service", 10), "nothing is about to start it")
    vms.two:succeed "rm /sbin/systemctl"
  end)

  it("take files and folders, and give them back", function()
    local source = folder .. "/tree"
    assert(core.fs.mkdir(source))
    assert(core.fs.mkdir(source .. "/sub"))
    local bytes = ("\0\1\255x"):rep(100000)
    local file = assert(io.open(source .. "/sub/data", "wb"))
    file:write(bytes)
    file:close()
    assert(core.fs.chmod(source .. "/sub/data", 488)) -- 0750
    vms.one:copy_to_guest(source, "/tmp/deep/tree")
    vms.one:copy_to_guest(source .. "/sub/data", "/tmp/other/data")
    assert.equal("750\n750\n", (vms.one:succeed "stat -c %a /tmp/deep/tree/sub/data /tmp/other/data"))
    assert.equal(bytes, there.read(vms.one:copy_from_guest "/tmp/other/data"))
    local back = vms.one:copy_from_guest("/tmp/deep/tree", folder .. "/back")
    assert.equal(bytes, there.read(back .. "/sub/data"))
    local missing = failure_of(vms.one.copy_from_guest, vms.one, "/no/such")
    assert_has(missing, "pull one:/no/such to ")
    assert_has(missing, "there is no such file in the guest")
    assert_has(failure_of(vms.one.copy_to_guest, vms.one, "/no/such", "/tmp/x"), "/no/such")
  end)

  it("are cut off and joined again", function()
    local ping = "ping -c 1 -W 1 two"
    vms.one:succeed(ping)
    vms:partition { { "one" }, { vms.two } }
    vms.one:fail(ping)
    vms:heal()
    vms.one:wait_until_succeeds(ping)
    vms.two:block()
    vms.one:fail(ping)
    vms.two:unblock()
    vms.one:wait_until_succeeds(ping)
    assert.is_true(vms:switch("lan"):counts().total.frames_in > 0)
  end)

  it("lose the link of their card, see that, and get it again", function()
    local carrier = "cat /sys/class/net/eth0/carrier"
    assert.equal("1\n", (vms.two:succeed(carrier)))
    vms.two:link_down "lan"
    assert.equal("0\n", (vms.two:succeed(carrier)))
    vms.one:fail "ping -c 1 -W 1 two"
    vms.two:link_up()
    vms.two:wait_until_succeeds("test $(" .. carrier .. ") = 1")
    vms.one:wait_until_succeeds "ping -c 1 -W 1 two"
    assert_has(failure_of(vms.two.link_down, vms.two, "wan"), "it is not in a network 'wan'")
  end)

  it("are photographed, and typed to, where they have a screen", function()
    local path = vms.one:screenshot "first"
    assert_has(path, "/first.png")
    assert.equal("\137PNG\r\n\26\n", there.read(path):sub(1, 8))
    vms.one:send_key "ret"
    vms.one:send_chars "hello"
    vms.one:send_console "hello\n"
  end)

  it("crash, and say so until they are started again; a cut outlives that", function()
    vms.two:succeed "touch /tmp/mark"
    vms.two:block()
    vms.two:crash()
    assert.equal("off", vms.two:state())
    assert_has(failure_of(vms.two.succeed, vms.two, "true"), "two: succeed: it is off: start it first")
    vms.two:start()
    vms.two:fail "test -e /tmp/mark"
    vms.one:fail "ping -c 1 -W 1 two"
    vms.two:unblock()
    vms.one:wait_until_succeeds "ping -c 1 -W 1 two"
  end)

  it("reboot, and end by themselves", function()
    local before = vms.two.vm.pid
    vms.two:reboot()
    assert.not_equal(before, vms.two.vm.pid)
    assert.equal("ready", vms.two:wait_for_console_text "ready")
    vms.two.vm:run { "poweroff", timeout = 5 }
    vms.two:wait_for_shutdown()
    assert.equal("off", vms.two:state())
  end)

  it("open no shell where there is no terminal", function()
    assert_has(failure_of(vms.one.shell_interact, vms.one), "a terminal is needed")
  end)

  it("have left a log of commands, the console and a capture", function()
    local here = vms:artefacts()
    assert_has(there.read(here .. "/commands.log"), "one: echo hello: exit code 0")
    assert_has(there.read(here .. "/commands.log"), "two: crash")
    assert_has(there.read(here .. "/one.console.log"), "vmctl-agent: ready")
    assert.is_true(#there.read(here .. "/lan.pcapng") > 500)
  end)
end)

describe("a machine that begins with a snapshot", function()
  local prepared, drawn = 0, {}
  local vms = scenario.machines({ "one" }, {
    defaults = options.merge(defaults, { networks = { "lan" } }), snapshot = true, artefacts = folder,
    prepare = function(all)
      prepared = prepared + 1
      all.one:succeed "echo prepared > /tmp/prepared"
    end,
  })

  it("is booted and prepared once", function()
    assert.equal("prepared\n", (vms.one:succeed "cat /tmp/prepared; touch /tmp/dirty"))
    assert.equal(1, prepared)
  end)

  for i = 1, 3 do
    it("starts anew without booting " .. i, function()
      local begin = vmctl.now()
      vms:start()
      local up = tonumber(vms.one:succeed("cat /proc/uptime"):match "^[%d.]+")
      assert.is_true(up > vmctl.now() - begin) -- it was up before this test began
      assert.equal("prepared\n", (vms.one:succeed "cat /tmp/prepared"))
      vms.one:fail "test -e /tmp/dirty"
      vms.one:succeed "touch /tmp/dirty; ip addr show eth0 | grep -q 10.77.1.1"
      assert.equal(1, prepared)
      local number = vms.one:succeed "head -c 8 /dev/urandom | md5sum"
      assert.is_nil(drawn[number], "two copies drew the same random number")
      drawn[number] = true
    end)
  end

  it("has the right time", function()
    local guest = tonumber((vms.one:succeed "date +%s"))
    assert.is_true(math.abs(guest - os.time()) <= 2)
  end)

  it("boots from its kernel when it reboots", function()
    vms.one:reboot()
    vms.one:fail "test -e /tmp/prepared"
  end)
end)

describe("lazy machines", function()
  local vms = scenario.machines({ one = {}, two = { lazy = true } }, { defaults = defaults, artefacts = folder })

  it("start when they are used, and end with their test", function()
    finally(function() assert.equal("new", vms.two:state()) end)
    vms.one:succeed "true"
    assert.equal("new", vms.two:state())
  end)

  it("end a wait at once when they end", function()
    local err = failure_of(function()
      local vm = vms.one:start().vm
      os.execute("kill -9 " .. vm.pid)
      vms.one:wait_until_succeeds("false", 3600)
    end)
    assert_has(err, "waiting for false; seen last: ")
    assert_has(err, "signal KILL")
  end)

  it("leave nothing behind", function()
    assert.equal("new", vms.one:state())
    assert.is_nil(core.fs.stat(folder .. "/lazy_machines_start_when_they_are_used_and_end_with_their_test"))
    there.remove(folder)
  end)
end)
