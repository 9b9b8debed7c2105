-- Commands in a real guest whose PID 1 is the agent: what surrounds them, and what they leave behind.
-- Also in asan, kvm: one guest whose bytes our C reads; the channel is AF_VSOCK.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local template = require "spec.support.template"

local LIMIT = 120

guest.on_each_channel(describe, "a command in a guest", function(channel)
  local vm

  lazy_setup(function() vm = template.start { name = "commands", channel = channel } end)
  lazy_teardown(function() vm:close() end)

  it("has HOME, USER, LOGNAME, SHELL and PATH as a login gives them", support.run(function()
    local said = assert(vm:run { "sh", "-c", 'echo "$HOME $USER $LOGNAME $SHELL $PATH"' }).stdout
    local shell = assert(vm:read_file "/etc/passwd"):match "root:[^\n]*:([^:\n]*)"
    assert.equal(("/root root root %s /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"):format(shell), said)
    local other = assert(vm:run { "sh", "-c", 'echo "$HOME $USER"; id -u', user = "4242" }).stdout
    assert.equal("/ 4242\n4242\n", other)
  end, LIMIT))

  it("leaves behind what it started, though that still writes", support.run(function()
    local result = assert(vm:run "(while :; do echo tick; echo x >>/tmp/count; sleep 0.1; done) & echo $!")
    assert.is_true(result.lingering)
    local function size() return #assert(vm:read_file "/tmp/count") end
    local before = size()
    support.eventually(function() return size() > before + 3 end)
    assert.equal(0, assert(vm:run { "kill", (result.stdout:match "%d+") }).exit_code)
  end, LIMIT))

  it("takes its group with it when that was asked for, when its time is over and when it is killed", support.run(function()
    local function ended(pid)
      support.eventually(function() return vm:run { "kill", "-0", pid }.exit_code ~= 0 end)
    end
    ended(assert(vm:run { "sh", "-c", "sleep 300 & echo $!", keep = false }).stdout:match "%d+")
    local _, _, code, partial = vm:run { "sh", "-c", "sleep 300 & echo $!; wait", timeout = 3 }
    assert.equal("ETIMEDOUT", code)
    ended(partial.stdout:match "%d+")
    local p = assert(vm:start "sleep 300 & echo $!; wait")
    local pid = p:read():match "%d+"
    assert(p:kill "TERM")
    assert.same({ signal = "TERM" }, p:wait())
    ended(pid)
  end, LIMIT))

  it("that cannot be started says why", support.run(function()
    for command, want in pairs {
      [{ "/none" }] = { 127, "start /none: No such file or directory" },
      [{ "true", cwd = "/none" }] = { 127, "start true: working directory /none: No such file or directory" },
      [{ "true", user = "nobody-here" }] = { 127, "start true: unknown user 'nobody-here'" },
      [{ "/etc/passwd" }] = { 126, "start /etc/passwd: Permission denied" },
    } do
      local result = assert(vm:run(command))
      assert.same(want, { result.exit_code, result.error })
    end
  end, LIMIT))
end)
