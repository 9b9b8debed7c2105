-- AF_VSOCK for real: what spec/support/vsock_checks.lua lists, run inside a guest over its loopback transport. Here each of
-- them is one `it`: a check of which the guest says nothing has failed.
local assert = require "luassert"
local checks = require "spec.support.vsock_checks"
local guest = require "spec.support.guest"

local LIMIT = 300 -- seconds for all of them

local function push(vm, name)
  local file <close> = assert(io.open("spec/support/" .. name, "rb"))
  assert(vm:write_file("/tmp/" .. name, file:read "a"))
end

-- name -> { ok, what the guest said about it }, from TAP.
local function parse(text)
  local results, last = {}, nil
  for line in text:gmatch "[^\n]+" do
    local verdict, name = line:match "^(.-ok) %d+ %- (.*)$"
    if name then
      last = { ok = verdict == "ok", said = "" }
      results[name] = last
    elseif last and line:sub(1, 1) == "#" then
      last.said = last.said .. line .. "\n"
    end
  end
  return results
end

describe("AF_VSOCK in a guest", function()
  local record, results = nil, {}

  lazy_setup(function()
    local vm <close> = guest.boot { name = "vsock" }
    push(vm, "tap.lua")
    push(vm, "vsock_checks.lua")
    record = assert(vm:run { "/sbin/vmctl-agent", "--lua", "/tmp/tap.lua", "/tmp/vsock_checks.lua", timeout = LIMIT })
    results = parse(record.stdout)
  end)

  it("is checked to the end", function()
    assert.equal("", record.stderr)
    assert.equal(0, record.exit_code)
    assert.matches(("^1%%.%%.%d\n"):format(#checks), record.stdout)
  end)

  for _, check in ipairs(checks) do
    it(check[1], function()
      local result = results[check[1]]
      assert.truthy(result, "the guest said nothing about it: " .. record.stdout .. record.stderr)
      assert.is_true(result.ok, result.said)
    end)
  end
end)
