-- What a guest's QEMU may not do.
local assert = require "luassert"
local guest = require "spec.support.guest"
local process = require "vmctl.process"
local confinement = require "vmctl.machine.confinement"
local support = require "spec.support"

local LIMIT = 120

describe("a confined process", function()
  it("has no capabilities, no way to get any, and dumps no core", support.run(function()
    local child <close> = assert(process.spawn { "sleep", "60", confine = true })
    local found
    support.eventually(function() -- the kernel lets us go on a moment before the new program has its capabilities
      found = assert(confinement.of(child.pid))
      return not found.capabilities
    end)
    assert.same({ false, true, false }, { found.sandbox, found.no_new_privileges, found.core_dumps })
    local plain <close> = assert(process.spawn { "sleep", "60" })
    assert.is_false(assert(confinement.of(plain.pid)).no_new_privileges)
  end))
end)

describe("a guest's QEMU", function()
  it("is confined, and the guest works", support.run(function()
    local vm <close> = guest.boot { name = "confined" }
    local found = assert(vm:confinement())
    assert.same({ true, true, false, false },
      { found.sandbox, found.no_new_privileges, found.capabilities, found.core_dumps })
    assert.equal("yes\n", assert(vm:run { "echo", "yes" }).stdout)
    vm:kill()
    assert.equal("ECLOSED", support.code(vm:confinement()))
  end, LIMIT))

  it("is not when that was asked for", support.run(function()
    local vm <close> = guest.boot { name = "free", sandbox = false }
    local found = assert(vm:confinement())
    assert.is_false(found.sandbox)
    assert.is_false(found.no_new_privileges)
  end, LIMIT))
end)
