local assert = require "luassert"
local child_support = require "spec.support.child"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

-- Seconds by a clock that no state of ours can move.
local function real()
  local file <close> = assert(io.open "/proc/uptime")
  return file:read "n"
end

-- Specs of hours run as tasks, but under no limit of seconds: those would pass as well.
local function run(fn)
  return function()
    local begin = real()
    vmctl.run(fn)
    assert.is_true(real() - begin < 25, "it took real time")
    assert.is_false(vmctl.clock.is_virtual())
  end
end

describe("vmctl.clock.virtual", function()
  it("sleeps an hour at once", run(function()
    local begin = vmctl.now()
    vmctl.clock.virtual(function() assert(vmctl.sleep(3600)) end)
    local passed = vmctl.now() - begin
    assert.is_true(passed >= 3600 and passed < 3625, passed)
  end))

  it("works in a plain script", function()
    local begin = vmctl.now()
    vmctl.clock.virtual(function() assert(vmctl.sleep(600)) end, { grace = 0 })
    assert.is_true(vmctl.now() - begin >= 600)
  end)

  it("gives the results of the function, and its error", run(function()
    assert.same({ 1, nil, 3 }, { vmctl.clock.virtual(function() return 1, nil, 3 end) })
    local failure = setmetatable({}, { __tostring = function() return "mine" end })
    local ok, err = pcall(vmctl.clock.virtual, function() error(failure) end)
    assert.is_false(ok)
    assert.equal(failure, err)
    assert.is_false(vmctl.clock.is_virtual())
  end))

  it("lets tasks come in the order of their times", run(function()
    local order = {}
    vmctl.clock.virtual(function()
      vmctl.all({ 300, 100, 200 }, function(seconds)
        assert(vmctl.sleep(seconds))
        order[#order + 1] = seconds
      end)
    end, { grace = 0 })
    assert.same({ 100, 200, 300 }, order)
  end))

  it("ends a read's time-out of ten minutes, and nothing earlier", run(function()
    local a, b = support.pair()
    local begin = vmctl.now()
    vmctl.clock.virtual(function() assert.equal("ETIMEDOUT", code(a:read(nil, 600))) end)
    a:close()
    b:close()
    assert.is_true(vmctl.now() - begin >= 600)
  end))

  it("never overtakes bytes that are there", run(function()
    local a, b = support.pair()
    vmctl.clock.virtual(function()
      local echo = vmctl.spawn(function()
        for _ = 1, 200 do assert(b:write(assert(b:read(nil, 60)))) end
      end)
      for i = 1, 200 do
        assert(a:write(("%03d"):format(i)))
        assert.equal(("%03d"):format(i), a:read_exact(3, 20))
      end
      echo:join()
    end, { grace = 0 })
    a:close()
    b:close()
  end))

  it("bounds what is inside of vmctl.timeout", run(function()
    vmctl.clock.virtual(function()
      local ok, _, why = vmctl.timeout(900, function() return vmctl.sleep(1000) end)
      assert.is_nil(ok)
      assert.equal("ETIMEDOUT", why)
    end)
  end))

  it("gives other processes their grace before each leap", run(function()
    local child <close> = child_support.spawn { "/bin/sh", "-c", "sleep 0.1; echo done", stdout = "pipe" }
    vmctl.clock.virtual(function() assert.equal("done", child.stdout:read_line(nil, 60)) end, { grace = 1 })
    assert(child:wait(30))
  end))

  it("leaps over what comes later than that", run(function()
    local child <close> = child_support.spawn { "/bin/sh", "-c", "sleep 0.3; echo done", stdout = "pipe" }
    vmctl.clock.virtual(function()
      assert.equal("ETIMEDOUT", code(child.stdout:read_line(nil, 60)))
    end, { grace = 0.01 })
    assert.equal("done", child.stdout:read_line(nil, 30))
    assert(child:wait(30))
  end))

  it("waits in real time for what has no time-out", run(function()
    local child <close> = child_support.spawn { "/bin/sh", "-c", "sleep 0.2", stdout = "null" }
    vmctl.clock.virtual(function() assert.same({ exit_code = 0 }, child:wait(math.huge)) end)
  end))

  it("still tells a wait that nothing can end", function()
    local queue = core.queue()
    assert.equal("EDEADLK", code(vmctl.clock.virtual(function() return queue:wait(math.huge, "nothing") end)))
  end)

  it("lets time pass as elsewhere afterwards, without ever going back", run(function()
    local before = vmctl.now()
    vmctl.clock.virtual(function() assert(vmctl.sleep(50)) end)
    local later, begin = vmctl.now(), real()
    assert.is_true(later >= before + 50)
    assert(vmctl.sleep(0.1))
    assert.is_true(real() - begin >= 0.09)
    assert.is_true(vmctl.now() - later < 25)
  end))

  it("keeps timers that were set before it, and those that are left after it", run(function()
    local early = vmctl.spawn(function()
      assert(vmctl.sleep(30))
      return vmctl.now()
    end)
    vmctl.yield()
    local begin, late = vmctl.now(), nil
    vmctl.clock.virtual(function()
      late = vmctl.spawn(function() return assert(vmctl.sleep(60.1)) end)
      assert(vmctl.sleep(60))
    end)
    assert.is_true(early:join() - begin < 59) -- in its turn, before the sixtieth second
    assert.is_true(late:join())
    assert.is_true(vmctl.now() - begin < 90)
  end))

  it("stays virtual until the last of overlapping calls has ended", run(function()
    vmctl.all({ 100, 2000 }, function(seconds)
      vmctl.clock.virtual(function() assert(vmctl.sleep(seconds)) end, { grace = 0 })
    end)
  end))

  it("ends with a task that is cancelled", run(function()
    local task = vmctl.spawn(function() vmctl.clock.virtual(function() core.queue():wait(math.huge, "nothing") end) end)
    vmctl.yield()
    assert.is_true(vmctl.clock.is_virtual())
    task:cancel()
    pcall(task.join, task)
  end))

  it("refuses what is no function, and a grace out of range", function()
    assert.has_error(function() vmctl.clock.virtual(7) end)
    assert.has_error(function() vmctl.clock.virtual(print, { grace = -1 }) end)
    assert.has_error(function() vmctl.clock.virtual(print, { grace = 2 }) end)
  end)

  it("does not move the clock of another Lua state", function()
    local script = [[
      local vmctl = require "vmctl"
      local function real() local f <close> = assert(io.open "/proc/uptime") return f:read "n" end
      local offset = vmctl.now() - real()
      vmctl.clock.virtual(function() vmctl.sleep(1e6) end)
      assert(vmctl.now() - real() - offset >= 1e6 - 1)
    ]]
    local before = vmctl.now()
    require("spec.support.script").check(script)
    assert.is_true(vmctl.now() - before < 1e5)
  end)
end)
