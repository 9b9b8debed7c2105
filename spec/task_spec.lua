local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

describe("a task's functions", function()
  it("raise at the caller's line for what is no function, list or number", function()
    for words, call in pairs {
      ["run: a function expected, got nil"] = function() vmctl.run() end,
      ["scope: a function expected, got string"] = function() vmctl.scope "x" end,
      ["spawn: a function expected, got nil"] = function() vmctl.spawn() end,
      ["timeout: a function expected, got nil"] = function() vmctl.timeout(1) end,
      ["timeout: a number expected, got function"] = function() vmctl.timeout(print, 1) end,
      ["map: a table expected, got nil"] = function() vmctl.map() end,
      ["map: a function expected, got nil"] = function() vmctl.map {} end,
      ["all: a table expected, got function"] = function() vmctl.all(print) end,
      ["all: a function expected, got number"] = function() vmctl.all({}, 1) end,
      ["race: a table expected, got function"] = function() vmctl.race(print) end,
    } do
      local ok, err = pcall(call)
      assert.is_false(ok)
      assert.matches("^[^\n]*task_spec%.lua:%d+: " .. words .. "$", err)
    end
  end)

  it("take what can be called", function()
    local callable = setmetatable({}, { __call = function(_, ...) return select("#", ...) end })
    assert.equal(2, vmctl.timeout(1, callable, 1, 2))
    assert.equal(1, vmctl.scope(callable))
  end)
end)

describe("vmctl.run", function()
  it("gives back what the function returned", function()
    assert.same({ n = 4, 1, nil, "x", nil }, table.pack(vmctl.run(function(a) return a, nil, "x", nil end, 1)))
  end)

  it("raises the function's error with its traceback", function()
    local function culprit() error("broken") end
    local ok, err = pcall(vmctl.run, function() culprit() return 1 end)
    assert.is_false(ok)
    assert.match("task_spec.lua:%d+: broken\nstack traceback:", err)
    assert.match("culprit", err)
  end)

  it("raises an error object as it is", function()
    local object = setmetatable({}, { __tostring = function() return "an object" end })
    local ok, err = pcall(vmctl.run, error, object)
    assert.is_false(ok)
    assert.equal(object, err)
    assert.same({ n = 2, false, nil }, table.pack(pcall(vmctl.run, error, nil)))
  end)

  it("ends when the tasks have ended that the function spawned", function()
    local ended = false
    vmctl.run(function()
      vmctl.spawn(function()
        vmctl.sleep(0.005)
        ended = true
      end)
    end)
    assert.is_true(ended)
  end)

  it("raises the error of a task that nobody joins", function()
    local ok, err = pcall(vmctl.run, function()
      vmctl.spawn(error, "from a child", 0)
      return vmctl.sleep(1)
    end)
    assert.is_false(ok)
    assert.match("^from a child", err)
  end)

  it("is a scope of its own inside a task", support.run(function()
    local inner
    assert.equal("done", vmctl.run(function()
      inner = vmctl.spawn(vmctl.sleep, 0.005)
      return "done"
    end))
    assert.equal("done", inner:status())
  end))

  it("returns EDEADLK when its tasks wait for each other, and leaves none behind", function()
    local closed, channel = 0, vmctl.channel()
    local function waits()
      local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
      return channel:recv()
    end
    assert.equal("EDEADLK", code(vmctl.run(function()
      vmctl.spawn(waits)
      return waits()
    end)))
    assert.equal(2, closed)
  end)

  it("sees a deadlock at once, whatever time-outs earlier waits had", function()
    assert.equal("EDEADLK", code(vmctl.run(function()
      local a, b = support.pair()
      vmctl.spawn(b.write, b, "x")
      assert(a:read(1, 3600))
      b:close()
      a:close()
      return vmctl.channel():recv()
    end)))
  end)
end)

