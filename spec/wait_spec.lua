local support = require "spec.support"
local vmctl = require "vmctl"

-- A wait that others have their turn during: returns its argument.
local function wait(value)
  local ran = false
  vmctl.spawn(function() ran = true end)
  repeat assert(vmctl.sleep(0.001)) until ran -- a sleep may be over before others had their turn
  return value
end

local function raises(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.match(pattern, err)
end

describe("a wait in a task", function()
  it("may be made inside of pcall, which catches what it raises later", support.run(function()
    assert.same({ true, 1 }, { pcall(wait, 1) })
    local ok, err = pcall(function()
      wait()
      error("after the wait", 0)
    end)
    assert.same({ false, "after the wait" }, { ok, err })
  end))

  it("may be made inside of xpcall, whose handler is still there", support.run(function()
    assert.same({ true, 2 }, { xpcall(wait, debug.traceback, 2) })
    assert.same({ false, "handled: x" }, { xpcall(function()
      wait()
      error("x", 0)
    end, function(err) return "handled: " .. err end) })
  end))

  it("may be made inside of nested pcalls", support.run(function()
    assert.same({ true, true, true, 3 }, { pcall(pcall, pcall, wait, 3) })
  end))

  it("may be made inside of metamethods", support.run(function()
    local mt = {
      __index = function(_, key) return wait(key) end,
      __newindex = function(t, key, value) rawset(t, key, wait(value)) end,
      __call = function(_, value) return wait(value) end,
      __add = function(_, n) return wait(n) end,
      __unm = function() return wait "minus" end,
      __concat = function(_, text) return wait(text) end,
      __len = function() return wait(9) end,
      __eq = function() return wait(true) end,
      __lt = function() return wait(true) end,
      __le = function() return wait(false) end,
    }
    local t, u = setmetatable({}, mt), setmetatable({}, mt)
    assert.equal("field", t.field)
    t.set = 4
    assert.equal(4, rawget(t, "set"))
    assert.equal(5, t(5))
    assert.equal(6, t + 6)
    assert.equal("minus", -t)
    assert.equal("text", t .. "text")
    assert.equal(9, #t)
    assert.is_true(t == u)
    assert.is_true(t < u)
    assert.is_false(t <= u)
  end))

  it("may be made inside of iterators", support.run(function()
    local seen = {}
    for value in function(_, last) return wait(last < 3 and last + 1 or nil) end, nil, 0 do seen[#seen + 1] = value end
    assert.same({ 1, 2, 3 }, seen)
  end))

  it("may be made while a <close> variable is closed", support.run(function()
    local closed
    local function guarded()
      local _ <close> = setmetatable({}, { __close = function() closed = wait "closed" end })
      return "result"
    end
    assert.equal("result", guarded())
    assert.equal("closed", closed)
  end))

  it("raises inside of a sort comparator, and harms nothing", support.run(function()
    raises("can not yield", table.sort, { 3, 2, 1 }, function(a, b)
      vmctl.sleep(0.001)
      return a < b
    end)
    wait()
  end))

  it("raises inside of a gsub callback", support.run(function()
    raises("can not yield", string.gsub, "x", ".", function() vmctl.sleep(0.001) end)
    wait()
  end))

  it("raises inside of a finalizer", support.run(function()
    local ok, err
    setmetatable({}, { __gc = function() ok, err = pcall(vmctl.sleep, 0.001) end })
    collectgarbage()
    collectgarbage()
    assert.is_false(ok)
    assert.match("can not yield", err)
    wait()
  end))

  it("raises in a coroutine that vmctl did not make, and names vmctl.wrap", support.run(function()
    local co = coroutine.create(function() return vmctl.sleep(0.001) end)
    local ok, err = coroutine.resume(co)
    assert.is_false(ok)
    assert.match("vmctl.wrap", err)
    wait()
  end))
end)

describe("a wait in a plain script", function()
  it("may be made anywhere, in a sort comparator too", function()
    local list = { 3, 1, 2 }
    table.sort(list, function(a, b)
      wait()
      return a < b
    end)
    assert.same({ 1, 2, 3 }, list)
  end)

  it("raises in a coroutine, and names vmctl.wrap", function()
    raises("vmctl.wrap", coroutine.wrap(function() return vmctl.sleep(0.001) end))
    raises("vmctl.wrap", coroutine.wrap(function() return vmctl.yield() end))
  end)

  it("is not to come in a coroutine: scopes and time-outs raise there, and leave the script alone", function()
    raises("vmctl.wrap", coroutine.wrap(vmctl.scope), coroutine.yield)
    raises("vmctl.wrap", coroutine.wrap(vmctl.run), coroutine.yield)
    raises("vmctl.wrap", coroutine.wrap(vmctl.timeout), 0, coroutine.yield)
    wait()
  end)

  it("does not step a loop that is being driven", support.run(function()
    raises("step inside of a task", vmctl.loop.step, 0)
  end))
end)

describe("vmctl.wrap", function()
  it("makes a generator as coroutine.wrap does", support.run(function()
    local generator = vmctl.wrap(function(a, b)
      local c, d = coroutine.yield(a, b)
      return c, d
    end)
    assert.same({ 1, 2 }, { generator(1, 2) })
    assert.same({ n = 2, nil, 4 }, table.pack(generator(nil, 4)))
    raises("dead generator", generator)
  end))

  it("lets waits through to the task, and its own yields to its caller", support.run(function()
    local function numbers(n)
      return vmctl.wrap(function()
        for i = 1, n do
          wait()
          coroutine.yield(i)
          wait()
        end
      end)
    end
    local seen = {}
    for i in numbers(3) do seen[#seen + 1] = i end
    assert.same({ 1, 2, 3 }, seen)
  end))

  it("nests", support.run(function()
    local inner = vmctl.wrap(function()
      for i = 1, 3 do coroutine.yield(wait(i)) end
    end)
    local outer = vmctl.wrap(function()
      for i in inner do coroutine.yield(wait(i) * 10) end
    end)
    local seen = {}
    for i in outer do seen[#seen + 1] = i end
    assert.same({ 10, 20, 30 }, seen)
  end))

  it("works in a plain script", function()
    local generator = vmctl.wrap(function() coroutine.yield(wait(1)) end)
    assert.equal(1, generator())
    assert.is_nil(generator())
  end)

  it("works in a stranger's coroutine as long as it does not wait there", support.run(function()
    local generator = vmctl.wrap(function()
      coroutine.yield(1)
      vmctl.sleep(0.001)
    end)
    assert.equal(1, coroutine.wrap(generator)())
    raises("vmctl.wrap", coroutine.wrap(generator))
  end))

  it("raises what its function raises, and is dead then", support.run(function()
    local closed
    local generator = vmctl.wrap(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      wait()
      error "broken"
    end)
    raises("wait_spec.lua:%d+: broken", generator)
    assert.is_true(closed)
    raises("dead generator", generator)
    local object = {}
    local ok, err = pcall(vmctl.wrap(function() error(object) end))
    assert.is_false(ok)
    assert.equal(object, err)
  end))

  it("gets the failures of its waits as any other code", support.run(function()
    local task = vmctl.spawn(function()
      return vmctl.wrap(function() return vmctl.sleep(60) end)()
    end)
    vmctl.yield()
    task:cancel()
    assert.equal("ECANCELED", support.code(task:join()))
    assert.equal("ETIMEDOUT", support.code(vmctl.timeout(0.005, vmctl.wrap(vmctl.sleep), 60)))
  end))

  it("refuses a second task while one waits inside it", support.run(function()
    local a, b = support.pair()
    local lines = vmctl.wrap(function()
      while true do coroutine.yield(a:read_line()) end
    end)
    local first = vmctl.spawn(function() return lines() end)
    vmctl.yield()
    raises("another task is waiting", lines)
    b:write "one\ntwo\n"
    assert.equal("one", first:join())
    assert.equal("two", lines())
  end))

  it("refuses to be called by itself", support.run(function()
    local generator, other
    generator = vmctl.wrap(function() return pcall(generator, 1) end)
    assert.is_false((generator()))
    generator = vmctl.wrap(function() return other(2) end)
    other = vmctl.wrap(function() return pcall(generator, 3) end)
    assert.is_false((generator()))
    wait()
  end))

  it("raises for a wait that a sort comparator makes through it, and harms nothing", support.run(function()
    local generator = vmctl.wrap(function()
      while true do coroutine.yield(vmctl.sleep(0.001)) end
    end)
    raises("can not yield", table.sort, { 3, 2, 1 }, function(a, b)
      generator()
      return a < b
    end)
    wait()
  end))
end)
