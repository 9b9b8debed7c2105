-- A server that refuses without reading and closes made the relay end with EPIPE at once, and its answer, still under
-- way, was lost.
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local answer = ("no, thank you "):rep(80000)

local function check(client, server, relay)
  local writer = vmctl.spawn(function() return client:write(("x"):rep(16 << 20)) end)
  vmctl.spawn(function()
    assert(server:write(answer))
    server:close()
  end)
  assert.is_true(client:read_exact(#answer) == answer)
  local stats, _, name, partial = relay:join()
  assert.is_nil(stats)
  assert.is_true(name == "EPIPE" or name == "ECONNRESET", name)
  assert.equal(#answer, partial.b_to_a)
  return writer
end

describe("a server that answers without reading, and goes", function()
  it("has its answer delivered; then both ends are told", run(function()
    local client, a = pair()
    local b, server = pair()
    local writer = check(client, server, vmctl.spawn(vmctl.relay, a, b))
    assert.equal("EPIPE", code(writer:join()))
    assert.is_string(code(client:read()))
  end, 5))

  it("may be a command", run(function()
    local client, a = pair()
    local relay = vmctl.spawn(vmctl.relay, a, assert(vmctl.dial "exec:exec <&-; sleep 0.1; seq 1 100000"))
    local writer = vmctl.spawn(function() return client:write(("x"):rep(4 << 20)) end)
    assert.equal(588895, #client:read_exact(588895))
    assert.equal("EPIPE", code(relay:join()))
    assert.equal("EPIPE", code(writer:join()))
  end, 5))
end)
