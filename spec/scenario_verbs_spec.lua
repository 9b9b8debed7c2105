-- The verbs of scenarios that move things between here and a guest, watch it and its services, in real guests.
-- Takes about 30 seconds.
local assert = require "luassert"
local options = require "vmctl.base.options"
local scenario = require "vmctl.scenario"
local there = require "spec.support.scenario"
local vmctl = require "vmctl"

local folder = there.folder()

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
end

-- The error of a verb that fails.
local function failure_of(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "it did not fail")
  return err
end

-- A service manager of a page: units are files whose ExecStart= runs in the background; what `show` says comes from the process.
local SYSTEMCTL = [=[
#!/bin/sh
[ "$1" != --user ] || { shift; set -- "$@"; where=user; }
[ "$1" != --no-pager ] || shift
verb=$1; shift
name=
while [ $# -gt 1 ]; do
  case $1 in -p) name="$name $2"; shift ;; esac
  shift
done
unit=$1; file=/etc/units/$unit; pid=/run/$unit.pid
alive() { [ -e $pid ] && kill -0 "$(cat $pid)" 2>/dev/null; }
case $verb in
  start)
    [ -e $file ] || { echo "Failed to start $unit: Unit $unit not found." >&2; exit 5; }
    alive || { setsid sh -c "exec $(sed -n 's/^ExecStart=//p' $file)" </dev/null >/dev/null 2>&1 & echo $! > $pid; }
    n=0; while alive && ! grep -qs ^sleep "/proc/$(cat $pid)/cmdline" && [ $n -lt 200 ]; do sleep 0.05; n=$((n + 1)); done
    alive || { echo "Job for $unit failed." >&2; exit 1; } ;;
  stop) alive && kill "$(cat $pid)"; rm -f $pid ;;
  is-active) if alive; then echo active; else echo inactive; exit 3; fi ;;
  show)
    state=inactive main=0
    if alive; then state=active main=$(cat $pid); elif [ -e $pid ]; then state=failed; fi
    for each in $name; do
      case $each in
        ActiveState) echo "ActiveState=$state" ;;
        MainPID) echo "MainPID=$main" ;;
        Job) echo Job=0 ;;
        Manager) echo "Manager=${where:-system} $(id -un)" ;;
      esac
    done ;;
  *) echo "Unknown command verb $verb." >&2; exit 1 ;;
esac
]=]

