-- AF_VSOCK for real: what spec/support/vsock_checks.lua lists, run inside a guest over its loopback transport. Here each of
-- them is one `it`.
local assert = require "luassert"
local checks = require "spec.support.vsock_checks"
local guest = require "spec.support.guest"
local tap = require "spec.support.tap_results"

local LIMIT = 300 -- seconds for all of them

local function push(vm, name)
  local file <close> = assert(io.open("spec/support/" .. name, "rb"))
  assert(vm:write_file("/tmp/" .. name, file:read "a"))
end

describe("AF_VSOCK in a guest", function()
  local results = tap.none()

  lazy_setup(function()
    local vm <close> = guest.boot { name = "vsock" }
    push(vm, "tap.lua")
    push(vm, "vsock_checks.lua")
    local record, why = vm:run { guest.agent_inside, "--lua", "/tmp/tap.lua", "/tmp/vsock_checks.lua", timeout = LIMIT }
    results = tap.parse(record and record.stdout or "", record and record.stderr or "", record, why)
  end)

  it("is checked to the end", function() results:assert_complete(checks) end)

  for _, check in ipairs(checks) do
    it(check[1], function() results:assert_ok(check[1]) end)
  end
end)
