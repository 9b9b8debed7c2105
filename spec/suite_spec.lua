-- vmctl as its users have it, on three guests and a network, written with vmctl.scenario: each test begins with copies of
-- machines that booted once.
-- Takes about 35 seconds.
local assert = require "luassert"
local options = require "vmctl.base.options"
local scenario = require "vmctl.scenario"
local there = require "spec.support.scenario"
local vmctl = require "vmctl"

local folder = there.folder()

describe("three guests on a network", function()
  local vms = scenario.machines({ "anna", "ben", "cora" }, {
    defaults = options.merge(there.defaults, { memory = "160M", networks = { "lan" } }), snapshot = true, artefacts = folder,
    timeout = 30,
    prepare = function(all)
      all.anna:succeed "mkdir -p /srv && echo apples > /srv/fruit"
      all.ben:succeed "mkdir -p /srv && printf 'pears\nplums\n' > /srv/fruit"
    end,
  })

  teardown(function() there.remove(folder) end)

  it("share the work of one pipeline with this machine", function()
    local done = assert(vmctl.pipeline {
      { "cat", "/srv/fruit", on = vms.ben:machine() }, { "sort", "-r", on = vms.anna:machine() }, { "tr", "a-z", "A-Z" }, check = true,
    })
    assert.equal("PLUMS\nPEARS\n", done.stdout)
  end)

  it("are configured by one declared set each, which changes what is not so", function()
    local set = { files = { ["/etc/motd"] = "welcome\n" }, secrets = { token = "t0ken" }, config = "name = 'x'\n" }
    vmctl.all({ vms.anna:machine(), vms.ben:machine() }, function(vm)
      assert.is_true(assert(vm:push_config(set)).changed)
      assert.is_false(assert(vm:push_config(set)).changed)
    end)
    vms.anna:wait_for_file "/run/stereos/secrets/token"
    assert.equal("welcome\n", (vms.ben:succeed "cat /etc/motd"))
  end)

  it("begin anew in each test", function()
    vms.anna:fail "test -e /etc/motd"
    assert.equal("apples\n", (vms.anna:succeed "cat /srv/fruit"))
  end)

  it("give and take trees", function()
    vms.anna:succeed "mkdir -p /data/a/b && head -c 300000 /dev/urandom > /data/a/b/noise && ln -s a/b/noise /data/link"
    assert(vmctl.files.pull(vms.anna:machine(), "/data", folder .. "/data"))
    assert(vmctl.files.push(vms.cora:machine(), folder .. "/data", "/data"))
    assert.equal((vms.anna:succeed "cd /data && find . | sort && sha256sum < link"),
      (vms.cora:succeed "cd /data && find . | sort && sha256sum < link"))
  end)

  it("reach a service of this machine through a socket of their own", function()
    local path = folder .. "/service"
    local listener <close> = assert(vmctl.listen("unix:" .. path)) -- luacheck: ignore
    local server = vmctl.spawn(function()
      for stream in function() return (listener:accept()) end do
        local line = stream:read_line(100, 10)
        stream:write(("you said %s\n"):format(line), 10)
        stream:close()
      end
    end)
    local inside = vms.ben:machine():inside "unix:/run/socketfwd/service.sock"
    local forward <close> = assert(vmctl.forward { from = inside, to = "unix:" .. path }) -- luacheck: ignore
    vms.ben:wait_for_file "/run/socketfwd/service.sock"
    local client = [[local vmctl = require "vmctl"; local s = assert(vmctl.dial "unix:/run/socketfwd/service.sock"); s:write "hello\n"
      print(s:read_line(100, 10))]]
    assert.equal("you said hello\n", (vms.ben:succeed { "vmctl-agent", "--lua", "-", stdin = client }))
    local stats = forward:stats()
    assert.same({ 1, 0 }, { stats.connections, stats.failed })
    server:cancel()
  end)

  it("stay apart through a partition, and come together again", function()
    vms.anna:succeed("ping -c 1 -W 3 ben", "ping -c 1 -W 3 cora")
    vms:partition { { "anna", "ben" }, { "cora" } }
    scenario.subtest("apart", function()
      vms.anna:succeed "ping -c 1 -W 3 ben"
      vms.cora:fail("ping -c 1 -W 1 ben")
      vms.cora:fail("ping -c 1 -W 1 anna")
    end)
    vms:heal()
    vms.cora:wait_until_succeeds "ping -c 1 -W 1 ben"
  end)

  it("notice what a bad network does, and end well", function()
    vms.anna:wait_until_succeeds "ping -c 1 -W 1 ben"
    vms:switch():port("anna"):faults { delay = 0.2, loss = 0.1 }
    local said = vms.ben:succeed "ping -c 10 -i 0.2 -W 5 anna || true"
    assert.truthy(said:find "time=[2-9]%d%d%.")
    local before = vms.anna:machine()
    vms.anna:crash()
    vms.ben:fail "ping -c 1 -W 1 anna"
    assert.equal("ECLOSED", (select(3, before:run "true")))
    vms.anna:start()
    vms.ben:wait_until_succeeds "ping -c 1 -W 2 anna"
  end)
end)
