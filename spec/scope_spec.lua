local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

local function noting(list, name)
  return setmetatable({}, { __close = function() list[#list + 1] = name end })
end

describe("vmctl.scope", function()
  it("gives back what the function returned, once its tasks have ended", support.run(function()
    local ended = 0
    local results = table.pack(vmctl.scope(function(scope)
      for _ = 1, 3 do
        vmctl.spawn_in(scope, function()
          vmctl.sleep(0.003)
          ended = ended + 1
        end)
      end
      return 1, nil, nil
    end))
    assert.same({ n = 3, 1, nil, nil }, results)
    assert.equal(3, ended)
  end))

  it("passes further arguments to the function", support.run(function()
    assert.same({ 2, 3 }, { vmctl.scope(function(_, a, b) return a, b end, 2, 3) })
  end))

  it("is where vmctl.spawn puts its tasks", support.run(function()
    local task
    vmctl.scope(function() task = vmctl.spawn(vmctl.sleep, 0.003) end)
    assert.equal("done", task:status())
  end))

  it("raises the first error, and cancels the other tasks and the function", support.run(function()
    local codes = {}
    local ok, err = pcall(vmctl.scope, function()
      vmctl.spawn(function() codes.task = code(vmctl.sleep(60)) end)
      vmctl.spawn(function()
        vmctl.sleep(0.002)
        error("the first", 0)
      end)
      vmctl.spawn(function()
        vmctl.sleep(60)
        error("a consequence", 0)
      end)
      codes.body = code(vmctl.sleep(60))
      codes.later = code(vmctl.sleep(60))
      error("another consequence", 0)
    end)
    assert.is_false(ok)
    assert.match("^the first\nstack traceback:", err)
    assert.same({ task = "ECANCELED", body = "ECANCELED", later = "ECANCELED" }, codes)
    assert.is_true(vmctl.sleep(0.001)) -- cancelled were those inside
  end))

  it("cancels its tasks when the function raises, and waits for them", support.run(function()
    local seen
    local ok, err = pcall(vmctl.scope, function()
      vmctl.spawn(function()
        seen = code(vmctl.sleep(60))
        local closed <close> = noting({}, "x") -- luacheck: ignore
      end)
      vmctl.yield()
      error "from the body"
    end)
    assert.is_false(ok)
    assert.match("scope_spec.lua:%d+: from the body\nstack traceback:", err)
    assert.equal("ECANCELED", seen)
  end))

  it("raises an error object as it is", support.run(function()
    local object = {}
    local ok, err = pcall(vmctl.scope, function() vmctl.spawn(error, object) end)
    assert.is_false(ok)
    assert.equal(object, err)
  end))

  it("does not hear of an error that somebody joins", support.run(function()
    assert.is_true(vmctl.scope(function()
      local task = vmctl.spawn(error, "x")
      return not pcall(task.join, task)
    end))
  end))

  it("lets the tasks of an inner scope end first", support.run(function()
    local order = {}
    vmctl.scope(function()
      vmctl.spawn(function()
        vmctl.scope(function()
          vmctl.spawn(function()
            vmctl.sleep(0.002)
            order[#order + 1] = "innermost"
          end)
        end)
        order[#order + 1] = "inner"
      end)
    end)
    order[#order + 1] = "outer"
    assert.same({ "innermost", "inner", "outer" }, order)
  end))

  it("carries an error outwards, and cancellation inwards", support.run(function()
    local codes, closed = {}, {}
    local ok, err = pcall(vmctl.scope, function()
      vmctl.spawn(function()
        local _ <close> = noting(closed, "middle")
        vmctl.scope(function()
          local _ <close> = noting(closed, "body")
          vmctl.spawn(function()
            local _ <close> = noting(closed, "task")
            codes.task = code(vmctl.sleep(60))
          end)
          codes.body = code(vmctl.sleep(60))
        end)
        codes.after = code(vmctl.sleep(60))
      end)
      vmctl.spawn(function()
        vmctl.scope(function()
          vmctl.spawn(function()
            vmctl.sleep(0.002)
            error("deep inside", 0)
          end)
        end)
      end)
    end)
    assert.is_false(ok)
    assert.match("^deep inside", err)
    assert.same({ task = "ECANCELED", body = "ECANCELED", after = "ECANCELED" }, codes)
    table.sort(closed)
    assert.same({ "body", "middle", "task" }, closed)
  end))

  it("is cancelled from the start when a cancelled task opens it", support.run(function()
    local inside
    local task = vmctl.spawn(function()
      vmctl.sleep(60)
      vmctl.scope(function()
        vmctl.spawn(function() inside = code(vmctl.sleep(60)) end)
      end)
    end)
    vmctl.yield()
    task:cancel()
    task:join()
    assert.equal("ECANCELED", inside)
  end))

  it("can be cancelled by hand, from outside too", support.run(function()
    local seen = {}
    local function waits(name)
      seen[name] = code(vmctl.sleep(60))
    end
    local task = vmctl.spawn(function()
      return vmctl.scope(function(scope)
        seen.scope = scope
        vmctl.spawn(waits, "task")
        waits "body"
        return "ended"
      end)
    end)
    support.settle()
    seen.scope:cancel()
    assert.equal("ended", task:join())
    assert.same({ "ECANCELED", "ECANCELED" }, { seen.task, seen.body })
  end))

  it("refuses tasks once it has ended", support.run(function()
    local old
    vmctl.scope(function(scope) old = scope end)
    local ok, err = pcall(vmctl.spawn_in, old, function() end)
    assert.is_false(ok)
    assert.match("ended", err)
  end))

  it("leaves no failure behind for the next one", support.run(function()
    for _ = 1, 3 do
      assert.is_false((pcall(vmctl.scope, function() vmctl.spawn(error, "x") end)))
      assert.equal(1, vmctl.scope(function() return 1 end))
    end
  end))

  it("works in a plain script", function()
    local ok, err = pcall(vmctl.scope, function()
      vmctl.spawn(error, "from a task", 0)
      assert.equal("ECANCELED", code(vmctl.sleep(60)))
    end)
    assert.is_false(ok)
    assert.match("^from a task", err)
    assert.is_true(vmctl.sleep(0.001))
  end)

  it("ends tasks of a plain script that nothing can wake any more", function()
    local seen
    vmctl.scope(function()
      vmctl.spawn(function() seen = code(vmctl.channel():recv()) end)
    end)
    assert.equal("ECANCELED", seen)
  end)
end)

describe("vmctl.map", function()
  it("gives the results in the order of the list", support.run(function()
    assert.same({ n = 4, 16, 4, 12, 8 }, vmctl.map({ 4, 1, 3, 2 }, function(item)
      vmctl.sleep(item / 1000)
      return item * 4
    end))
  end))

  it("passes the index, and keeps the place of a nil", support.run(function()
    assert.same({ n = 3, 1, nil, 3 }, vmctl.map({ "a", "b", "c" }, function(item, i)
      return item ~= "b" and i or nil
    end))
  end))

  it("does not wait for an empty list", support.run(function()
    assert.same({ n = 0 }, vmctl.map({}, error))
  end))

  it("runs no more than `concurrency` calls at a time, and as many", support.run(function()
    local now, most = 0, 0
    local results = vmctl.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(item)
      now = now + 1
      most = math.max(most, now)
      support.settle()
      now = now - 1
      return item
    end, { concurrency = 3 })
    assert.same({ n = 8, 1, 2, 3, 4, 5, 6, 7, 8 }, results)
    assert.equal(3, most)
  end))

  it("raises the first error and cancels the others", support.run(function()
    local codes, began = {}, 0
    local ok, err = pcall(vmctl.map, { 1, 2, 3, 4 }, function(item)
      began = began + 1
      if item == 2 then error("number two", 0) end
      codes[item] = code(vmctl.sleep(60))
    end, { concurrency = 2 })
    assert.is_false(ok)
    assert.match("^number two", err)
    assert.equal("ECANCELED", codes[1])
  end))

  it("raises for a concurrency that is none", support.run(function()
    assert.is_false((pcall(vmctl.map, { 1 }, print, { concurrency = 0 })))
    assert.is_false((pcall(vmctl.map, { 1 }, print, { concurrency = 1.5 })))
  end))
end)

describe("vmctl.all", function()
  it("calls functions side by side", support.run(function()
    local channel = vmctl.channel()
    assert.same({ n = 2, "sent", true }, vmctl.all {
      function() return channel:recv() end,
      function() return channel:send "sent" end,
    })
  end))

  it("calls one function with each item", support.run(function()
    assert.same({ n = 2, 10, 20 }, vmctl.all({ 1, 2 }, function(item) return item * 10 end))
  end))
end)

describe("vmctl.race", function()
  it("gives the results of the first that returns, and cancels the others", support.run(function()
    local loser
    assert.same({ n = 3, "fast", nil, 1 }, table.pack(vmctl.race {
      function() loser = code(vmctl.sleep(60)) end,
      function()
        vmctl.sleep(0.002)
        return "fast", nil, 1
      end,
    }))
    assert.equal("ECANCELED", loser)
  end))

  it("does not hear how the losers end", support.run(function()
    assert.equal("fast", vmctl.race {
      function() assert(vmctl.sleep(60)) end,
      function() return vmctl.sleep(0.002) and "fast" end,
    })
  end))

  it("raises an error that comes before any result", support.run(function()
    local ok, err = pcall(vmctl.race, {
      function() vmctl.sleep(60) end,
      function() error("at once", 0) end,
    })
    assert.is_false(ok)
    assert.match("^at once", err)
  end))

  it("fails with EINVAL when there is nobody to win", support.run(function()
    assert.equal("EINVAL", code(vmctl.race {}))
  end))
end)
