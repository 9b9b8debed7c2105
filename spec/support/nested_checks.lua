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
  local all = { kernel = HOME .. "kernel/vmlinuz", initrd = HOME .. "guest.img", accel = ACCEL, channel = "vsock", memory = 256,
    exec_timeout = WAIT }
  for name, value in pairs(ACCEL == "tcg" and EMULATED or {}) do all[name] = value end
  for name, value in pairs(opts) do all[name] = value end
  return vmctl.machine.launch(all)
end

function checks.prepare()
  assert(core.fs.stat "/dev/vhost-vsock")
  vm = assert(launch { name = "inner", cid = CID })
  progress("the inner QEMU runs: process %d, accelerator %s", vm.pid, vm.accel)
  dial_early()
  assert(vm:wait_console("vmctl%-agent: ready", BOOT))
  progress "the inner guest has started its agent"
  assert(vm:wait_ready(BOOT))
  progress "the inner guest is ready"
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

check("a command in flight is told when the inner guest is killed", function()
  local p <close> = assert(vm:start { "sleep", "1000" })
  assert(vm:kill())
  equal("ERESET", code(p:wait(WAIT)))
end)

return checks