describe("a scenario's verbs", function()
  local vms = scenario.machines({
    one = { networks = { "lan", wan = "fd00:7::beef" } }, two = { networks = { "wan", lan = "192.168.7.77" } },
  }, {
    defaults = options.merge(there.defaults, { memory = "192M" }), networks = { lan = "192.168.7.64/26", wan = "fd00:7::/64" },
    shared = true, artefacts = folder, timeout = 30,
  })

  it("give machines addresses in subnets of one's own", function()
    assert.equal("192.168.7.65", vms.one:ip())
    assert.equal("fd00:7::beef", vms.one:ip "wan")
    assert.equal("192.168.7.77", vms.two:ip "lan")
    assert.equal("fd00:7:0:0:0:0:0:2", vms.two:ip "wan")
    vms.one:succeed("ping -c 1 -W 5 192.168.7.77", "ping6 -c 1 -W 5 fd00:7::2", "ip addr | grep 'inet 192.168.7.65/26'")
    vms.two:succeed("ping -c 1 -W 5 192.168.7.65", "ping6 -c 1 -W 5 fd00:7::beef")
  end)

  it("read and write files", function()
    local bytes = ("\0\255\n"):rep(50000)
    vms.one:write_file("/srv/deep/data", bytes, { mode = 416 }) -- 0640
    assert.equal("640 150000\n", (vms.one:succeed "stat -c '%a %s' /srv/deep/data"))
    assert.equal(bytes, vms.one:read_file "/srv/deep/data")
    assert_has(failure_of(vms.one.read_file, vms.one, "/srv/none"), "one: read_file: read /srv/none")
    assert_has(failure_of(vms.one.write_file, vms.one, "/proc/none", "x"), "one: write_file: write /proc/none")
  end)

  it("make a port of the guest one of this machine, until the machine is off", function()
    vms.one:spawn "exec nc -ll -p 7070 -e cat"
    vms.one:wait_for_open_port(7070)
    local port = vms.one:forward_port(7070)
    vmctl.run(function()
      local stream <close> = assert(vmctl.dial("tcp:127.0.0.1:" .. port))
      assert(stream:write "hello\n")
      assert.equal("hello", stream:read_line(nil, 30))
    end)
    local again = vms.one:forward_port(7070)
    assert.not_equal(port, again)
    assert_has(failure_of(vms.one.forward_port, vms.one, 7070, { port = again }), "one: forward_port: ")
  end)

  it("wait for a Unix socket", function()
    assert_has(failure_of(vms.one.wait_for_open_unix_socket, vms.one, "/run/late.sock", 2), "waiting for socket /run/late.sock")
    local server = vms.one:spawn "sleep 0.3; exec vmctl-agent --listen unix:/run/late.sock"
    vms.one:wait_for_open_unix_socket "/run/late.sock"
    server:close()
  end)

  it("read text screens, and wait for what they show", function()
    vms.one:succeed "printf '\\033[2J\\033[Hfirst\\n\\n  third  \\n' > /dev/tty1"
    assert.equal("first\n\n  third", vms.one:get_tty_text(1))
    local writer = vms.one:spawn "sleep 0.3; echo 'login: ' > /dev/tty1"
    assert.equal("login:", vms.one:wait_until_tty_matches(1, "l%w+:"))
    writer:close()
    assert_has(failure_of(vms.one.wait_until_tty_matches, vms.one, 1, "never", 2), "waiting for 'never' on tty1; seen last: first")
    assert_has(failure_of(vms.one.get_tty_text, vms.one, 40), "tty40: /dev/vcsa40 is not there")
  end)

  it("wait for QEMU's events", function()
    local vm = vms.one:machine()
    assert(vm:pause())
    assert.equal("STOP", vms.one:wait_for_qmp_event "STOP".event)
    assert(vm:resume())
    local event = vms.one:wait_for_qmp_event(function(each) return each.event == "RESUME" end)
    assert.equal("RESUME", event.event)
    assert_has(failure_of(vms.one.wait_for_qmp_event, vms.one, "GUEST_PANICKED", 0.1), "one: wait_for_qmp_event: ")
  end)

  it("say that there is no systemd", function()
    for verb, argument in pairs { systemctl = "status", start_job = "a", stop_job = "a", require_unit_state = "a" } do
      assert_has(failure_of(vms.two[verb], vms.two, argument), ("two: %s: this guest has no systemctl"):format(verb))
    end
  end)

  it("start, stop and ask services", function()
    vms.one:write_file("/sbin/systemctl", SYSTEMCTL, { mode = 493 }) -- 0755
    vms.one:write_file("/etc/units/sleeper.service", "ExecStart=sleep 1000\n")
    vms.one:write_file("/etc/units/broken.service", "ExecStart=false\n")
    vms.one:require_unit_state("sleeper.service", "inactive")
    vms.one:start_job "sleeper.service"
    vms.one:wait_for_unit "sleeper.service"
    vms.one:require_unit_state "sleeper.service"
    vms.one:succeed("test -d /proc/" .. vms.one:get_unit_property("sleeper.service", "MainPID"))
    assert.same({ 0, "active\n", "" }, { vms.one:systemctl "is-active sleeper.service" })
    vms.one:stop_job "sleeper.service"
    assert.same({ 3, "inactive\n", "" }, { vms.one:systemctl { "is-active", "sleeper.service" } })
    assert_has(failure_of(vms.one.require_unit_state, vms.one, "sleeper.service"), "sleeper.service is inactive, and not active")
    assert_has(failure_of(vms.one.start_job, vms.one, "none.service"), "none.service: exit code 5: Failed to start none.service")
    assert_has(failure_of(vms.one.start_job, vms.one, "broken.service"), "broken.service: exit code 1: Job for broken.service failed.")
    assert_has(failure_of(vms.one.get_unit_property, vms.one, "sleeper.service", "None"), "sleeper.service has no property None")
    vms.one:succeed "adduser -D -H tester 2>/dev/null || echo 'tester:x:1000:1000::/:/bin/sh' >> /etc/passwd"
    assert.equal("user tester", vms.one:get_unit_property("sleeper.service", "Manager", { user = "tester" }))
  end)

  it("try again until it is so", function()
    local calls = 0
    assert.same({ "three", 3 }, { vms:retry(function(left)
      calls = calls + 1
      assert.is_true(left > 0)
      if calls == 1 then vms.one:succeed "exit 9" end
      return calls == 3 and "three", calls
    end, { interval = 0.01 }) })
    vms:retry(function() vms.one:succeed "true" end)
    local err = failure_of(vms.retry, vms, function() vms.one:succeed "echo because >&2; exit 9" end, { timeout = 2, what = "a nine" })
    assert_has(err, "retry: not in time after ")
    assert_has(err, "waiting for a nine; seen last: spec/scenario_verbs_spec.lua:")
    assert_has(err, "    |   stderr:\n    |     | because")
  end)

  it("find nothing wrong with a machine that has shut down, and waited for", function()
    vms.two:shutdown()
    vms.two:wait_for_shutdown()
    assert.equal("off", vms.two:state())
  end)
end)

