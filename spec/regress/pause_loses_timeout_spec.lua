-- A task that reads without ever waiting lets others run from time to time. The read that did so forgot its time-out:
-- when nothing was there after the pause, it failed with ETIMEDOUT at once.
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

local OFTEN = 1000 -- more than a task may do without a pause

describe("a read after many that did not wait", function()
  local calls = {
    read = function(s) return s:read(1) end,
    read_exact = function(s) return s:read_exact(1) end,
    read_line = function(s) return s:read_line() end,
    read_frame = function(s) return s:read_frame() end,
    read_frames = function(s) return s:read_frames(1) end,
  }
  local bytes = { read = "x", read_exact = "x", read_line = "x\n", read_frame = "\0\0\0\1x", read_frames = "\0\0\0\1x" }

  for name, call in pairs(calls) do
    it("waits as long as it may: " .. name, run(function()
      local near, far = pair { format = { max = 10 } }
      for _ = 1, OFTEN do -- each read finds nothing at first
        vmctl.spawn(function() near:write(bytes[name]) end)
        assert.truthy(call(far))
      end
      near:write(bytes[name]:rep(OFTEN)) -- and now something each time, until nothing is left
      for _ = 1, OFTEN do assert.truthy(call(far)) end
      local reader = vmctl.spawn(function()
        for _ = 1, OFTEN do assert(call(far)) end
        return call(far)
      end)
      near:write(bytes[name]:rep(OFTEN))
      support.eventually(function() return far:stats().buffered_in == 0 end)
      near:write(bytes[name])
      assert.truthy(reader:join())
    end))
  end

  it("still asks the kernel when its time-out is 0", run(function()
    local near, far = pair()
    for _ = 1, OFTEN do
      near:write "x"
      assert.equal("x", far:read(1, 0))
      assert.equal("ETIMEDOUT", code(far:read(1, 0)))
    end
  end))
end)
