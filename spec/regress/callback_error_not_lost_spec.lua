-- An error in a task comes out somewhere, with its traceback: never printed and forgotten, never the end of the process.
local support = require "spec.support"
local vmctl = require "vmctl"

local function breaks_down() error "a bug" end

local function check(ok, err)
  assert.is_false(ok)
  assert.match("callback_error_not_lost_spec.lua:%d+: a bug\nstack traceback:", err)
  assert.match("callback_error_not_lost_spec.lua:5: in ", err)
end

describe("an error in a task", function()
  it("comes out of vmctl.run", function()
    check(pcall(vmctl.run, breaks_down))
    check(pcall(vmctl.run, function() vmctl.spawn(breaks_down) end))
    check(pcall(vmctl.run, function()
      vmctl.spawn(function() vmctl.spawn(breaks_down) end)
    end))
  end)

  it("comes out of join, and only there", support.run(function()
    local task = vmctl.spawn(breaks_down)
    check(pcall(task.join, task))
    assert.is_true(vmctl.sleep(0.001))
  end))

  it("comes out of the scope when the join has timed out before", support.run(function()
    check(pcall(vmctl.scope, function()
      local task = vmctl.spawn(function()
        vmctl.sleep(0.005)
        breaks_down()
      end)
      assert.equal("ETIMEDOUT", support.code(task:join(0.001)))
      vmctl.sleep(60)
    end))
  end))

  it("comes out of map, all and race", support.run(function()
    check(pcall(vmctl.map, { 1, 2, 3 }, function(i) if i == 2 then breaks_down() end end))
    check(pcall(vmctl.all, { breaks_down, function() vmctl.sleep(60) end }))
    check(pcall(vmctl.race, { breaks_down, function() vmctl.sleep(60) end }))
  end))

  it("comes out of the call that a plain script waits in", function()
    vmctl.spawn(breaks_down)
    check(pcall(vmctl.sleep, 60))
    vmctl.spawn(breaks_down)
    check(pcall(vmctl.loop.step, 0))
    vmctl.spawn(breaks_down)
    local near, far = support.pair()
    check(pcall(near.read, near, 1, 60))
    near:close()
    far:close()
  end)

  it("comes out of vmctl.run when it belongs to no scope; what runs there is cancelled", function()
    local seen
    vmctl.spawn(function()
      vmctl.sleep(0.002)
      breaks_down()
    end)
    check(pcall(vmctl.run, function() seen = support.code(vmctl.sleep(60)) end))
    assert.equal("ECANCELED", seen)
  end)

  it("comes out of the wait that follows, when it happens in the last round of another", function()
    vmctl.spawn(function()
      vmctl.sleep(0.001)
      breaks_down()
    end)
    local ok, err = pcall(function()
      for _ = 1, 1000 do vmctl.sleep(0.0005) end
    end)
    check(ok, err)
  end)

  it("keeps its traceback through a generator's caller", support.run(function()
    local generator = vmctl.wrap(breaks_down)
    local ok, err = pcall(generator)
    assert.is_false(ok)
    assert.match("callback_error_not_lost_spec.lua:%d+: a bug", err)
  end))
end)
