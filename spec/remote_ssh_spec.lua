-- Guests on hosts with an sshd of their own (`make test-ssh`).
local assert = require "luassert"
local guest = require "spec.support.guest"
local ssh_hosts = require "spec.support.ssh_hosts"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, eventually = support.code, support.eventually

local LIMIT = 240

local function task(fn) return support.shared(fn, LIMIT) end

describe("guests on other machines #ssh", function()
  local hosts
  lazy_setup(function() hosts = ssh_hosts.start(2) end)
  lazy_teardown(function() if hosts then hosts:close() end end)

  local function on(i, more)
    local where = { "ssh:" .. hosts[i].name, ssh_options = { "-F", hosts.config } }
    for name, value in pairs(more or {}) do where[name] = value end
    return where
  end

  -- The processes on a host beside sshd, by their program.
  local function programs(i)
    local list = {}
    for _, line in ipairs(hosts[i]:processes()) do list[#list + 1] = line:match "^%S*qemu%-system" and "qemu" or line:match "serve" end
    return list
  end

  local function nothing_left(i)
    eventually(function() return #programs(i) == 0 end, "something is left on the host")
  end

  it("run there, with their files in a cache of that machine, and leave nothing", task(function()
    local vm = guest.boot { on = on(1) }
    assert.equal("ssh:h1", vm.host)
    assert.equal("Linux\n", assert(vm:run "uname").stdout)
    assert.equal(2, select(2, hosts[1]:run("ls", "/root/.cache/vmctl/files"):gsub("%x+\n", "")))
    assert.equal("", hosts[2]:run("ls", "/root"))
    local list = programs(1)
    table.sort(list)
    assert.equal("qemu", list[1])
    assert(vm:shutdown())
    nothing_left(1)
  end))

  it("end with their ssh, however that ends", task(function()
    local vm <close> = assert(guest.launch { on = on(1) })
    vm._far._host._child._child:kill("KILL", true)
    assert.equal("EHOSTDOWN", code(vm:wait(60)))
    nothing_left(1)
  end))

  it("end when the script is killed", task(function()
    local script = ([[
      local vmctl = require "vmctl"
      assert(vmctl.machine.launch { kernel = %q, initrd = %q, on = { "ssh:h1", ssh_options = { "-F", %q } } })
      io.stdout:write "there\n":flush()
      vmctl.sleep(1000)
    ]]):format(guest.kernel, guest.image, hosts.config)
    local child <close> = assert(vmctl.process.spawn { "lua5.4", "-e", script, stdout = "pipe", stdin = "null" })
    assert.equal("there", child.stdout:read_line(100, 60))
    assert.is_true(#programs(1) > 0)
    child:kill("KILL", true)
    assert(child:wait(30))
    nothing_left(1)
  end))

  it("fail with the host's name when its wire is cut, and when it dies", task(function()
    local first <close> = assert(guest.launch { on = on(1, { keepalive = 3 }) })
    local second <close> = assert(guest.launch { on = on(2) })
    hosts[1]:cut()
    local _, err, how = first:wait(60)
    hosts[1]:cut(true)
    assert.equal("EHOSTDOWN", how)
    assert.truthy(err:find("ssh:h1: it went away: no answer for 3 s", 1, true), err)
    hosts[2]:kill()
    _, err, how = second:wait(60)
    assert.equal("EHOSTDOWN", how)
    assert.truthy(err:find("ssh:h2", 1, true), err)
    assert.equal("EHOSTDOWN", code(guest.launch { on = on(2, { ssh_options = { "-F", hosts.config, "-o", "ConnectTimeout=2" } }) }))
    hosts[2]:start()
  end))

  it("are not begun where vmctl is not, or ssh has no key", task(function()
    local _, err, how = guest.launch { on = on(1, { command = "/no/vmctl" }) }
    assert.equal("ENOENT", how)
    assert.truthy(err:find("no vmctl there (exit code 127", 1, true), err)
    _, err, how = guest.launch { on = on(1, { ssh_options = { "-F", hosts.config, "-l", "nobody" } }) }
    assert.equal("EHOSTDOWN", how)
    assert.truthy(err:find("ssh ended with exit code 255", 1, true), err)
  end))

  it("of one scenario share its networks", task(function()
    local folder = support.tmpdir()
    local defaults = { kernel = guest.kernel, initrd = guest.image, networks = { "lan" }, boot_timeout = 120 }
    local opts = { defaults = defaults, hosts = { on(1), on(2) }, artefacts = folder }
    vmctl.scenario.run("two hosts", { "one", "two" }, opts, function(vms)
      vms.one:succeed "ping -c 1 -W 30 two"
      assert.same({ "ssh:h1", "ssh:h2" }, { vms.one:machine().host, vms.two:machine().host })
      hosts[2]:kill()
      assert.equal("EHOSTDOWN", code(vms.two:machine():wait(60)))
      assert.has_error(function() vms.two:succeed "true" end)
      vms.one:succeed "true"
    end)
    hosts[2]:start()
    nothing_left(1)
  end))
end)
