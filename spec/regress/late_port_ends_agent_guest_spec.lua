-- On a busy host QEMU names a virtio-serial port a moment after the guest's init has begun: the agent then found nothing to listen on,
-- and the guest powered off.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"

local PORT = "org.vmctl.mux.0"

describe("an agent whose port is not there yet", function()
  it("waits for it", support.run(function()
    local vm <close> = guest.launch { channel = "mux", args = { "-S" } } -- stopped until the port is gone
    local qmp = assert(vm:qmp())
    local bus, id
    for _, device in ipairs(assert(qmp:execute("qom-list", { path = "/machine/peripheral" }))) do
      if device.type == "child<virtserialport>" then id = device.name end
    end
    assert.is_string(id)
    bus = assert(qmp:execute("qom-get", { path = "/machine/peripheral/" .. id, property = "parent_bus" })):match "[^/]*$"
    local chardev = assert(qmp:execute("qom-get", { path = "/machine/peripheral/" .. id, property = "chardev" }))
    assert(qmp:execute("device_del", { id = id }))
    assert(qmp:execute "cont")
    assert(vm:wait_console("waiting for the virtio%-serial port org%.vmctl%.mux%.0", { timeout = 60 }))
    assert(qmp:execute("device_add", { driver = "virtserialport", id = id, chardev = chardev, name = PORT, bus = bus }))
    assert(vm:wait_ready(60))
    assert.equal("well\n", assert(vm:run "echo well").stdout)
  end, 120))
end)
