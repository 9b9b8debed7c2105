-- The checks in a guest that is itself the host of another: { name, function } each, for tap.lua. The inner guest is
-- reached over /dev/vhost-vsock, by the same vmctl.machine as anywhere. On the outer host only the names are read.
local core = require "vmctl.core"
local vmctl = require "vmctl"

local vsock = vmctl.vsock

local ACCEL = os.getenv "ACCEL"
local HOME = "/srv/vmctl/build/"
local AGENT = "/sbin/vmctl-agent"
local CID, PORT = 3, 7000
local BOOT, WAIT = 400, 60      -- seconds, under emulation of an emulation

local checks = { limit = 120 }
local vm

local function check(name, fn)
  checks[#checks + 1] = { name, fn }
end

-- Those that an emulation in an emulation would take too long for.
local function kvm_check(name, fn)
  if ACCEL ~= "tcg" then check(name, fn) end
end

local function equal(want, got, what)
  if want ~= got then error(("%s: %s expected, got %s"):format(what or "value", want, got), 2) end
end

local function code(...)
  return (select(3, ...))
end

local function read_all(s)
  local parts = {}
  for data in function() return (s:read { timeout = WAIT }) end do parts[#parts + 1] = data end
  return table.concat(parts)
end

local begin = vmctl.now()

local function progress(fmt, ...)
  print(("# %5.1f s  "):format(vmctl.now() - begin) .. fmt:format(...))
end

local early -- what a dial said while the inner guest was booting

local function dial_early()
  local deadline = vmctl.now() + WAIT
  repeat
    early = code(vsock.dial(CID, PORT, { timeout = 0.5 }))
    vmctl.sleep(0.1)
  until early ~= "ENODEV" or vmctl.now() > deadline -- QEMU has to tell the kernel the CID first
end

local EMULATED = { machine = "q35", append = "clocksource=hpet mitigations=off" } -- nothing else stands so much waiting

local function launch(opts)
  local all = { kernel = HOME .. "kernel/vmlinuz", initrd = HOME .. "guest.img", accel = ACCEL, memory = 192, exec_timeout = WAIT }
  for name, value in pairs(ACCEL == "tcg" and EMULATED or {}) do all[name] = value end
  for name, value in pairs(opts) do all[name] = value end
  return vmctl.machine.launch(all)
end

local second -- beside the first
local ECHO = "/run/echo.sock"
local FORWARDS = { one = { guest_path = "/run/socketfwd/one.sock", host_path = ECHO } }

-- Opens the clients that a machine opens once and keeps, before a check looks for leftovers.
local function open_clients()
  assert(vm:stereos():ping(WAIT))
  assert(vm:socketforward(FORWARDS)):close()
  assert(vm:qmp())
end

function checks.prepare()
  vm = assert(launch { name = "inner", channel = "vsock", cid = CID, reboot = true })
  progress("the inner QEMU runs: process %d, accelerator %s", vm.pid, vm.accel)
  dial_early()
  if ACCEL == "kvm" then second = assert(vmctl.machine.launch { name = "second", kernel = HOME .. "kernel/vmlinuz",
    initrd = HOME .. "guest.img", memory = 192 }) end
  assert(vm:wait_console("vmctl%-agent: ready", BOOT))
  progress "the inner guest has started its agent"
  assert(vm:wait_ready(BOOT))
  progress "the inner guest is ready"
  if ACCEL == "kvm" then open_clients() end
end

check("a dial to a guest that has not got so far is ETIMEDOUT", function()
  equal("ETIMEDOUT", early)
end)

check("a CID that no guest has is ENODEV", function()
  equal("ENODEV", code(vsock.dial(CID + 1, PORT, { timeout = WAIT })))
end)

check("a port where nobody listens is ECONNRESET", function()
  equal("ECONNRESET", code(vsock.dial(CID, PORT, { timeout = WAIT })))
end)

check("commands run in the inner guest", function()
  local result = assert(vm:run { "sh", "-c", "cat; echo err >&2; exit 3", stdin = "in" })
  equal("in", result.stdout)
  equal("err\n", result.stderr)
  equal(3, result.exit_code)
end)

check("ten commands at once", function()
  local numbers = {}
  for i = 1, 10 do numbers[i] = i end
  for i, result in ipairs(vmctl.map(numbers, function(i) return assert(vm:run { "echo", tostring(i) }) end)) do
    equal(("%d\n"):format(i), result.stdout)
  end
end)

check("4 MiB of output arrive intact", function()
  local block = ("0123456789abcdef"):rep(4096)
  assert(vm:write_file("/tmp/block", block))
  local result = assert(vm:run { "sh", "-c", "for i in $(seq 64); do cat /tmp/block; done" })
  assert(result.stdout == block:rep(64), "it is damaged")
end)

check("the inner guest knows its CID, and lets in its host but not itself", function()
  local script = [[
    local vmctl = require "vmctl"
    local client = assert(vmctl.exec.client "vsock:1:5000")
    print(vmctl.vsock.local_cid(), (select(3, client:probe(30))))
  ]]
  assert(vm:write_file("/tmp/script.lua", script))
  local out = assert(vm:run { AGENT, "--lua", "/tmp/script.lua" }).stdout
  local cid, refused = out:match "^(%d+)\t(%u+)\n$"
  equal(tostring(CID), cid)
  assert(refused == "EOF" or refused == "ECONNRESET", refused)
end)

check("the inner guest dials its host, which sees its CID; half-close works both ways", function()
  local listener <close> = assert(vsock.listen(PORT))
  local script = ([[
    local s = assert(require("vmctl").vsock.dial("host", %d, { timeout = 60 }))
    s:write "from inside"
    s:shutdown()
    io.write(s:read_exact(12))
  ]]):format(PORT)
  assert(vm:write_file("/tmp/dial.lua", script))
  local running = vmctl.spawn(function() return assert(vm:run { AGENT, "--lua", "/tmp/dial.lua" }) end)
  local conn <close> = assert(listener:accept(WAIT))
  equal(CID, conn:peer().cid)
  equal("from inside", read_all(conn))
  assert(conn:write "from outside")
  assert(conn:shutdown())
  equal("from outside", running:join().stdout)
end)

kvm_check("a machine with nothing asked for has KVM and vsock, beside another guest", function()
  assert(second:wait_ready(BOOT))
  equal("kvm", second.accel)
  assert(tostring(second:address(5000)):find "^vsock:")
  assert(vm:run { "touch", "/tmp/first", check = true })
  equal(1, assert(second:run { "test", "-e", "/tmp/first" }).exit_code)
  equal(0, assert(vm:run { "test", "-e", "/tmp/first" }).exit_code)
end)

kvm_check("a CID that another guest has is refused", function()
  equal("EADDRINUSE", code(launch { name = "third", cid = CID }))
  equal("EADDRINUSE", code(launch { name = "third", channel = "vsock", cid = CID }))
  equal("EINVAL", code(launch { name = "third", channel = "vsock", cid = 2 }))
end)

kvm_check("doctor finds KVM and vhost-vsock", function()
  local found = {}
  for _, finding in ipairs(require("vmctl.doctor").check()) do found[finding.name] = finding.ok end
  equal(true, found.KVM, "KVM")
  equal(true, found["vhost-vsock"], "vhost-vsock")
end)

kvm_check("a clock that the host was set ahead of is set", function()
  local ahead = 1000
  assert(core.set_unix_time(core.unix_time() + ahead * 1000000000))
  local deadline, off = vmctl.now() + WAIT, ahead
  while math.abs(off) > 2 and vmctl.now() < deadline do -- the first call notices
    off = os.time() - tonumber(assert(second:run { "date", "+%s" }).stdout)
  end
  assert(math.abs(off) <= 2, off .. " s")
  assert(vm:sync_clock())
end)

-- Connections of a guest's user that are open while the guest begins anew.

local function echo_server()
  local listener = assert(vmctl.listen("unix:" .. ECHO))
  vmctl.spawn(function()
    for stream in function() return (listener:accept(math.huge)) end do
      vmctl.spawn(function()
        for data in function() return (stream:read()) end do stream:write(data) end
        stream:close()
      end)
    end
  end)
  return listener
end

-- Says a word to a socket inside the guest, and returns the answer.
local function heard_inside(path)
  local script = ([[
    local s = assert(require("vmctl").dial("unix:%s", 20))
    assert(s:write "word") s:shutdown()
    io.write(assert(s:read_exact(4, 20)))
  ]]):format(path)
  local result = assert(vm:run { AGENT, "--lua", "-", stdin = script, timeout = WAIT })
  return result.stdout, result.stderr
end

local function eventually_heard(path)
  local deadline = vmctl.now() + WAIT
  while true do
    local out, err = heard_inside(path)
    if out == "word" then return end
    if vmctl.now() > deadline then error(("nothing was heard at %s: %s"):format(path, err)) end
    vmctl.sleep(0.3)
  end
end

local function is_over(stream)
  local _, _, how = stream:read(1, WAIT)
  assert(how == "EOF" or how == "ECONNRESET" or how == "ERESET", how)
end

-- All that reaches into the guest is open; `act` lets it begin anew; all ends, and works again.
local function across(act)
  local listener <close> = echo_server() -- luacheck: ignore
  local forwards <close> = assert(vm:socketforward(FORWARDS)) -- luacheck: ignore
  local back <close> = assert(vmctl.forward { from = vm:inside "unix:/run/socketfwd/two.sock", to = "unix:" .. ECHO }) -- luacheck: ignore
  local there <close> = assert(vmctl.forward { from = "tcp:127.0.0.1:0", to = vm:inside "unix:/run/socketfwd/one.sock" })
  assert(vm:stereos():ping(WAIT))
  local stream <close> = assert(vmctl.dial(there:address()))
  assert(stream:write "word")
  equal("word", stream:read_exact(4, WAIT))
  local direct <close> = assert(vm:connect("unix:/run/socketfwd/one.sock", WAIT))
  assert(direct:write "word")
  equal("word", direct:read_exact(4, WAIT))
  local flying = vmctl.spawn(function() return vm:run { "sleep", "1000" } end)
  local started = assert(vm:start { "sleep", "1000" })
  vmctl.sleep(0.2)
  local epoch, begun = vm:epoch(), vmctl.now()
  act()
  equal("ERESET", code(flying:join(WAIT)), "a call in flight")
  equal("ERESET", code(started:wait(WAIT)), "a command that was started")
  started:close()
  is_over(stream)
  is_over(direct)
  progress("all has ended after %.1f s", vmctl.now() - begun)
  assert(vm:wait_ready(BOOT))
  progress("it is ready again after %.1f s", vmctl.now() - begun)
  equal("again\n", assert(vm:run { "echo", "again" }).stdout)
  assert(vm:stereos():ping(WAIT))
  equal(epoch + 1, vm:epoch(), "epoch")
  eventually_heard "/run/socketfwd/one.sock"
  eventually_heard "/run/socketfwd/two.sock"
  local anew <close> = assert(vmctl.dial(there:address()))
  assert(anew:write "word")
  equal("word", anew:read_exact(4, WAIT))
  progress("all works again after %.1f s", vmctl.now() - begun)
end

kvm_check("everything into the guest ends and begins anew across a restore", function()
  assert(vm:snapshot "one")
  across(function() assert(vm:restore "one") end)
end)

kvm_check("each restore has random numbers of its own, the right time, and an agent that answers at once", function()
  local seen = {}
  for _ = 1, 2 do
    assert(vm:restore "one")
    local result = assert(vm:run "cat /proc/sys/kernel/random/uuid; head -c 16 /dev/urandom | od -An -tx1; date +%s")
    local uuid, bytes, date = result.stdout:match "^(%S+)\n(.-)\n(%d+)\n$"
    assert(not seen[uuid] and not seen[bytes], "numbers that came before")
    seen[uuid], seen[bytes] = true, true
    assert(math.abs(os.time() - tonumber(date)) <= 2, ("its clock is %d s off"):format(tonumber(date) - os.time()))
  end
  open_clients()
end)

kvm_check("everything into the guest ends and begins anew across a reset", function()
  across(function() assert(vm:reset()) end)
end)

kvm_check("everything into the guest ends and begins anew across a reboot", function()
  across(function() vm:run { "sh", "-c", "reboot -f; sleep 1000" } end)
end)

kvm_check("an agent that is killed and started anew in its guest ends the calls in flight, and answers again", function()
  local third <close> = assert(launch { name = "third", initrd = "/srv/supervised.img", channel = "vsock" })
  assert(third:wait_ready(BOOT))
  for _ = 1, 2 do
    local flying = vmctl.spawn(function() return third:run { "sleep", "1000" } end)
    vmctl.sleep(0.2)
    equal("ERESET", code(third:run "kill -9 $(pidof vmctl-agent); sleep 1000"))
    equal("ERESET", code(flying:join(WAIT)))
    assert(third:wait_ready(BOOT))
    equal("again\n", assert(third:run { "echo", "again" }).stdout)
  end
  equal(1, third:epoch())
end)

kvm_check("QEMU is confined where it has KVM and a vsock", function()
  local found = assert(second:confinement())
  equal(true, found.sandbox)
  equal(false, found.capabilities)
  equal(core.landlock_abi() or false, found.landlock)
  progress("QEMU's user is %d (%s), Landlock %s", found.uid, found.user_reason, found.landlock)
  assert(core.fs.chown("/dev/kvm", 0, 36))
  assert(core.fs.chmod("/dev/kvm", 432)) -- 0660, as distributions have it
  local third <close> = assert(vmctl.machine.launch { name = "third", kernel = HOME .. "kernel/vmlinuz", initrd = HOME .. "guest.img",
    memory = 192 })
  assert(third:wait_ready(BOOT))
  equal("kvm", third.accel)
  equal("vmctl is root", third:confinement().user_reason)
  assert(third:confinement().uid ~= 0)
end)

-- A script that says what a machine has that this user launches.
local LAUNCH = [[
  local vmctl = require "vmctl"
  local vm = assert(vmctl.machine.launch { kernel = "%skernel/vmlinuz", initrd = "%sguest.img", memory = 192 })
  print(vm.accel, tostring(vm:address(5000)):match "^%%w+", vm.accel_reason)
  vm:close()
]]

local function launched_by_nobody()
  local script = LAUNCH:format(HOME, HOME)
  local result = assert(vmctl.host:run { AGENT, "--lua", "-", stdin = script, user = "nobody", timeout = BOOT,
    env = { LUA_PATH = os.getenv "LUA_PATH" } })
  equal("", result.stderr)
  return result.stdout:match "^(%w+)\t(%w+)\t(.*)\n$"
end

kvm_check("a user who may not open a device does without it", function()
  local function may(kvm, vhost)
    assert(core.fs.chmod("/dev/kvm", kvm and 438 or 384))
    assert(core.fs.chmod("/dev/vhost-vsock", vhost and 438 or 384))
  end
  may(false, true)
  local accel, way, reason = launched_by_nobody()
  equal("tcg vsock", accel .. " " .. way)
  assert(reason:find("/dev/kvm: Permission denied", 1, true), reason)
  may(true, true)
  equal("kvm vsock", ("%s %s"):format(launched_by_nobody()))
  may(true, false)
  accel, way = launched_by_nobody()
  equal("kvm guest", accel .. " " .. way)
end)

check("a command in flight is told when the inner guest is killed", function()
  local p <close> = assert(vm:start { "sleep", "1000" })
  assert(vm:kill())
  equal("ERESET", code(p:wait(WAIT)))
end)

return checks
