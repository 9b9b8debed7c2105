-- A wait that has timed out is over: what it waited for does not wake its task later, does not count it as waiting, and
-- keeps no memory of it (lua-nginx-module#241, cqueues#57).
local core = require "vmctl.core"
local process = require "vmctl.process"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

-- Lets `wait` time out, makes happen what it waited for, and sees that a sleep of the same task is not cut short by it.
local function check_not_woken(wait, happen)
  local task = vmctl.spawn(function()
    assert.equal("ETIMEDOUT", code(wait(0.001)))
    vmctl.spawn(happen)
    local start = vmctl.now()
    assert.is_true(vmctl.sleep(0.01))
    return vmctl.now() - start
  end)
  assert.is_true(task:join() >= 0.01)
end

describe("a wait that has timed out", function()
  it("is not woken by the end of a task", support.run(function()
    local other = vmctl.spawn(function() return vmctl.channel():recv(60) end)
    check_not_woken(function(timeout) return other:join(timeout) end, function() other:cancel() end)
  end))

  it("is not woken by the end of a child", support.run(function()
    local child <close> = assert(process.spawn { "cat", stdin = "pipe" })
    check_not_woken(function(timeout) return child:wait(timeout) end, function() child.stdin:close() end)
    assert.same({ exit_code = 0 }, child:wait())
  end))

  it("is not woken by a queue", support.run(function()
    local queue = core.queue()
    check_not_woken(function(timeout) return queue:wait(timeout) end, function() queue:wake() end)
    assert.equal(0, queue:wake())
  end))

  it("takes nothing that a channel gets later", support.run(function()
    local channel = vmctl.channel()
    local received = {}
    check_not_woken(function(timeout) return channel:recv(timeout) end, function()
      vmctl.spawn(function() received[1] = channel:recv() end)
      channel:send "for the next one"
    end)
    assert.same({ "for the next one" }, received)
  end))

  it("keeps no memory, however often it is repeated", support.run(function()
    local near, far = support.pair()
    local channel, queue, lock = vmctl.channel(), core.queue(), vmctl.lock()
    local sleeper = vmctl.spawn(vmctl.sleep, 60)
    lock:with(nil, function()
      local function poll_all()
        near:read(1, 0)
        channel:recv(0)
        channel:send(1, 0)
        queue:wait(0)
        sleeper:join(0)
        lock:with(0, error)
      end
      local function wait_for_all()
        for _ = 1, 20 do poll_all() end
        near:read(1, 1e-6)
        channel:recv(1e-6)
      end
      for _ = 1, 10 do wait_for_all() end
      collectgarbage()
      collectgarbage()
      local before = collectgarbage "count"
      for _ = 1, 50 do wait_for_all() end
      collectgarbage()
      collectgarbage()
      assert.is_true(collectgarbage "count" - before < 16)
    end)
    sleeper:cancel()
    near:close()
    far:close()
  end))
end)
