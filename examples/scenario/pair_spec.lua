-- Two guests on a network: a web server and who asks it, through a partition and a crash.
--   busted --lua=lua5.4 examples/scenario/pair_spec.lua      (in a checkout, after `make guest`)
-- You will see three tests pass; when one fails, its report, and a folder under build/artefacts with logs and captures.
local assert = require "luassert"
local scenario = require "vmctl".scenario

describe("a web server", function()
  local vms = scenario.machines({ "web", "client" }, {
    defaults = { kernel = "build/kernel/vmlinuz", initrd = "build/guest.img", networks = { "lan" } },
    snapshot = true, -- both boot once; each test begins with what they were when `prepare` was done
    prepare = function(all)
      all.web:succeed "mkdir -p /srv && echo welcome > /srv/index.html"
    end,
  })

  local function serve()
    vms.web:spawn 'while :; do nc -l -p 80 -e cat /srv/index.html; done'
    vms.client:wait_for_open_port(80, { host = vms.web:ip() })
  end

  it("is asked by name", function()
    serve()
    assert.equal("welcome\n", (vms.client:wait_until_succeeds "nc -w 2 web 80 < /dev/null | grep welcome"))
  end)

  it("is not reached through a partition", function()
    scenario.subtest("together", function() vms.client:succeed "ping -c 1 -W 2 web" end)
    vms:partition { { "web" }, { "client" } }
    scenario.subtest("apart", function() vms.client:fail "ping -c 1 -W 1 web" end)
    vms:heal()
    scenario.subtest("together again", function() vms.client:wait_until_succeeds "ping -c 1 -W 1 web" end)
  end)

  it("comes back after a crash, without what was only in its memory", function()
    vms.web:crash()
    vms.client:fail "ping -c 1 -W 1 web"
    vms.web:start()
    vms.client:wait_until_succeeds "ping -c 1 -W 1 web"
    vms.web:fail "test -e /srv/index.html"
  end)
end)
