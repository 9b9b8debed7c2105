local assert = require "luassert"
local nics = require "vmctl.machine.nics"
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
