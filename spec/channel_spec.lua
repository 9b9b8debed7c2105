local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

local function collect(channel)
  local list = {}
  while true do
    local value, _, why = channel:recv()
    if value == nil then return list, why end
    list[#list + 1] = value
  end
end

describe("vmctl.Channel", function()
  it("keeps as many values as its capacity says, in their order", support.run(function()
    local channel = vmctl.channel(2)
    assert.is_true(channel:send "a")
    assert.is_true(channel:send "b")
    assert.equal("ETIMEDOUT", code(channel:send("c", 0)))
    assert.equal("a", channel:recv())
    assert.is_true(channel:send("c", 0))
    assert.equal("b", channel:recv(0))
    assert.equal("c", channel:recv(0))
    assert.equal("ETIMEDOUT", code(channel:recv(0)))
  end))

  it("without capacity lets a send wait for its receiver", support.run(function()
    local channel = vmctl.channel()
    local order = {}
    local sender = vmctl.spawn(function()
      channel:send(1)
      order[#order + 1] = "sent"
      channel:send(2)
      order[#order + 1] = "sent"
    end)
    vmctl.yield()
    assert.equal("waiting", sender:status())
    assert.same({}, order)
    assert.equal(1, channel:recv())
    vmctl.yield()
    assert.same({ "sent" }, order)
    assert.equal("waiting", sender:status())
    assert.equal(2, channel:recv())
    sender:join()
  end))

  it("wakes a receiver that waits", support.run(function()
    local channel = vmctl.channel()
    local receiver = vmctl.spawn(function() return channel:recv() end)
    vmctl.yield()
    assert.is_true(channel:send("late", 1))
    assert.equal("late", receiver:join())
  end))

  it("carries false, and raises for nil", support.run(function()
    local channel = vmctl.channel(1)
    channel:send(false)
    assert.is_false((channel:recv()))
    assert.is_false((pcall(channel.send, channel, nil)))
  end))

  it("gives what it holds after it was closed, and then ECLOSED", support.run(function()
    local channel = vmctl.channel(2)
    channel:send "last"
    channel:close()
    assert.equal("ECLOSED", code(channel:send("more", 0)))
    assert.equal("last", channel:recv())
    assert.equal("ECLOSED", code(channel:recv()))
    assert.equal("ECLOSED", code(channel:recv(0)))
    assert.is_true(channel:close())
  end))

  it("wakes all that wait with ECLOSED when it is closed", support.run(function()
    local empty, full = vmctl.channel(), vmctl.channel(1)
    full:send "x"
    local tasks = {}
    for _ = 1, 2 do
      tasks[#tasks + 1] = vmctl.spawn(function() return code(empty:recv()) end)
      tasks[#tasks + 1] = vmctl.spawn(function() return code(full:send "y") end)
    end
    vmctl.yield()
    empty:close()
    full:close()
    for _, task in ipairs(tasks) do assert.equal("ECLOSED", task:join()) end
  end))

  it("is closed as a <close> variable", support.run(function()
    local receiver
    do
      local channel <close> = vmctl.channel()
      receiver = vmctl.spawn(function() return code(channel:recv()) end)
      vmctl.yield()
    end
    assert.equal("ECLOSED", receiver:join())
  end))

  it("returns ETIMEDOUT in time, given as a number or in a table", support.run(function()
    local channel = vmctl.channel()
    local seconds = support.passed(function()
      assert.equal("ETIMEDOUT", code(channel:recv(4)))
      assert.equal("ETIMEDOUT", code(channel:recv { timeout = 4 }))
      assert.equal("ETIMEDOUT", code(channel:send(1, 4)))
      assert.equal("ETIMEDOUT", code(channel:send(1, { timeout = 4 })))
      assert.equal("ETIMEDOUT", code(channel:recv(-1)))
    end)
    assert.is_true(seconds >= 16 and seconds < 26, seconds)
  end))

  it("is not spoilt by a time-out: the value is the next one's", support.run(function()
    local channel = vmctl.channel()
    assert.equal("ETIMEDOUT", code(channel:recv(0.001)))
    assert.equal("ETIMEDOUT", code(channel:send("nobody there", 0)))
    local receiver = vmctl.spawn(function() return channel:recv() end)
    assert.is_true(channel:send("somebody there", 1))
    assert.equal("somebody there", receiver:join())
  end))

  it("returns ECANCELED to a cancelled task, and loses no value to it", support.run(function()
    local channel = vmctl.channel()
    local cancelled = vmctl.spawn(function() return code(channel:recv()) end)
    vmctl.yield()
    cancelled:cancel()
    local sender = vmctl.spawn(function() return channel:send "kept" end)
    assert.equal("ECANCELED", cancelled:join())
    assert.equal("kept", channel:recv(30))
    assert.is_true(sender:join())
  end))

  it("does not take a receiver for waiting whose wait raised", support.run(function()
    local channel = vmctl.channel()
    assert.is_false((pcall(coroutine.wrap(function() channel:recv() end))))
    assert.equal("ETIMEDOUT", code(channel:send("nobody there", 0)))
  end))

  it("keeps the order of many senders", support.run(function()
    local channel = vmctl.channel(3)
    local expected = {}
    for i = 1, 50 do
      expected[i] = i
      vmctl.spawn(function() assert(channel:send(i)) end)
    end
    vmctl.spawn(function()
      vmctl.sleep(0.002)
      channel:close()
    end)
    local got = {}
    for i = 1, 50 do got[i] = channel:recv(30) end
    assert.same(expected, got)
  end))

  it("serves many receivers in the order of their coming", support.run(function()
    local channel = vmctl.channel()
    local got = {}
    for i = 1, 20 do
      vmctl.spawn(function()
        local value = channel:recv()
        got[#got + 1] = { i, value }
      end)
    end
    vmctl.yield()
    for i = 1, 20 do channel:send(i * 10) end
    support.eventually(function() return #got == 20 end)
    for i = 1, 20 do assert.same({ i, i * 10 }, got[i]) end
  end))

  for _, capacity in ipairs { 0, 1, 7 } do
    it("delivers each value once, with many on both sides and capacity " .. capacity, support.run(function()
      local channel, lists = vmctl.channel(capacity), nil
      vmctl.all {
        function()
          vmctl.map({ 0, 100, 200, 300 }, function(first)
            for i = 1, 100 do assert(channel:send(first + i)) end
          end)
          channel:close()
        end,
        function()
          lists = vmctl.map({ 1, 2, 3 }, function()
            local list, why = collect(channel)
            assert.equal("ECLOSED", why)
            return list
          end)
        end,
      }
      local seen, total = {}, 0
      for _, list in ipairs(lists) do
        for _, value in ipairs(list) do
          assert.is_nil(seen[value])
          seen[value], total = true, total + 1
        end
      end
      assert.equal(400, total)
    end))
  end

  it("raises for a capacity that is none", function()
    assert.is_false((pcall(vmctl.channel, -1)))
    assert.is_false((pcall(vmctl.channel, 1.5)))
    assert.is_false((pcall(vmctl.channel, "big")))
  end)
end)

describe("vmctl.lock", function()
  it("lets one in at a time, in the order of their coming", support.run(function()
    local lock, inside, order = vmctl.lock(), 0, {}
    vmctl.map({ 1, 2, 3, 4 }, function(i)
      lock:with(nil, function()
        inside = inside + 1
        assert.equal(1, inside)
        support.settle()
        inside = inside - 1
        order[#order + 1] = i
      end)
    end)
    assert.same({ 1, 2, 3, 4 }, order)
  end))

  it("gives back what the function returned", support.run(function()
    assert.same({ n = 3, 1, nil, 3 }, table.pack(vmctl.lock():with(1, function(...) return ... end, 1, nil, 3)))
  end))

  it("is let go when the function raises", support.run(function()
    local lock = vmctl.lock()
    assert.is_false((pcall(lock.with, lock, nil, error, "x")))
    assert.equal("free", lock:with(0, function() return "free" end))
  end))

  it("returns ETIMEDOUT when it is not to be had in time, and skips who gave up", support.run(function()
    local lock, order = vmctl.lock(), {}
    local function waiter(timeout, name)
      return vmctl.spawn(function()
        return lock:with(timeout, function()
          order[#order + 1] = name
          return "had it"
        end)
      end)
    end
    local impatient, patient
    lock:with(nil, function()
      impatient, patient = waiter(2, "impatient"), waiter(nil, "patient")
      support.passed(vmctl.sleep, 3)
    end)
    assert.equal("ETIMEDOUT", code(impatient:join()))
    assert.equal("had it", patient:join())
    assert.same({ "patient" }, order)
  end))

  it("goes to who waits, not to who has just had it", support.run(function()
    local lock, turns = vmctl.lock(), 0
    local greedy = vmctl.spawn(function()
      while turns < 100 do
        lock:with(nil, vmctl.sleep, 0.0001)
        turns = turns + 1
      end
    end)
    vmctl.yield()
    assert.is_true(lock:with(1, function() return turns < 5 end))
    greedy:cancel()
  end))

  it("passes on a cancelled task", support.run(function()
    local lock = vmctl.lock()
    local cancelled
    lock:with(nil, function()
      cancelled = vmctl.spawn(function() return lock:with(nil, error, "never") end)
      vmctl.yield()
      cancelled:cancel()
    end)
    assert.equal("ECANCELED", code(cancelled:join()))
    assert.equal("free", lock:with(0, function() return "free" end))
  end))
end)