describe("a condition that must hold", function()
  local vms = scenario.machines({ "one" }, {
    defaults = options.merge(there.defaults, { memory = "192M" }), artefacts = folder, keep = true,
  })
  local server

  before_each(function()
    server = vms.one:spawn "exec sleep 1000"
    vms.one:succeed "touch /tmp/there"
  end)

  local function is_there() vms.one:succeed "test -e /tmp/there" end

  it("does, while other steps run", function()
    local looks = 0
    local steady <close> = vms:polling_condition("the file is there", function()
      looks = looks + 1
      is_there()
    end, { interval = 0.05 })
    assert.equal("the file is there", steady.what)
    vms:retry(function()
      vms.one:succeed "true"
      return looks > 3
    end)
    steady:close()
    vms.one:succeed "rm /tmp/there; sleep 0.3"
    server:close()
  end)

  it("is looked at first, and said to be missing at the line that asked", function()
    local err = failure_of(function() vms:polling_condition("nothing", function() return false end) end)
    assert.truthy(err:find "^spec/scenario_verbs_spec.lua:%d+: polling_condition: the condition 'nothing' does not hold: it returned false")
  end)
end)

describe("a condition that breaks", function()
  it("cuts off the step that waits, and is what the test failed of", function()
    local err = failure_of(scenario.run, "breaks", { one = there.defaults }, { artefacts = folder, timeout = 100 }, function(vms)
      vms:polling_condition("the file is absent", function() vms.one:fail "test -e /tmp/there" end, { interval = 0.05 })
      pcall(vms.one.succeed, vms.one, "touch /tmp/there; exec sleep 90") -- even a test that goes on cannot
      vms.one:succeed "true"
    end)
    assert.truthy(err:find "^spec/scenario_verbs_spec.lua:%d+: the condition 'the file is absent' does not hold: spec/", err)
    assert_has(err, "one: fail: exit code 0 after")
    assert.equal(1, select(2, err:gsub("\n  artefacts: ", "")))
    assert_has(there.read(folder .. "/breaks/report.txt"), "the condition 'the file is absent' does not hold")
  end)

  it("fails a test that has no step", function()
    local unused = options.merge(there.defaults, { lazy = true })
    local err = failure_of(scenario.run, "late", { one = unused }, { artefacts = folder }, function(vms)
      local holds = true
      vms:polling_condition("so", function() return holds end, { interval = 0.01 })
      holds = false
      vmctl.sleep(30) -- is cut short
    end)
    assert_has(err, "the condition 'so' does not hold: it returned false")
  end)
end)

describe("paths that a test got", function()
  it("are still there when it has passed, and nothing else is", function()
    local machine = options.merge(there.defaults, { display = true })
    local shot, notes, log = scenario.run("paths", { one = machine }, { artefacts = folder }, function(vms)
      vms.one:write_file("/tmp/notes/a", "kept")
      local copied = vms.one:copy_from_guest "/tmp/notes"
      return vms.one:screenshot(), copied, vms:artefacts() .. "/commands.log"
    end)
    assert.equal("\137PNG", there.read(shot):sub(1, 4))
    assert.equal("kept", there.read(notes .. "/a"))
    assert_has(there.read(log), "screenshot")
    assert.is_nil(there.read(folder .. "/paths/one.console.log"))
    there.remove(folder)
  end)
end)
