-- Real guests driven through their QEMU's monitor: paused, photographed, typed to, plugged, saved, restored, reset.
-- Takes about 30 seconds.
-- Also in kvm: a processor's state is KVM's.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local LIMIT = 60        -- seconds: commands take milliseconds and boots two or three seconds, but the machine may be busy

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
end

guest.on_each_channel(describe, "a guest's monitor", function(channel)
  local vm, folder

  lazy_setup(function()
    folder = assert(os.tmpname())
    os.remove(folder)
    vm = guest.boot { name = "seen", channel = channel, display = true, nics = { { netdev = "user,restrict=on" } } }
    assert(vm:qmp()) -- its descriptors are there before the first body looks for leaks
  end)

  lazy_teardown(function()
    if vm then vm:close() end
    os.remove(folder)
  end)

  local function with_guest(fn)
    return run(function() fn() end, LIMIT)
  end

  it("pauses and resumes it", with_guest(function()
    assert.equal("running", vm:status())
    assert(vm:pause())
    assert(vm:pause())
    assert.equal("paused", vm:status())
    assert.equal("ETIMEDOUT", code(vm:run { "true", timeout = 0.2 }))
    assert(vm:resume())
    assert.equal("running", vm:status())
    assert(vm:run { "true", check = true, timeout = LIMIT })
  end))

  it("takes a picture of its screen, as PNG", with_guest(function()
    assert(vm:screendump(folder))
    local file <close> = assert(io.open(folder, "rb"))
    local head = file:read(24)
    assert.equal("\137PNG\r\n\26\n", head:sub(1, 8))
    local width, height = (">I4I4"):unpack(head, 17)
    assert.is_true(width >= 640 and height >= 400, ("%d x %d"):format(width, height))
    assert.equal("ENOENT", code(vm:screendump "/no/such/folder/x.png"))
  end))

  it("presses its keys, and refuses those that no keyboard has", with_guest(function()
    assert(vm:send_key "ctrl-alt-f2")
    assert(vm:send_key "enter")
    assert.equal("EREMOTE", code(vm:send_key "nokey"))
    assert(vm:send_chars 'Az 09!"~\n')
    assert.equal("EINVAL", code(vm:send_chars "gr\xc3\xbcn"))
    assert.is_false((pcall(vm.send_key, vm, "-")))
  end))

  it("presses its power button, which it need not heed", with_guest(function()
    assert(vm:powerdown())
    assert.equal("POWERDOWN", assert(vm:wait_event("POWERDOWN", 5)).event)
  end))

  it("plugs its network cable out and in, as the guest sees it", with_guest(function()
    local has_card = vm:run "ls /sys/class/net | grep -v lo && ip link set $(ls /sys/class/net | grep -v lo) up"
    local function carrier() return vm:run("cat /sys/class/net/[!l]*/carrier").stdout end
    assert(vm:set_link(1, false))
    if has_card.exit_code == 0 then support.eventually(function() return carrier() == "0\n" end) end
    assert(vm:set_link(1, true))
    if has_card.exit_code == 0 then support.eventually(function() return carrier() == "1\n" end) end
    assert.equal("EINVAL", code(vm:set_link(2, true)))
  end))

  it("plugs a port in and out, through which the guest can be spoken with", with_guest(function()
    if channel == "vsock" then
      assert.equal("ENOTSUP", code(vm:add_port "org.example.0"))
      return
    end
    local port = assert(vm:add_port "org.example.0")
    assert.equal("EBUSY", code(vm:add_port "org.example.0"))
    local find = [[for i in 1 2 3 4 5 6 7 8 9 10; do
      dev=$(grep -l org.example.0 /sys/class/virtio-ports/*/name | cut -d/ -f5); [ -n "$dev" ] && break; sleep 0.1; done
      read line </dev/$dev; echo "heard $line" >/dev/$dev]]
    local inside = vmctl.spawn(function() return vm:run(find) end)
    assert(port:write "a word\n")
    assert.equal("heard a word", port:read_line(100, 20))
    assert.equal(0, inside:join().exit_code)
    assert(vm:remove_port "org.example.0")
    assert.equal("EOF", code(port:read(1, 5)))
    port:close()
    assert.equal("ENOENT", code(vm:remove_port "org.example.0"))
    assert.equal("", vm:run("grep -l org.example.0 /sys/class/virtio-ports/*/name").stdout)
  end))

  it("tells its events as they come", with_guest(function()
    local following = assert(vm:events { timeout = 10 })
    assert(vm:pause())
    assert(vm:resume())
    assert.equal("STOP", following().event)
    assert.equal("RESUME", following().event)
  end))

  it("saves it and brings it back, into a new epoch", with_guest(function()
    local epoch, told = vm:epoch(), nil
    local cancel = vm:on_epoch(function(number, why) told = { number, why } end)
    assert(vm:run { "touch", "/tmp/before", check = true })
    assert(vm:snapshot("early", { path = folder .. ".qcow2" }))
    assert(vm:run { "touch", "/tmp/after", check = true })
    local flying = vmctl.spawn(function() return vm:run "touch /tmp/flying; sleep 1000" end)
    assert(vm:run "until [ -e /tmp/flying ]; do sleep 0.05; done")
    assert(vm:restore "early")
    assert.equal("ERESET", code(flying:join(30)))
    assert.equal(epoch + 1, vm:epoch())
    assert(vm:wait_ready(LIMIT))
    assert.same({ epoch + 1, "restore" }, told)
    assert.equal("/tmp/before\n", vm:run("ls /tmp/before /tmp/after 2>/dev/null").stdout)
    cancel()
    assert.equal("EREMOTE", code(vm:snapshot "early"))
    assert(vm:delete_snapshot "early")
    assert.equal("ENOENT", code(vm:restore "early"))
    assert.equal("ENOENT", code(vm:delete_snapshot "early"))
    assert.equal("running", vm:status())
    os.remove(folder .. ".qcow2")
  end))

  it("resets it: calls in flight end, it boots again, and its next reboot still ends it", with_guest(function()
    local epoch = vm:epoch()
    assert(vm:run "touch /tmp/before")
    local flying = vmctl.spawn(function() return vm:run "touch /tmp/flying; sleep 1000" end)
    local again = vmctl.spawn(function()
      return vm:run { "sh", "-c", "[ -e /tmp/before ] || { echo new; exit; }; touch /tmp/again; sleep 1000", retry = true, timeout = LIMIT }
    end)
    assert(vm:run "until [ -e /tmp/flying ] && [ -e /tmp/again ]; do sleep 0.05; done")
    assert(vm:reset())
    assert.equal("ERESET", code(flying:join(30)))
    assert.equal(epoch + 1, vm:epoch())
    assert(vm:wait_ready(LIMIT))
    assert.equal("", vm:run("ls /tmp").stdout)
    assert.equal("new\n", assert(again:join(LIMIT)).stdout)
    local waiting = vmctl.spawn(function()
      local event = vm:wait_event("SHUTDOWN", LIMIT)
      return event, select(3, vm:wait_event("NEVER", LIMIT))
    end)
    vm:run "reboot -f; sleep 1000"
    local event, name = waiting:join(LIMIT)
    assert.equal("guest-reset", event.data.reason)
    assert.equal("ERESET", name)
    assert.same({ exit_code = 0 }, vm:wait(LIMIT))
    local _, message, why = vm:status()
    assert.equal("ERESET", why)
    assert_has(message, "QEMU ended")
  end))
end)

guest.on_each_channel(describe, "a guest launched with reboot", function(channel)
  it("starts again by itself, in a new epoch, though nobody asked for its monitor", run(function()
    local vm <close> = guest.boot { reboot = true, channel = channel }
    local told = vmctl.channel(1)
    vm:on_epoch(function(number, why) told:send { number, why } end)
    assert.equal("ERESET", code(vm:run "reboot -f; sleep 1000"))
    assert.same({ 2, "reboot" }, told:recv(LIMIT))
    assert(vm:wait_ready(LIMIT))
    assert.equal(2, vm:epoch())
    assert(vm:run { "true", check = true })
    vm:run "sleep 0.1; echo c > /proc/sysrq-trigger" -- a panic reboots it as well
    assert.same({ 3, "reboot" }, told:recv(LIMIT))
  end, LIMIT))
end)

describe("a guest with a panic device", function()
  it("is a PC, whose firmware resets it once more after a reset; tells its panic at once, before its QEMU ends", run(function()
    local image = guest.build_image { output = support.tmpdir() .. "/image", agent = guest.agent,
      modules_dir = assert(guest.modules_dir()), modules = { "pvpanic-pci" } }
    local vm <close> = guest.boot { initrd = image, machine = "q35", args = { "-device", "pvpanic-pci" } }
    assert(vm:reset())
    assert(vm:wait_ready(LIMIT))
    assert.equal(2, vm:epoch())
    local waiting = vmctl.spawn(function() return vm:wait_event("GUEST_PANICKED", LIMIT) end)
    vm:run "echo c > /proc/sysrq-trigger"
    assert.equal("GUEST_PANICKED", assert(waiting:join(LIMIT)).event)
    assert.equal("guest-panic", vm:wait_event("SHUTDOWN", LIMIT).data.reason)
    assert.same({ exit_code = 0 }, vm:wait(LIMIT))
  end, LIMIT))
end)

describe("a machine's monitor", function()
  it("does not hold up who never asks, and is closed with the machine", run(function()
    local vm = assert(guest.launch())
    local waiting = vmctl.spawn(function() return vm:wait_event("NEVER", LIMIT) end)
    support.settle()
    vm:close()
    assert.equal("ECLOSED", code(waiting:join(30)))
    for _, name in ipairs { "qmp", "pause", "resume", "reset", "status", "powerdown" } do
      assert.equal("ECLOSED", code(vm[name](vm)), name)
    end
    assert.equal("ECLOSED", code(vm:snapshot "x"))
  end, LIMIT))

  it("outlives a caller whose time is up", run(function()
    local vm <close> = assert(guest.launch())
    assert.equal("ETIMEDOUT", code(vmctl.timeout(0, function() return vm:status() end)))
    assert.equal("running", vm:status())
  end, LIMIT))

  it("says which display a machine cannot have, and that there is none", run(function()
    assert.equal("EINVAL", code(guest.launch { machine = "microvm", display = "std" }))
    local vm <close> = assert(guest.launch())
    local folder = support.tmpdir()
    assert.equal("EREMOTE", code(vm:screendump(folder .. "/new.png")))
    assert(core.fs.replace(folder .. "/old.png", "old", 384))
    assert.equal("EREMOTE", code(vm:screendump(folder .. "/old.png")))
    assert.same({ "old.png" }, core.fs.list(folder))
    assert.equal("old", core.fs.read(folder .. "/old.png", 10))
  end, LIMIT))
end)
