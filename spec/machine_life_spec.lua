-- How guests come up or fail to, and how they end: none leaves a QEMU behind.
-- Also in kvm: how guests come up and end without an emulated processor.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local has_ended = require "spec.support.agent".has_ended
local script = require "spec.support.script"
local support = require "spec.support"
local template = require "spec.support.template"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local BOOT = 60         -- seconds: a limit, not a promise
local MACHINE_OPTIONS = { kernel = guest.kernel, initrd = guest.image }

local function assert_gone(pid)
  support.eventually(function() return has_ended(pid) end, ("QEMU (%d) is still there"):format(pid))
end

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
end

describe("machine.launch", function()
  local function refused(options, name, part)
    local vm, message, got = guest.launch(options)
    assert.is_nil(vm)
    assert.equal(name, got)
    assert_has(message, part)
  end

  it("says which kernel or image does not exist, or is none", run(function()
    refused({ kernel = "/no/such/kernel" }, "ENOENT", "/no/such/kernel")
    refused({ initrd = "/no/such/image" }, "ENOENT", "/no/such/image")
    refused({ kernel = "/tmp" }, "EACCES", "/tmp")
  end))

  it("says that there is no QEMU", run(function()
    refused({ qemu = "/no/such/qemu" }, "ENOENT", "/no/such/qemu")
  end))

  it("says that the console's file cannot be written", run(function()
    refused({ console_log = "/no/such/folder/log" }, "ENOENT", "/no/such/folder/log")
  end))

  it("knows its machines and architectures", run(function()
    refused({ machine = "toaster" }, "EINVAL", "toaster")
    refused({ arch = "pdp11" }, "ENOTSUP", "pdp11")
  end))

  it("raises at the caller's line for an unknown option", run(function()
    local ok, err = pcall(function() return guest.launch { memmory = "1G" } end)
    assert.is_false(ok)
    assert_has(err, "memory")
  end))

  it("reaches a guest over vsock where this machine can, and says ENODEV where not", run(function()
    local device = io.open("/dev/vhost-vsock", "r+")
    if not device then
      refused({ channel = "vsock" }, "ENODEV", "/dev/vhost-vsock")
      return
    end
    device:close()
    local vm <close> = guest.boot { channel = "vsock" }
    assert.equal("over vsock\n", assert(vm:run { "echo", "over", "vsock" }).stdout)
  end, BOOT))
end)

describe("a guest that does not come up", function()
  it("is told with what QEMU said about its arguments", run(function()
    local vm <close> = assert(guest.launch { name = "odd", args = { "-nonsense" } })
    local ready, message, name = vm:wait_ready(BOOT)
    assert.is_nil(ready)
    assert.equal("ERESET", name)
    assert_has(message, "odd: not ready")
    assert_has(message, "QEMU ended with exit code 1")
    assert_has(message, "-nonsense")
  end, BOOT))

  it("is told with the console's last lines when its kernel panics", run(function()
    local vm <close> = assert(guest.launch { append = "rdinit=/nonexistent" })
    local ready, message, name = vm:wait_ready(BOOT)
    assert.is_nil(ready)
    assert.equal("ERESET", name)
    assert_has(message, "QEMU ended with exit code 0")
    assert_has(message, "the console's last lines:")
    assert_has(message, "; Kernel panic - not syncing")
    assert_gone(vm.pid)
  end, BOOT))

  it("is told with the console's last lines when no agent ever answers, and can still be ended", run(function()
    local folder = support.tmpdir()
    local init = folder .. "/init"
    local file = assert(io.open(init, "w"))
    file:write "#!/bin/sh\nmount -t devtmpfs dev /dev\nexec >/dev/console\necho no agent in here\nwhile :; do sleep 1; done\n"
    file:close()
    local image = guest.build_image { output = folder .. "/image", init = init }
    local vm <close> = assert(guest.launch { initrd = image })
    assert(vm:wait_console("no agent in here", BOOT))
    local ready, message, name = vm:wait_ready { timeout = 0.5 }
    assert.is_nil(ready)
    assert.equal("ETIMEDOUT", name)
    assert_has(message, "no agent in here")
    assert.equal("ETIMEDOUT", code(vm:shutdown(0.5)))
    assert_gone(vm.pid)
  end, BOOT))

  it("is told when something kills QEMU meanwhile", run(function()
    local vm <close> = assert(guest.launch())
    local waiting = vmctl.spawn(function() return vm:wait_ready(BOOT) end)
    vmctl.yield()
    os.execute("kill -9 " .. vm.pid)
    local ready, message, name = waiting:join()
    assert.is_nil(ready)
    assert.equal("ERESET", name)
    assert_has(message, "signal KILL")
  end, BOOT))

  it("does not keep a wait from being cancelled", run(function()
    local vm <close> = assert(guest.launch())
    assert.equal("ETIMEDOUT", code(vmctl.timeout(0.1, function() return vm:wait_ready(BOOT) end)))
    local waiting = vmctl.spawn(function() return vm:wait_ready(BOOT) end)
    vmctl.yield()
    waiting:cancel()
    assert.equal("ECANCELED", code(waiting:join()))
  end, BOOT))
end)

