local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

describe("task:cancel", function()
  it("ends the present wait with ECANCELED", support.run(function()
    local task = vmctl.spawn(vmctl.sleep, 60)
    vmctl.yield()
    task:cancel()
    assert.equal("ECANCELED", code(task:join()))
  end))

  it("lets a task that has not begun run up to its first wait", support.run(function()
    local began = false
    local task = vmctl.spawn(function()
      began = true
      return vmctl.sleep(60)
    end)
    task:cancel()
    assert.equal("ECANCELED", code(task:join()))
    assert.is_true(began)
  end))

  it("refuses the next wait as well, whatever it is", support.run(function()
    local a, b = support.pair()
    local waits = {
      function() return code(a:read(1, 60)) end,
      function() return code(vmctl.channel():recv(0)) end,
      function() return code(vmctl.yield()) end,
      function() return code(vmctl.sleep(0)) end,
      function() return vmctl.map({ 60 }, function(seconds) return code(vmctl.sleep(seconds)) end)[1] end,
    }
    local codes, tasks = {}, {}
    for i, wait in ipairs(waits) do
      tasks[i] = vmctl.spawn(function() codes[i] = { code(vmctl.sleep(60)), wait() } end)
    end
    vmctl.yield()
    for i, task in ipairs(tasks) do
      task:cancel()
      task:join()
      assert.same({ "ECANCELED", "ECANCELED" }, codes[i])
    end
    b:close()
  end))

  it("ends a task that goes on waiting with an error for who joins it", support.run(function()
    local refused = 0
    local task = vmctl.spawn(function()
      while true do
        vmctl.sleep(60)
        refused = refused + 1
      end
    end)
    vmctl.yield()
    task:cancel()
    local ok, err = pcall(task.join, task)
    assert.is_false(ok)
    assert.match("cancelled", err)
    assert.equal(2, refused) -- the wait that was cancelled, and the next; the one after that raised
  end))

  it("ends one that never waits because there is always something to read", support.run(function()
    local a, b = support.pair()
    local reader = vmctl.spawn(function()
      while true do
        assert(b:write "x")
        assert(a:read(1))
      end
    end)
    vmctl.yield()
    reader:cancel()
    local ok, err = pcall(reader.join, reader)
    assert.is_false(ok)
    assert.match("cancelled", err)
  end))

  it("is no failure of the scope, however the task ends", support.run(function()
    local task = vmctl.spawn(function() assert(vmctl.sleep(60)) end)
    vmctl.yield()
    task:cancel()
    assert.is_true(vmctl.sleep(0.002))
    assert.equal("failed", task:status())
  end))

  it("does nothing to a task that has ended", support.run(function()
    local task = vmctl.spawn(function() return 5 end)
    assert.equal(5, task:join())
    task:cancel()
    assert.equal(5, task:join())
  end))

  it("does not refuse waits to who was cancelled in an earlier scope only", support.run(function()
    for _ = 1, 250 do -- more often than a stubborn task is forgiven
      vmctl.scope(function(scope)
        scope:cancel()
        assert.equal("ECANCELED", code(vmctl.sleep(60)))
      end)
      assert.is_true(vmctl.yield())
    end
  end))
end)

describe("vmctl.timeout", function()
  it("gives back what the function returned", support.run(function()
    assert.same({ n = 3, 1, nil, nil }, table.pack(vmctl.timeout(1, function() return 1, nil, nil end)))
  end))

  it("bounds each wait inside it, however long that was to be", support.run(function()
    local a, b = support.pair()
    local seconds = support.passed(vmctl.timeout, 10, function()
      assert.equal("ETIMEDOUT", code(a:read(1, 3600)))
      assert.equal("ETIMEDOUT", code(vmctl.sleep(3600)))
      assert.is_false((pcall(vmctl.sleep, 3600)))
    end)
    assert.is_true(seconds >= 10 and seconds < 25, seconds)
    b:close()
  end))

  it("bounds the tasks that are spawned inside it", support.run(function()
    local task = vmctl.timeout(0.01, vmctl.spawn, vmctl.sleep, 60)
    assert.equal("ETIMEDOUT", code(task:join()))
  end))

  it("is over when the function has ended, by an error too", support.run(function()
    vmctl.timeout(0.001, function() end)
    assert.is_false((pcall(vmctl.timeout, 0.001, error, "x")))
    assert.is_true(vmctl.sleep(0.005))
  end))

  it("nests: the earlier end counts", support.run(function()
    vmctl.timeout(0.02, function()
      assert.equal("ETIMEDOUT", code(vmctl.timeout(60, vmctl.sleep, 60)))
    end)
    vmctl.timeout(60, function()
      assert.equal("ETIMEDOUT", code(vmctl.timeout(0.005, vmctl.sleep, 60)))
      assert.is_true(vmctl.sleep(0.001))
    end)
  end))

  it("bounds a plain script as well", function()
    assert.equal("ETIMEDOUT", code(vmctl.timeout(0.005, vmctl.sleep, 60)))
    assert.is_true(vmctl.sleep(0.001))
  end)
end)
