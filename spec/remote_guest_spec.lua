-- Guests on another machine, which is a `vmctl serve --stdio` of this one.
-- Takes about 35 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local roots = require "spec.support.roots"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, eventually = support.code, support.run, support.eventually

local SERVE = guest.root .. "bin/vmctl"

local function there(cache)
  return { argv = { SERVE, "serve", "--stdio", "--cache", cache }, keepalive = 30 }
end

local function is_gone(pid) return core.fs.stat("/proc/" .. pid) == nil end

-- The processes whose command line has a text.
local function with(text)
  local list = {}
  for _, name in ipairs(core.fs.list "/proc") do
    local file = name:find "^%d+$" and io.open(("/proc/%s/cmdline"):format(name))
    if file then
      local line = file:read "a" or ""
      file:close()
      if line:find(text, 1, true) then list[#list + 1] = math.tointeger(tonumber(name)) end
    end
  end
  return list
end

describe("a guest on another machine", function()
  it("is a machine as any other", run(function()
    local folder = support.tmpdir()
    local switch <close> = assert(vmctl.l2.switch { name = "lan" })
    local card = "unix:" .. folder .. "/card"
    assert(switch:listen(card, { name = "far", ports = 1 }))
    local host <close> = assert(vmctl.machine.host(there(folder .. "/cache")))
    local vm <close> = guest.boot { on = host, name = "far", display = "virtio", console_log = folder .. "/console",
      nics = { { connect = card, mac = "52:54:00:00:00:07" } } }
    local pid = vm.host_pid
    assert.equal(host.label, vm.host)
    assert.is_nil(vm.pid)
    assert.same({ "52:54:00:00:00:07" }, vm.macs)
    -- its agent
    assert.equal("far\n", assert(vm:run { "cat", stdin = "far\n" }).stdout)
    assert(vm:write_file("/tmp/x", ("0123456789abcdef"):rep(1 << 15)))
    assert.equal(1 << 19, #assert(vm:read_file "/tmp/x"))
    -- its console, and its log here
    assert(vm:wait_console("vmctl-agent: ready", { plain = true }))
    eventually(function() return io.open(folder .. "/console"):read "a":find("vmctl-agent: ready", 1, true) end)
    assert(vm:console_status())
    -- its monitor
    assert.equal("running", vm:status())
    assert(vm:pause())
    assert.equal("paused", vm:status())
    assert(vm:resume())
    local port <close> = assert(vm:add_port "org.example.0")
    assert(vm:run("until name=$(grep -l org.example.0 /sys/class/virtio-ports/*/name); do sleep 0.05; done; "
      .. "name=${name%/name}; echo hello > /dev/${name##*/}"))
    assert.equal("hello", port:read_line(100, 30))
    assert(vm:screendump(folder .. "/screen.png"))
    assert.equal("\x89PNG\r\n", io.open(folder .. "/screen.png", "rb"):read(6))
    assert.equal("ENOTSUP", code(vm:snapshot("a", { path = folder .. "/a" })))
    assert.is_true(assert(vm:confinement()).no_new_privileges)
    -- its card, on a switch here
    assert(vm:run "ip link set eth0 up; ip addr add 192.0.2.7/24 dev eth0; ping -c 1 -W 1 192.0.2.8; true")
    eventually(function() return switch:port("far"):counts().frames_in > 0 end)
    -- its snapshots and epochs
    assert(vm:snapshot "full")
    assert(vm:run "rm /tmp/x")
    assert(vm:restore "full")
    assert.equal("x\n", assert(vm:run "ls /tmp").stdout)
    assert.equal("ENOENT", code(vm:restore "none"))
    assert(vm:reset())
    assert(vm:wait_ready(120))
    assert.equal(3, vm:epoch())
    assert.equal("", assert(vm:run "ls /tmp").stdout)
    -- its end, of which the connection knows nothing
    vm:kill()
    assert(is_gone(pid))
    assert(host:check())
  end, 300))

  it("has a root that is sent: an image's, a disk's", run(function()
    local folder = support.tmpdir()
    assert(core.fs.mkdir(folder .. "/tree"))
    roots.folder(folder .. "/tree")
    local host <close> = assert(vmctl.machine.host(there(folder .. "/there")))
    local function boot(options)
      options.on, options.init = host, "agent"
      local vm <close> = assert(roots.launch(folder, options))
      assert(vm:wait_ready(120))
      local said = assert(vm:run { "sh", "-c", "cat /etc/os-release; ls /sys/class/net; echo new > /new", check = true })
      assert.same({ exit_code = 0 }, { exit_code = said.exit_code })
      vm:kill()
      return said.stdout
    end
    assert.equal("ID=little\nlo\n", boot { root = "dir:" .. folder .. "/tree" })
    local disk = roots.disk(folder .. "/tree", folder .. "/disk.img")
    local before = core.fs.stat(disk).changed
    assert.truthy(boot({ root = "disk:" .. disk .. "#1", network = "user" }):find("^ID=little\neth0\nlo\n"))
    assert.equal(before, core.fs.stat(disk).changed)
    assert.equal("ENOTSUP", code(roots.launch(folder, { on = host, root = "disk:" .. disk, writes = "keep", name = "x" })))
    assert.equal("ENOTSUP", code(roots.launch(folder, { on = host, root = "disk:" .. disk, writes = "through" })))
    assert.equal("ENOTSUP", code(roots.launch(folder, { on = host, root = "disk:" .. disk, boot = "kernel" })))
    assert.equal("ENOENT", code(roots.launch(folder, { on = host, root = "disk:/no/disk" })))
  end, 300))

  it("is refused with options that are of this machine, and where its files are not", run(function()
    local host <close> = assert(vmctl.machine.host(there(support.tmpdir())))
    for name, value in pairs { shares = { { host = "/tmp", guest = "/x" } }, ports = { "1:2" }, fds = { 1 }, paths = { "/x" }, cid = 7 } do
      local _, err, how = guest.launch { on = host, [name] = value }
      assert.equal("ENOTSUP", how)
      assert.truthy(err:find(("'%s'"):format(name), 1, true), err)
    end
    assert.equal("ENOTSUP", code(guest.launch { on = host, nics = { { listen = "unix:/x" } } }))
    assert.equal("ENOENT", code(guest.launch { on = host, kernel = "/no/kernel" }))
    assert.equal("EINVAL", code(guest.launch { on = host, machine = "nonsense" }))
    assert.equal("EINVAL", code(guest.launch { on = "ssh:-x" }))
    local vm <close> = assert(guest.launch { on = host, args = { "-nonsense" } })
    local _, err, how = vm:wait_ready(60)
    assert.equal("ERESET", how)
    assert.truthy(err:find("QEMU ended on exec:.* with exit code 1") and err:find("nonsense", 1, true), err)
    assert.same({ exit_code = 1 }, vm:wait())
  end, 120))

  it("ends with the program there, and says that its host went away", run(function()
    local cache = support.tmpdir()
    local vm <close> = assert(guest.launch { on = there(cache) })
    local pid = vm.host_pid
    local servers = with("--cache\0" .. cache)
    assert.equal(1, #servers)
    os.execute(("kill -9 %d"):format(servers[1]))
    local _, err, how = vm:wait(60)
    assert.equal("EHOSTDOWN", how)
    assert.truthy(err:find("signal KILL", 1, true), err)
    assert.equal("EHOSTDOWN", code(vm:status()))
    assert.equal("EHOSTDOWN", code(vm:run "true"))
    assert.equal("EHOSTDOWN", code(vm:wait_ready(60)))
    eventually(function() return is_gone(pid) end)
  end, 120))

  it("ends when it is let go, and when the script is killed", run(function()
    local cache = support.tmpdir()
    local vm = assert(guest.launch { on = there(cache) })
    local pid = vm.host_pid
    vm:close()
    eventually(function() return is_gone(pid) and #with("--cache\0" .. cache) == 0 end)
    local script = ([[
      local vmctl = require "vmctl"
      local vm = assert(vmctl.machine.launch { kernel = %q, initrd = %q, on = { argv = { %q, "serve", "--stdio", "--cache", %q } } })
      io.stdout:write(vm.host_pid, "\n"):flush()
      vmctl.sleep(1000)
    ]]):format(guest.kernel, guest.image, SERVE, cache)
    local child <close> = assert(vmctl.process.spawn { "lua5.4", "-e", script, stdout = "pipe", stdin = "null" })
    pid = assert(math.tointeger(tonumber(child.stdout:read_line(100, 60))))
    assert.is_false(is_gone(pid))
    child:kill("KILL", true)
    assert(child:wait(30))
    eventually(function() return is_gone(pid) and #with("--cache\0" .. cache) == 0 end)
  end, 120))
end)

describe("vmctl run --on", function()
  it("runs a command in a guest there, and ends with its exit code", run(function()
    local cache = support.tmpdir()
    local result = assert(vmctl.host:run { SERVE, "run", "--on", ("exec:%s serve --stdio --cache %s"):format(SERVE, cache), "--kernel",
      guest.kernel, "--initrd", guest.image, "--", "sh", "-c", "cat; exit 7", stdin = "hello", timeout = 120 })
    assert.same({ 7, "hello" }, { result.exit_code, result.stdout })
    eventually(function() return #with("--cache\0" .. cache) == 0 end)
    result = assert(vmctl.host:run { SERVE, "run", "--on", "ssh:-oProxyCommand=x", "--kernel", guest.kernel, "--initrd", guest.image })
    assert.same({ 125, "" }, { result.exit_code, result.stdout })
    assert.truthy(result.stderr:find("USER@HOST:PORT expected", 1, true), result.stderr)
  end, 150))
end)

describe("a scenario on two other machines", function()
  it("has its networks here, and partitions them", run(function()
    local folder = support.tmpdir()
    local defaults = { kernel = guest.kernel, initrd = guest.image, arch = guest.arch, networks = { "lan" }, boot_timeout = 120 }
    local hosts = { there(folder .. "/1"), there(folder .. "/2") }
    hosts[1][1], hosts[2][1] = "exec:first", "exec:second"
    local opts = { defaults = defaults, hosts = hosts, artefacts = folder .. "/artefacts" }
    vmctl.scenario.run("two hosts", { "one", "two" }, opts, function(vms)
      vms.one:succeed "ping -c 1 -W 30 two"
      vms:partition { { "one" }, { "two" } }
      vms.one:fail "ping -c 1 -W 1 two"
      vms:heal()
      vms.one:succeed "ping -c 1 -W 30 two"
      assert.same({ "exec:first", "exec:second" }, { vms.one:machine().host, vms.two:machine().host })
    end)
    eventually(function() return #with("--cache\0" .. folder) == 0 end)
  end, 300))
end)