describe("a plain script", function()
  it("drives the loop for as long as a call waits", function()
    local a, b = support.pair()
    vmctl.spawn(function() b:write(b:read_line():upper() .. "\n") end)
    assert(a:write "hello\n")
    assert.equal("HELLO", a:read_line())
    assert.is_false(vmctl.in_task())
    a:close()
    b:close()
  end)

  it("may sleep, yield, join and open scopes", function()
    assert.is_true(vmctl.sleep(0.001))
    assert.is_true(vmctl.yield())
    assert.equal(7, vmctl.spawn(function() return 7 end):join())
    assert.equal(8, vmctl.scope(function() return vmctl.spawn(function() return 8 end):join() end))
  end)

  it("gets EDEADLK where nothing is left that could wake it", function()
    assert.equal("EDEADLK", code(vmctl.channel():recv()))
  end)

  it("hears at once of the failure of a task that belongs to no scope", function()
    local a, b = support.pair()
    vmctl.spawn(function() error("an orphan", 0) end)
    local ok, err = pcall(a.read, a, 1, 60)
    assert.is_false(ok)
    assert.match("^an orphan", err)
    assert(b:write "x")
    assert.equal("x", a:read(1, 1)) -- the wait that was broken off has left nothing behind
    a:close()
    b:close()
  end)

  it("hears of such a failure when it only yields", function()
    vmctl.spawn(function() error("an orphan", 0) end)
    local ok, err = pcall(function()
      for _ = 1, 10 do vmctl.yield() end
    end)
    assert.is_false(ok)
    assert.match("^an orphan", err)
  end)
end)

