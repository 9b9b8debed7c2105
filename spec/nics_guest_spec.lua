-- The network cards of real guests: an address by DHCP, an MTU, and who is at the other end.
-- Needs: 600 MiB
-- Takes about 20 seconds.
local assert = require "luassert"
local guest = require "spec.support.guest"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 180 -- seconds, against hanging

local function run(fn) return support.run(fn, LIMIT) end

local has_slirp = pcall(require, "vmctl.slirp")

describe("a guest's network card", function()
  it("gets its address by DHCP, and its MTU from the card", run(function()
    local where = "unix:" .. support.tmpdir() .. "/net"
    local sw <close> = assert(vmctl.l2.switch { thread = true }) -- luacheck: ignore
    assert(sw:listen(where))
    if has_slirp then assert(sw:uplink { "user", restricted = true, ipv6 = false }) end
    local vm <close> = assert(guest.launch { name = "dhcp", nics = { { connect = where, mtu = 9000 } } }) -- luacheck: ignore
    assert(vm:wait_ready(LIMIT))
    assert.same({ { card = 1, type = "stream", connected = true } }, { (function()
      local link = assert(vm:links())[1]
      return { card = link.card, type = link.type, connected = link.connected }
    end)() })
    assert.equal("9000\n", assert(vm:run { "cat", "/sys/class/net/eth0/mtu", check = true }).stdout)
    if not has_slirp then return end
    for _ = 1, 2 do -- the second time it has the address already
      assert(vm:run { "udhcpc", "-i", "eth0", "-n", "-q", timeout = LIMIT, check = true })
      assert.matches("inet 10%.0%.2%.15/24 ", assert(vm:run { "ip", "-4", "addr", "show", "dev", "eth0", check = true }).stdout)
    end
    -- a restricted network has no router and no name server to tell: the script is given them here
    local told = "interface=eth0 ip=10.0.2.15 mask=24 router=10.0.2.2 dns=10.0.2.3 domain=test mtu=1400"
    assert(vm:run { "sh", "-c", told .. " /etc/udhcpc/default.script renew", check = true })
    assert.matches("^default via 10%.0%.2%.2 dev eth0", assert(vm:run { "ip", "route", check = true }).stdout)
    assert.equal("search test\nnameserver 10.0.2.3\n", assert(vm:run { "cat", "/etc/resolv.conf", check = true }).stdout)
    assert.equal("1400\n", assert(vm:run { "cat", "/sys/class/net/eth0/mtu", check = true }).stdout)
    assert(vm:run { "sh", "-c", "interface=eth0 /etc/udhcpc/default.script deconfig", check = true })
    assert.equal("", assert(vm:run { "ip", "-4", "addr", "show", "dev", "eth0", check = true }).stdout)
  end))

  it("with nobody at the other end is told", run(function()
    local folder = support.tmpdir()
    local vm
    local lines = l2s.logged(function()
      vm = assert(guest.launch { name = "alone", nics = {
        { connect = "unix:" .. folder .. "/nobody" }, { listen = "unix:" .. folder .. "/me" },
      } })
      assert(vm:wait_ready(LIMIT))
    end)
    assert.equal(1, #l2s.about(lines, "machine alone: network card 1 has nobody at the other end"))
    assert.equal(1, #l2s.about(lines, "machine alone: network card 2 has nobody at the other end"))
    local port = assert(vmctl.l2.dial("unix:" .. folder .. "/me"))
    support.eventually(function() return vm:links()[2].connected end, LIMIT)
    port:close()
    support.eventually(function() return not vm:links()[2].connected end, LIMIT)
    vm:close()
  end))
end)
