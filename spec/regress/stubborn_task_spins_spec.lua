-- A loop around a wait spun for ever once the time limit around it was over, or its task was cancelled: every wait failed at once.
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

-- The same in a task and in a plain script.
local function both_ways(title, fn)
  it(title .. " in a task", support.run(fn))
  it(title .. " in a plain script", function() fn() end)
end

describe("code that waits again and again is ended by its second wait", function()
  both_ways("after a vmctl.timeout", function()
    local late = 0
    local ok, message = pcall(vmctl.timeout, 0.01, function()
      while true do
        local done, _, name = vmctl.sleep(0.001)
        if not done then
          assert.equal("ETIMEDOUT", name)
          late = late + 1
        end
      end
    end)
    assert.is_false(ok)
    assert.truthy(message:find("the time limit is over and the task goes on waiting", 1, true), message)
    assert.is_true(late == 1 or late == 2) -- one in the midst of a wait, perhaps, and one at the beginning of the next
  end)

  both_ways("that polls with time-out 0", function()
    local near, far = support.pair()
    local ok = pcall(vmctl.timeout, 0.01, function()
      while not far:read(nil, 0) do end -- luacheck: ignore
    end)
    near:close()
    far:close()
    assert.is_false(ok)
  end)

  both_ways("that dials", function()
    local path = support.tmpdir() .. "/nobody"
    assert.is_false((pcall(vmctl.timeout, 0.02, function()
      while not vmctl.dial("unix:" .. path) do vmctl.sleep(0.005) end
    end)))
  end)

  both_ways("that only lets others run", function()
    assert.is_false((pcall(vmctl.timeout, 0.01, function()
      while true do vmctl.yield() end
    end)))
  end)

  it("after a cancel", support.run(function()
    local names = {}
    local task = vmctl.spawn(function()
      while true do names[#names + 1] = code(vmctl.sleep(60)) end
    end)
    vmctl.sleep(0.001)
    task:cancel()
    local ok, message = pcall(task.join, task)
    assert.is_false(ok)
    assert.truthy(message:find("the task was cancelled and goes on waiting", 1, true), message)
    assert.same({ "ECANCELED", "ECANCELED" }, names)
  end))

  it("when its scope is cancelled", support.run(function()
    local n = 0
    vmctl.scope(function(scope)
      vmctl.spawn(function()
        while true do
          vmctl.sleep(60)
          n = n + 1
        end
      end)
      vmctl.sleep(0.001)
      scope:cancel()
    end)
    assert.equal(2, n)
  end))

  it("and others have their turn although it catches the error and tries again", support.run(function()
    local done, tries = false, 0
    local task = vmctl.spawn(function()
      while not done do
        pcall(vmctl.sleep, 60)
        tries = tries + 1
      end
    end)
    vmctl.sleep(0.001)
    task:cancel()
    assert.is_true(vmctl.sleep(0.001))
    done = true
    task:join()
    assert.is_true(tries > 1)
  end))
end)

describe("a closing method", function()
  local function closing(names)
    return setmetatable({}, { __close = function()
      for _ = 1, 3 do names[#names + 1] = code(vmctl.sleep(0.001)) end
    end })
  end

  both_ways("may wait after the limit, and fails as ever", function()
    local names, ended = {}, nil
    local result, _, name = vmctl.timeout(0.001, function()
      local _ <close> = closing(names)
      local result, message, name = vmctl.sleep(60)
      ended = true
      return result, message, name
    end)
    assert.same({ nil, "ETIMEDOUT" }, { result, name })
    assert.is_true(ended)
    assert.same({ "ETIMEDOUT", "ETIMEDOUT", "ETIMEDOUT" }, names)
  end)

  both_ways("may wait when an error passes, which stays the error", function()
    local names = {}
    local ok, message = pcall(vmctl.timeout, 0.001, function()
      local _ <close> = closing(names)
      local _, message = vmctl.sleep(60)
      error(message, 0)
    end)
    assert.is_false(ok)
    assert.truthy(message:find("sleep: ", 1, true), message)
    assert.same({ "ETIMEDOUT", "ETIMEDOUT", "ETIMEDOUT" }, names)
  end)

  both_ways("may wait when the second wait raised", function()
    local names = {}
    local ok = pcall(vmctl.timeout, 0.001, function()
      local _ <close> = closing(names)
      while true do vmctl.sleep(60) end
    end)
    assert.is_false(ok)
    assert.equal(3, #names)
  end)

  both_ways("is recognised behind a tail call", function()
    local names = {}
    local object = setmetatable({ times = 3 }, { __close = function(self) return self:close() end, __index = {
      close = function(self)
        for _ = 1, self.times do names[#names + 1] = code(vmctl.sleep(0.001)) end
      end,
    } })
    vmctl.timeout(0.001, function()
      local _ <close> = object
      vmctl.sleep(60)
    end)
    assert.same({ "ETIMEDOUT", "ETIMEDOUT", "ETIMEDOUT" }, names)
  end)

  both_ways("that waits for ever is ended as well", function()
    local n = 0
    local ok = pcall(vmctl.timeout, 0.001, function()
      local _ <close> = setmetatable({}, { __close = function()
        while true do
          vmctl.sleep(1)
          n = n + 1
        end
      end })
      vmctl.sleep(60)
    end)
    assert.is_false(ok)
    assert.is_true(n < 300)
  end)
end)

describe("after the limit of a vmctl.timeout", function()
  both_ways("waits outside of it go on", function()
    for _ = 1, 3 do
      vmctl.timeout(0.001, vmctl.sleep, 60)
      assert.is_true(vmctl.sleep(0.001))
    end
  end)

  both_ways("the next limit refuses anew", function()
    for _ = 1, 3 do assert.equal("ETIMEDOUT", code(vmctl.timeout(0, vmctl.sleep, 60))) end
  end)

  both_ways("one inside of it refuses no more than it did", function()
    assert.is_false((pcall(vmctl.timeout, 0, function()
      for _ = 1, 3 do vmctl.timeout(0, vmctl.sleep, 60) end
    end)))
  end)
end)