describe("a guest ends", function()
  it("by shutdown: what runs in it is told, and waits return", run(function()
    local vm <close> = template.start()
    local sleeper = assert(vm:start { "sleep", "1000" })
    local waiting = vmctl.spawn(function() return vm:wait(BOOT) end)
    assert(vm:shutdown())
    assert.same({ exit_code = 0 }, waiting:join())
    assert.equal("ERESET", code(sleeper:wait(30)))
    assert_gone(vm.pid)
    assert.is_true(vm:shutdown())
    assert.same({ exit_code = 0 }, vm:wait())
    assert.equal("ECLOSED", code(vm:run { "true" }))
  end, BOOT))

  it("by its own poweroff, which later calls tell", run(function()
    local vm <close> = template.start()
    vm:run { "poweroff" }
    assert.same({ exit_code = 0 }, vm:wait(BOOT))
    local result, message, name = vm:run { "true" }
    assert.is_nil(result)
    assert.equal("ERESET", name)
    assert_has(message, "QEMU ended with exit code 0")
    assert.equal("ERESET", code(vm:wait_ready(BOOT)))
    assert.equal("EOF", code(vm:wait_console("never shown", BOOT)))
  end, BOOT))

  it("by a panic, which a command in flight is told at once", run(function()
    local vm <close> = template.start()
    local flying = vmctl.spawn(function() return vm:run "touch /tmp/flying; sleep 1000" end)
    local crash, message, name = vm:run "until [ -e /tmp/flying ]; do sleep 0.05; done; echo c > /proc/sysrq-trigger"
    assert.is_nil(crash)
    assert.equal("ERESET", name)
    assert_has(message, "before the exit code came")
    assert.equal("ERESET", code(flying:join()))
    assert.same({ exit_code = 0 }, vm:wait(BOOT))
    assert_has(vm:console(), "sysrq triggered crash")
  end, BOOT))

  it("by a reboot: it is not started again unseen", run(function()
    local vm <close> = template.start()
    assert.equal("ERESET", code(vm:run "reboot -f; sleep 1000"))
    assert.same({ exit_code = 0 }, vm:wait(BOOT))
  end, BOOT))

  it("by kill", run(function()
    local vm <close> = assert(guest.launch())
    assert(vm:kill())
    assert_gone(vm.pid)
    assert.same({ signal = "KILL" }, vm:wait())
    assert.is_true(vm:kill())
  end))

  it("by close, any number of times, which wakes those who wait", run(function()
    local vm = assert(guest.launch())
    local waiting = vmctl.spawn(function() return vm:wait(BOOT) end)
    local watching = vmctl.spawn(function() return vm:wait_console("never shown", BOOT) end)
    vmctl.yield()
    assert.is_true(vm:close())
    assert.is_true(vm:close())
    assert.equal("ECLOSED", code(waiting:join()))
    assert.equal("EOF", code(watching:join()))
    assert_gone(vm.pid)
    for _, call in ipairs { "run", "start" } do assert.equal("ECLOSED", code(vm[call](vm, { "true" }))) end
  end))

  it("by the end of its <close> variable", run(function()
    local pid
    do
      local vm <close> = assert(guest.launch())
      pid = vm.pid
    end
    assert_gone(pid)
  end))

  it("by the collector, when nobody has it any more", run(function()
    local pid = assert(guest.launch()).pid
    support.settle()
    collectgarbage()
    collectgarbage()
    assert_gone(pid)
  end))
end)

describe("a script that ends", function()
  -- A script that launches a guest, says QEMU's pid on stderr and goes on with `rest`.
  local function text(rest)
    return ("local vmctl = require 'vmctl'\nlocal vm = assert(vmctl.machine.launch { kernel = %q, initrd = %q })\n"
      .. "io.stderr:write(vm.pid, '\\n')\n%s"):format(MACHINE_OPTIONS.kernel, MACHINE_OPTIONS.initrd, rest)
  end

  local function leaves_nothing(rest, exit_code)
    local folder = support.tmpdir()
    local status, _, said = script.run(text(rest), { env = { "TMPDIR=" .. folder } })
    assert.equal(exit_code, status)
    assert_gone(math.tointeger(said:match "%d+"))
    assert.same({}, core.fs.list(folder))
    return said
  end

  it("with its guest running leaves no QEMU and no file", run(function()
    leaves_nothing("vmctl.sleep(0.1)", 0)
  end, BOOT))

  it("by an error leaves none", run(function()
    assert_has(leaves_nothing("error 'boom'", 1), "boom")
  end, BOOT))

  it("by an error in a task leaves none", run(function()
    assert_has(leaves_nothing("vmctl.run(function() vmctl.sleep(0.1) error 'boom' end)", 1), "boom")
  end, BOOT))

  it("by os.exit, which closes nothing, leaves none", run(function()
    leaves_nothing("os.exit(3, false)", 3)
  end, BOOT))

  for _, signal in ipairs { 9, 15 } do
    it(("by signal %d leaves none"):format(signal), run(function()
      local folder = support.tmpdir()
      local process, stderr = script.start(text "vm:wait_ready() vmctl.sleep(1000)", { env = { "TMPDIR=" .. folder } })
      local pid = math.tointeger(assert(stderr:read_line { timeout = 10 }))
      assert.is_false(has_ended(pid))
      assert(process:kill(signal))
      assert.same({ -1, signal }, { process:wait(10) })
      assert_gone(pid)
      assert.same({}, core.fs.list(folder))
      process:close()
      stderr:close()
    end, BOOT))
  end
end)
