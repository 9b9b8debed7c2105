-- The loop keeps no coroutine that is not a living task: not the one that started a task, not the one that drove the loop
-- last, not a task that has ended or failed while what it had waited for was still to come (luv#503).
local support = require "spec.support"
local vmctl = require "vmctl"

local function collect()
  collectgarbage()
  collectgarbage()
end

describe("a coroutine that is dead and collected", function()
  it("may have waited for what comes later", support.run(function()
    local streams = {}
    vmctl.scope(function()
      for i = 1, 20 do
        local near, far = support.pair()
        streams[i] = { near, far }
        vmctl.spawn(near.read, near, 1, 0.001)
        vmctl.spawn(vmctl.timeout, 0.001, far.read, far, 1)
        local doomed = vmctl.spawn(function()
          vmctl.race { function() near:flush(60) end, function() far:read(1, 60) end, function() return true end }
          error "dead"
        end)
        vmctl.spawn(pcall, doomed.join, doomed)
      end
    end)
    collect()
    for _, pair in ipairs(streams) do
      pair[1]:write "late"
      pair[2]:write "late"
    end
    vmctl.yield()
    collect()
    for _, pair in ipairs(streams) do
      assert.equal("late", pair[1]:read(4, 1))
      assert.equal("late", pair[2]:read(4, 1))
      pair[1]:close()
      pair[2]:close()
    end
  end))

  it("may have started tasks that live on", support.run(function()
    local channel = vmctl.channel()
    coroutine.wrap(function()
      vmctl.spawn(function()
        vmctl.sleep(0.002)
        channel:send "alive"
      end)
    end)()
    collect()
    assert.equal("alive", channel:recv(30))
  end))

  it("may have driven the loop", function()
    local task = vmctl.spawn(function()
      for _ = 1, 20 do vmctl.sleep(0.0005) end
      return "done"
    end)
    repeat
      coroutine.wrap(function() vmctl.loop.step(0.1) end)()
      collect()
    until task:status() == "done"
    assert.equal("done", task:join(0))
  end)

  it("may have been cancelled and forgotten", support.run(function()
    local near, far = support.pair()
    for _ = 1, 20 do
      local reader = vmctl.spawn(function() near:read(1, 60) end)
      vmctl.yield()
      reader:cancel()
      reader = nil -- luacheck: ignore
      vmctl.yield()
      collect()
      far:write "x"
      assert.equal("x", near:read(1, 1))
    end
    near:close()
    far:close()
  end))
end)
