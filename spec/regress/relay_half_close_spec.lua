-- A peer that ends its half still wants the answer: the relay must pass the end on and keep the other way open
-- (vhost-device#874, cloud-hypervisor#8372: peers that wait for an end for ever, or lose the answer).
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local function read_all(stream)
  local parts = {}
  while true do
    local part, err, name = stream:read()
    if not part then
      assert(name == "EOF", err)
      return table.concat(parts)
    end
    parts[#parts + 1] = part
  end
end

-- A server that answers only when the request has ended: what it got, in capitals.
local function serve(stream)
  return vmctl.spawn(function()
    local request = read_all(stream)
    assert(stream:write(request:upper()))
    return stream:close()
  end)
end

describe("a half-close through a relay", function()
  it("reaches the server, and the answer comes back", run(function()
    local client, a = pair()
    local b, server = pair()
    local relay = vmctl.spawn(vmctl.relay, a, b)
    serve(server)
    client:write "request"
    client:shutdown()
    assert.equal("REQUEST", read_all(client))
    assert.equal(7, relay:join().a_to_b)
  end))

  it("passes through several relays, and an answer larger than all of them hold", run(function()
    local client, stream = pair()
    local relays = {}
    for i = 1, 3 do
      local b, following = pair()
      relays[i] = vmctl.spawn(vmctl.relay, stream, b)
      stream = following
    end
    serve(stream)
    local request = ("a long request "):rep(300000)
    vmctl.spawn(function() assert(client:write(request) and client:shutdown()) end)
    assert.is_true(read_all(client) == request:upper())
    for _, relay in ipairs(relays) do assert.equal(#request, relay:join().b_to_a) end
  end, 10))

  it("reaches a command's stdin", run(function()
    local client, a = pair()
    local relay = vmctl.spawn(vmctl.relay, a, assert(vmctl.dial "exec:sort"))
    client:write "b\na\n"
    client:shutdown()
    assert.equal("a\nb\n", read_all(client))
    assert.same({ a_to_b = 4, b_to_a = 4, over = true }, relay:join())
  end))

  it("passes over TCP as well", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local client = assert(vmctl.dial(listener:address()))
    local a = assert(listener:accept(30))
    local b, server = pair()
    local relay = vmctl.spawn(vmctl.relay, a, b)
    serve(server)
    client:write "by tcp"
    client:shutdown()
    assert.equal("BY TCP", read_all(client))
    assert.equal("EPIPE", code(client:write "more"))
    assert.truthy(relay:join())
  end))
end)
