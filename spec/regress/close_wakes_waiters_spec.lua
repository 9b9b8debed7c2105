-- A task that waits on a handle gets ECLOSED when another task closes it: it does not wait for ever, and nothing is thrown
-- (copas#208).
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local function closed_while(handle, wait)
  local task = vmctl.spawn(wait)
  vmctl.yield()
  assert.equal("waiting", task:status())
  handle:close()
  return code(task:join())
end

describe("close", function()
  it("wakes a reader", run(function()
    for _, call in ipairs { "read", "read_line", "read_frame", "read_frames" } do
      local _, far = pair { format = { max = 10 } }
      assert.equal("ECLOSED", closed_while(far, function() return far[call](far) end), call)
    end
    local near, far = pair()
    near:write "some"
    assert.equal("ECLOSED", closed_while(far, function() return far:read_exact(100) end))
  end))

  it("wakes a writer", run(function()
    local big = ("x"):rep(1 << 20)
    for _, call in ipairs { "write", "write_frame" } do
      local near, _ = pair { format = { max = 2 << 20 } }
      assert.equal("ECLOSED", closed_while(near, function() return near[call](near, big) end), call)
    end
  end))

  it("wakes a reader and a writer of one stream", run(function()
    local near, _ = pair()
    local reader = vmctl.spawn(function() return near:read() end)
    assert.equal("ECLOSED", closed_while(near, function() return near:write(("x"):rep(1 << 20)) end))
    assert.equal("ECLOSED", code(reader:join()))
  end))

  it("wakes all who accept", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local others = vmctl.spawn(function()
      return vmctl.map({ 1, 2 }, function() return code(listener:accept()) end)
    end)
    vmctl.yield()
    assert.equal("ECLOSED", closed_while(listener, function() return listener:accept() end))
    assert.same({ "ECLOSED", "ECLOSED", n = 2 }, others:join())
  end))

  it("wakes who waits for a process, and for a relay", run(function()
    local process = core.process { argv = { "sleep", "60" }, group = true }
    assert.equal("ECLOSED", closed_while(process, function() return process:wait() end))
    local client, a = pair()
    local b, server = pair()
    local relay = core.relay(a, b)
    assert.equal("ECLOSED", closed_while(relay, function() return relay:wait() end))
    assert.is_false(client:closed() or server:closed())
  end))

  it("by the peer is no such thing: EOF", run(function()
    local near, far = pair()
    assert.equal("EOF", closed_while(near, function() return far:read() end))
  end))
end)
