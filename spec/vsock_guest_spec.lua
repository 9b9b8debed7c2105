-- AF_VSOCK for real: what spec/support/vsock_checks.lua lists, run inside a guest over its loopback transport. Here each of
-- them is one `it`.
local assert = require "luassert"
local checks = require "spec.support.vsock_checks"
local guest = require "spec.support.guest"
local tap = require "spec.support.tap_results"
local template = require "spec.support.template"

local LIMIT = 300 -- seconds for all of them

local function push(vm, from, to)
  local file <close> = assert(io.open(from, "rb"))
  assert(vm:write_file(to, file:read "a"))
end

-- The agent is the other end of the control plane, and does not carry its client.
local CLIENT = { "client", "client_connection", "client_dial", "client_events", "client_reading", "due_replies", "events", "wait" }

describe("AF_VSOCK in a guest", function()
  local results = tap.none()

  lazy_setup(function()
    local vm <close> = template.start { name = "vsock", channel = "mux" } -- no device: the loopback transport alone
    for _, name in ipairs { "tap.lua", "vsock_checks.lua" } do push(vm, "spec/support/" .. name, "/tmp/" .. name) end
    assert(vm:run { "mkdir", "-p", "/tmp/vmctl/stereos", check = true })
    for _, name in ipairs(CLIENT) do
      push(vm, ("lua/vmctl/stereos/%s.lua"):format(name), ("/tmp/vmctl/stereos/%s.lua"):format(name))
    end
    local record, why = vm:run { guest.agent_inside, "--lua", "/tmp/tap.lua", "/tmp/vsock_checks.lua", timeout = LIMIT }
    results = tap.parse(record and record.stdout or "", record and record.stderr or "", record, why)
  end)

  it("is checked to the end", function() results:assert_complete(checks) end)

  for _, check in ipairs(checks) do
    it(check[1], function() results:assert_ok(check[1]) end)
  end
end)
