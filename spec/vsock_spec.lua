-- Connections are tested inside a guest; here is what needs none.
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local vsock = vmctl.vsock

describe("vmctl.vsock", function()
  it("has the kernel's constants", function()
    assert.equal(40, vsock.AF_VSOCK)
    assert.equal(0xffffffff, vsock.CID_ANY)
    assert.equal(0, vsock.CID_HYPERVISOR)
    assert.equal(1, vsock.CID_LOCAL)
    assert.equal(2, vsock.CID_HOST)
    assert.equal(0xffffffff, vsock.PORT_ANY)
    assert.equal(0x7b9, vsock.IOCTL_GET_LOCAL_CID)
  end)

  it("knows the local CID, or says why not", function()
    local cid, message, name = vsock.local_cid()
    if cid then
      assert.is_true(cid >= 0 and cid <= vsock.CID_ANY)
    else
      assert.is_string(message)
      assert.is_true(name == "ENOENT" or name == "EACCES" or name == "ENODEV", name)
    end
  end)

  it("has addresses with CID, port and network, shown as CID:PORT", function()
    local a = vsock.address(3, 5000)
    assert.equal(3, a.cid)
    assert.equal(5000, a.port)
    assert.equal("vsock", a.network)
    assert.equal("3:5000", tostring(a))
    assert.is_true(a == vsock.address(3, 5000))
    assert.is_false(a == vsock.address(3, 5001))
    assert.equal("4294967295:4294967295", tostring(vsock.address("any", "any")))
  end)

  it("shows a listener on every CID as such", function()
    local listener, err, name = vmctl.listen "vsock:any:any"
    if not listener then return pending(err .. " " .. name) end
    assert.is_truthy(tostring(listener):find "^vmctl.Listener%(vsock:any:%d+%)$")
    listener:close()
  end)

  it("knows by which CID a listener on every one is reached", function()
    local listener, err, name = vmctl.listen "vsock:any:any"
    if not listener then return pending(err .. " " .. name) end
    assert.equal(vsock.local_cid() or vsock.CID_ANY, listener:address().cid)
    listener:close()
  end)

  it("gives addresses that the rest of vmctl takes", function()
    assert.equal("vsock:3:5000", tostring(vmctl.address.parse(vsock.address(3, 5000))))
  end)

  it("raises for an address that is none", function()
    assert.has_error(function() vsock.address(-1, 1) end)
    assert.has_error(function() vsock.address(1 << 32, 1) end)
    assert.has_error(function() vsock.address(3, 1.5) end)
    assert.has_error(function() vsock.address("somebody", 1) end)
    assert.has_error(function() vsock.address(3) end)
  end)

  it("dial returns EINVAL for an address that is none, raises for unknown options", run(function()
    assert.equal("EINVAL", code(vsock.dial(3, -1)))
    assert.equal("EINVAL", code(vsock.dial("somebody", 1)))
    assert.equal("EINVAL", code(vmctl.dial "vsock:3:x"))
    assert.has_error(function() vsock.dial(3, 1, { time_out = 1 }) end)
  end))

  it("listen returns EINVAL for a port that is none, raises for unknown options", run(function()
    assert.equal("EINVAL", code(vsock.listen(1 << 32)))
    assert.has_error(function() vsock.listen(5000, { port = 1 }) end)
    assert.has_error(function() vsock.listen(5000, { cid = {} }) end)
  end))

  it("listen returns the kernel's reason for a CID that is not ours", run(function()
    local _, message, name = vsock.listen(70000, { cid = 0x12345678 })
    assert.is_true(name == "EADDRNOTAVAIL" or name == "EAFNOSUPPORT", name)
    assert.truthy(message:find("305419896:70000", 1, true))
  end))
end)