describe("vmctl.spawn", function()
  it("starts the task when the caller waits, not before", support.run(function()
    local order = {}
    vmctl.spawn(function() order[#order + 1] = "task" end)
    order[#order + 1] = "caller"
    vmctl.yield()
    assert.same({ "caller", "task" }, order)
  end))

  it("passes any number of arguments", support.run(function()
    local task = vmctl.spawn(function(...) return select("#", ...), (select(-1, ...)) end, table.unpack({}, 1, 70000))
    assert.same({ 70000, nil }, { task:join() })
  end))

  it("raises at the caller's line for what is no function", function()
    local ok, err = pcall(function() vmctl.spawn(nil) end)
    assert.is_false(ok)
    assert.match("task_spec.lua:%d+: spawn: a function expected", err)
  end)
end)

describe("vmctl.Task", function()
  it("gives its results to each who joins, before and after its end", support.run(function()
    local task = vmctl.spawn(function()
      vmctl.sleep(0.002)
      return 1, nil, 3
    end)
    local early = vmctl.spawn(function() return task:join() end)
    assert.same({ n = 3, 1, nil, 3 }, table.pack(task:join()))
    assert.same({ n = 3, 1, nil, 3 }, table.pack(task:join(0)))
    assert.same({ n = 3, 1, nil, 3 }, table.pack(early:join()))
  end))

  it("raises its error in who joins, with the traceback of the task", support.run(function()
    local function culprit() error { "an object" } end
    local task = vmctl.spawn(function() culprit() end)
    local ok, err = pcall(task.join, task)
    assert.same({ false, { "an object" } }, { ok, err })
    task = vmctl.spawn(function() error "a text" end)
    ok, err = pcall(task.join, task)
    assert.is_false(ok)
    assert.match("task_spec.lua:%d+: a text\nstack traceback:", err)
    assert.equal("failed", task:status())
  end))

  it("keeps its one result or its error for all who join, and not its coroutine", support.run(function()
    local threads = setmetatable({}, { __mode = "k" })
    local function ends_with(ending)
      return vmctl.spawn(function()
        threads[coroutine.running()] = true
        vmctl.yield()
        return ending()
      end)
    end
    local tasks = { ends_with(function() return "one" end), ends_with(function() end), ends_with(function() error({ 7 }) end),
      ends_with(function() error(nil) end) }
    tasks[3]:cancel() -- so that their failures are not the test's
    tasks[4]:cancel()
    vmctl.yield()
    vmctl.yield()
    vmctl.yield()
    collectgarbage()
    assert.is_nil(next(threads))
    for _ = 1, 2 do
      assert.same({ n = 1, "one" }, table.pack(tasks[1]:join()))
      assert.equal(0, select("#", tasks[2]:join()))
      assert.same({ n = 2, false, { 7 } }, table.pack(pcall(tasks[3].join, tasks[3])))
      assert.same({ n = 2, false, nil }, table.pack(pcall(tasks[4].join, tasks[4])))
    end
  end))

  it("lives in the place of one that has ended", support.run(function()
    local function wave(size)
      local ended = {}
      for i = 1, size do
        vmctl.spawn(function()
          for _ = 1, i % 4 do vmctl.yield() end
          ended[#ended + 1] = i
        end)
      end
      for _ = 1, 2 do vmctl.yield() end
      collectgarbage()
      return ended
    end
    local waves = { wave(100), wave(300), wave(7), wave(200) }
    for _ = 1, 6 do vmctl.yield() end
    for i, size in ipairs { 100, 300, 7, 200 } do
      table.sort(waves[i])
      assert.equal(size, #waves[i])
      for k = 1, size do assert.equal(k, waves[i][k]) end
    end
  end))

  it("returns ETIMEDOUT when it is joined for too short a time, and goes on", support.run(function()
    local task = vmctl.spawn(function()
      vmctl.sleep(0.02)
      return "in the end"
    end)
    assert.equal("ETIMEDOUT", code(task:join(0)))
    assert.equal("ETIMEDOUT", code(task:join(-1)))
    assert.equal("ETIMEDOUT", code(task:join { timeout = 0.001 }))
    assert.equal("in the end", task:join(30))
  end))

  it("cannot join itself", support.run(function()
    local task
    task = vmctl.spawn(function() return pcall(task.join, task) end)
    assert.is_false((task:join()))
  end))

  it("tells its status", support.run(function()
    local seen
    local task
    task = vmctl.spawn(function()
      seen = task:status()
      vmctl.sleep(0.002)
    end)
    assert.equal("ready", task:status())
    vmctl.yield()
    assert.equal("running", seen)
    assert.equal("waiting", task:status())
    task:join()
    assert.equal("done", task:status())
  end))

  it("fails when it calls coroutine.yield, and says what to use", support.run(function()
    local task = vmctl.spawn(coroutine.yield, 1)
    local ok, err = pcall(task.join, task)
    assert.is_false(ok)
    assert.match("vmctl.wrap", err)
  end))

  it("runs its <close> variables when it fails, and they may wait", support.run(function()
    local closed
    local task = vmctl.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() closed = vmctl.sleep(0.002) end })
      error "broken"
    end)
    assert.is_false((pcall(task.join, task)))
    assert.is_true(closed)
  end))
end)

describe("vmctl.sleep", function()
  it("returns true when the time has passed", support.run(function()
    local seconds, slept = support.passed(vmctl.sleep, 10)
    assert.is_true(slept)
    assert.is_true(seconds >= 10 and seconds < 25, seconds)
  end))

  it("wakes the tasks in the order of their times", support.run(function()
    local order = {}
    support.passed(vmctl.map, { 4, 2, 3, 1 }, function(seconds)
      vmctl.sleep(seconds)
      order[#order + 1] = seconds
    end)
    assert.same({ 1, 2, 3, 4 }, order)
  end))

  it("raises for what is no time", support.run(function()
    assert.is_false((pcall(vmctl.sleep, "soon")))
    assert.is_false((pcall(vmctl.sleep, 0 / 0)))
    assert.is_false((pcall(vmctl.sleep)))
  end))
end)

describe("a task that never has to wait", function()
  local function let_others_run(work)
    local others = false
    vmctl.spawn(function() others = true end)
    local last = vmctl.now() + 30
    repeat work() until others or vmctl.now() > last
    assert.is_true(others)
  end

  it("lets others run when it reads what is there", support.run(function()
    local a, b = support.pair()
    let_others_run(function()
      b:write "x"
      a:read(1)
    end)
  end))

  it("lets others run when it reads frames that are there, and none of those is lost", support.run(function()
    local a, b = support.pair { format = { max = 10 } }
    local sent, got, others = {}, {}, nil
    for i = 1, 1000 do sent[i] = ("%d"):format(i) end
    b:write_frames(sent)
    got[1] = a:read_frame()
    vmctl.spawn(function() others = #got end)
    while #got < #sent do got[#got + 1] = a:read_frame() end
    assert.is_true(others and others < #sent)
    assert.same(sent, got)
  end))

  it("lets others run when it sends and receives", support.run(function()
    local channel = vmctl.channel(1)
    let_others_run(function()
      channel:send(1)
      channel:recv()
    end)
  end))

  it("lets others run when it polls with a time-out of 0", support.run(function()
    local channel = vmctl.channel(1)
    let_others_run(function() channel:recv(0) end)
  end))

  it("lets others run when it sleeps for no time", support.run(function()
    let_others_run(function() vmctl.sleep(0) end)
    let_others_run(function() vmctl.sleep(-1) end)
  end))

  it("lets the loop run when a plain script polls", function()
    local channel = vmctl.channel(1)
    vmctl.spawn(function() channel:send("late", 30) end)
    local got
    local last = vmctl.now() + 30
    repeat got = channel:recv(0) until got or vmctl.now() > last
    assert.equal("late", got)
  end)

  it("comes to the end of vmctl.timeout", support.run(function()
    local a, b = support.pair()
    assert.equal("ETIMEDOUT", code(vmctl.timeout(0.02, function()
      while true do
        local ok, err, why = b:write "x"
        if not ok then return nil, err, why end
        ok, err, why = a:read(1)
        if not ok then return nil, err, why end
      end
    end)))
  end))
end)
