local assert = require "luassert"
local links = require "vmctl.machine.links"
local nics = require "vmctl.machine.nics"
local qemu_version = require "vmctl.machine.qemu_version"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local MAC = "52:54:00:00:00:07"

describe("the nics of machine.launch", function()
  it("have a model, an address and an MTU that QEMU takes", run(function()
    local listed = {}
    for i, model in ipairs { "virtio-net", "e1000", "e1000e", "rtl8139", "vmxnet3" } do
      listed[i] = { netdev = "user", model = model, mac = "52:54:00:00:00:0" .. i, mtu = model == "virtio-net" and 9000 or nil }
    end
    local list, macs = nics.arguments(listed, "-pci")
    assert.equal("virtio-net-pci,netdev=nic0,mac=52:54:00:00:00:01,host_mtu=9000", list[4])
    assert.equal("e1000,netdev=nic1,mac=52:54:00:00:00:02", list[8])
    assert.equal("52:54:00:00:00:05", macs[5])
    local name = "qemu-system-x86_64"
    if vmctl.host:run({ "sh", "-c", "command -v " .. name }).exit_code ~= 0 then return end -- the words above are checked anyway
    local command = { name, "-M", "q35,accel=tcg", "-nodefaults", "-display", "none", "-S", "-monitor", "stdio" }
    for _, word in ipairs(list) do
      command[#command + 1] = word:gsub("^user,id=nic(%d)", "hubport,hubid=%1,id=nic%1"):match ".*"
    end
    command.stdin, command.timeout = "info network\nquit\n", 60
    local result = vmctl.host:run(command)
    assert.equal(0, result.exit_code, result.stderr)
    for i, model in ipairs { "virtio%-net%-pci", "e1000", "e1000e", "rtl8139", "vmxnet3" } do
      assert.truthy(result.stdout:find(("model=%s,macaddr=52:54:00:00:00:0%d"):format(model, i)), result.stdout)
    end
  end, 90))

  it("connect again as the QEMU at hand can, which is asked", function()
    local function netdev(version, nic)
      nic.connect = "unix:/x"
      local list, message, why = nics.arguments({ nic }, "-pci", function() return version end)
      return list and list[2], message, why
    end
    local rest = "addr.type=unix,addr.path=/x"
    assert.equal("stream,id=nic0,server=off," .. rest, (netdev(nil, {})))
    assert.equal("stream,id=nic0,server=off,reconnect-ms=1500," .. rest, (netdev(9.02, { reconnect = 1.5 })))
    assert.equal("stream,id=nic0,server=off,reconnect-ms=1000," .. rest, (netdev(10.01, { reconnect = 1 })))
    assert.equal("stream,id=nic0,server=off,reconnect=2," .. rest, (netdev(9.01, { reconnect = 1.5 })))
    assert.equal("stream,id=nic0,server=off,reconnect=1," .. rest, (netdev(8, { reconnect = 0.1 })))
    local none, message, why = netdev(7.02, { reconnect = 1 })
    assert.same({ nil, "ENOTSUP" }, { none, why })
    assert.truthy(message:find("QEMU 7.2 does not connect again", 1, true))
    assert.equal("EINVAL", code(nics.arguments({ { listen = "unix:/x", reconnect = 1 } }, "-pci")))
    assert.equal("EINVAL", code(nics.arguments({ { connect = "tcp:127.0.0.1:7", backend = "socket", reconnect = 1 } }, "-pci")))
    assert.equal("EINVAL", code(nics.arguments({ { netdev = "user", reconnect = 1 } }, "-pci")))
  end)

  it("ask a QEMU for its version once", run(function()
    assert.equal(7.02, qemu_version.parse "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)")
    assert.equal(10.1, qemu_version.parse "QEMU emulator version 10.10.0")
    assert.is_nil(qemu_version.parse "something else")
    local folder = support.tmpdir()
    local file = assert(io.open(folder .. "/qemu", "w"))
    file:write(("#!/bin/sh\necho x >> %s/asked\necho 'QEMU emulator version 9.2.1'\n"):format(folder))
    file:close()
    assert(vmctl.host:run { "chmod", "+x", folder .. "/qemu", check = true })
    for _ = 1, 2 do assert.equal(9.02, qemu_version.of(folder .. "/qemu")) end
    assert.equal("x\n", assert(io.open(folder .. "/asked")):read "a")
    assert.equal("EPROTO", code(qemu_version.of "true"))
    assert.equal("ENOENT", code(qemu_version.of "/no/such/qemu"))
  end, 60))

  it("have queues where the backend has", function()
    local list = assert(nics.arguments({ { netdev = "tap,ifname=x", queues = 4, mac = MAC } }, "-pci"))
    assert.equal("tap,ifname=x,id=nic0,queues=4", list[2])
    assert.equal("virtio-net-pci,netdev=nic0,mac=" .. MAC .. ",mq=on,vectors=10", list[4])
    assert.equal("virtio-net-device,netdev=nic0,mac=" .. MAC .. ",mq=on", nics.arguments({ { netdev = "tap", queues = 2, mac = MAC } },
      "-device")[4])
    for _, nic in ipairs { { connect = "unix:/x", queues = 2 }, { netdev = "user", queues = 2 },
      { netdev = "tap", queues = 2, model = "e1000" } } do
      assert.equal("EINVAL", code(nics.arguments({ nic }, "-pci")))
    end
  end)

  it("are told from each other by whether somebody is at the other end", function()
    local text = "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56\r\n" ..
      " \\ nic0: index=0,type=stream,connection error\r\ne1000.0: index=0,type=nic\r\n \\ nic1: index=0,type=stream,\r\n" ..
      " \\ nic2: index=0,type=stream,unix:/tmp/x\r\n \\ nic3: index=0,type=user,net=10.0.2.0\r\n"
    assert.same({
      { card = 1, type = "stream", info = "connection error", connected = false },
      { card = 2, type = "stream", info = "", connected = false },
      { card = 3, type = "stream", info = "unix:/tmp/x", connected = true },
    }, links.parse(text))
  end)

  it("refuse what QEMU would not take, or would take as something else", function()
    local function refused(nic, suffix)
      nic.netdev = not nic.listen and "user" or nil
      return code(nics.arguments({ nic }, suffix or "-pci"))
    end
    assert.equal("EINVAL", refused { model = "e1000", mtu = 9000 })
    assert.equal("EINVAL", refused({ model = "e1000" }, "-device"))
    assert.equal("EINVAL", refused { mac = "52:54:00:00:00" })
    assert.equal("EINVAL", refused { mac = "01:54:00:00:00:01" })
    assert.equal("EINVAL", refused { listen = "tcp:[::1]:7000", backend = "socket" })
    assert.is_nil(refused { listen = "tcp:127.0.0.1:7000", backend = "socket", mac = MAC })
    assert.has_error(function() nics.arguments({ { netdev = "user", model = "ne2k" } }, "-pci") end)
  end)
end)
