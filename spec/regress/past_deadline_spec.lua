-- A deadline that is past is an immediate time-out: never an infinite wait (luv#329: a negative time-out waited for
-- ever; minus infinity did here).
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local PAST = { 0, -0.0, -1, -1e9, -math.huge }

-- Did it end without a wait? On a virtual clock one that waits for a second, or for ever, leaps or never comes back.
local function at_once(fn)
  local seconds, name = support.passed(function() return code(fn()) end)
  assert.is_true(seconds < 0.9, seconds)
  return name
end

describe("a time-out of 0 or less", function()
  it("ends a read at once", run(function()
    local _, far = pair { format = { max = 10 } }
    for _, timeout in ipairs(PAST) do
      assert.equal("ETIMEDOUT", at_once(function() return far:read(nil, timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return far:read_exact(1, timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return far:read_line(100, timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return far:read_frame(timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return far:read_frames(5, timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return far:read { timeout = timeout } end))
    end
  end))

  it("still returns what is there", run(function()
    local near, far = pair()
    for _, timeout in ipairs(PAST) do
      near:write "x"
      assert.equal("x", far:read(nil, timeout))
    end
  end))

  it("ends a write at once, with what the kernel took", run(function()
    local near, far = pair()
    for _, timeout in ipairs(PAST) do
      assert.equal("ETIMEDOUT", at_once(function() return near:write(("x"):rep(1 << 20), timeout) end))
    end
    assert.equal("ETIMEDOUT", at_once(function() return near:flush(0) end))
    assert.equal("ETIMEDOUT", at_once(function() return near:shutdown(-1) end))
    assert.truthy(far:read())
  end))

  it("ends accept, join, recv, wait and relay at once", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local sleeper = vmctl.spawn(vmctl.sleep, 60)
    local process = core.process { argv = { "sleep", "60" }, group = true }
    local channel = vmctl.channel()
    for _, timeout in ipairs(PAST) do
      assert.equal("ETIMEDOUT", at_once(function() return listener:accept(timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return sleeper:join(timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return process:wait(timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return channel:recv(timeout) end))
      assert.equal("ETIMEDOUT", at_once(function() return channel:send(1, timeout) end))
    end
    local client, a = pair()
    local b, server = pair()
    assert.equal("ETIMEDOUT", at_once(function() return vmctl.relay(a, b, { timeout = -1 }) end))
    assert.is_false(client:closed() or server:closed())
    sleeper:cancel()
    process:close()
  end))

  it("ends a dial that would have to wait", run(function()
    local path = support.tmpdir() .. "/vsock"
    local listener <close> = assert(vmctl.listen("unix:" .. path)) -- luacheck: ignore
    for _, timeout in ipairs(PAST) do
      assert.equal("ETIMEDOUT", at_once(function()
        return vmctl.dial("hybrid:" .. path .. ":1", { timeout = timeout })
      end))
    end
  end))

  it("of a vmctl.timeout ends all waits inside, whatever time they were given", run(function()
    local _, far = pair()
    for _, limit in ipairs { 0, -1, -math.huge } do
      assert.equal("ETIMEDOUT", at_once(function()
        return vmctl.timeout(limit, function() return far:read(nil, 60) end)
      end))
    end
  end))

  it("is not made of NaN: that raises", run(function()
    local _, far = pair()
    assert.has_error(function() vmctl.timeout(0 / 0, print) end)
    assert.has_error(function() far:read(nil, 0 / 0) end)
    assert.has_error(function() far:read { timeout = 0 / 0 } end)
  end))

  it("makes a sleep return at once", run(function()
    for _, seconds in ipairs { 0, -1 } do
      assert.is_nil(at_once(function() return vmctl.sleep(seconds) end))
    end
  end))
end)
