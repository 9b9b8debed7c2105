local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local frame, texts = l2s.frame, l2s.texts

local LIMIT = 30 -- seconds, against hanging
local SIZE = 1514

-- Each port says its address: "a" has that of its letter.
local function teach(far, names)
  for _, name in ipairs(names) do far[name]:send(frame { from = name:byte() }) end
  for _, name in ipairs(names) do texts(far[name]) end
end

local function to(name, from, text)
  return frame { to = name:byte(), from = from:byte(), text = text, size = SIZE }
end

-- Sends `count` numbered frames, the receivers in turn.
local function flood(far, from, receivers, count)
  local batch = {}
  for i = 1, count do
    local name = receivers[i % #receivers + 1]
    batch[#batch + 1] = to(name, from, (">I4"):pack(i))
    if #batch == 100 then
      assert(far[from]:send_many(batch, LIMIT))
      batch = {}
    end
  end
  if #batch > 0 then assert(far[from]:send_many(batch, LIMIT)) end
end

-- The numbers of the frames that come to a port, until there are `most` or nothing comes for `silence` seconds.
local function receive(port, most, silence)
  local list = {}
  while #list < most do
    local frames = port:recv_many(256, silence or LIMIT)
    if not frames then break end
    for _, bytes in ipairs(frames) do list[#list + 1] = (">I4"):unpack(bytes, 15) end
  end
  return list
end

local function assert_ascending(list)
  for i = 2, #list do assert.is_true(list[i] > list[i - 1]) end
end

describe("a slow port of vmctl.L2Switch", function()
  it("costs a fast one nothing, which has the same sender", run(function()
    local sw, far = l2s.switch { "a", "f", "s" }
    teach(far, { "a", "f", "s" })
    local sender = vmctl.spawn(flood, far, "a", { "f", "s" }, 20000) -- s never reads
    local got = receive(far.f, 10000)
    sender:join()
    assert.equal(10000, #got)
    assert_ascending(got)
    local counts = sw:counts()
    assert.equal(0, counts.ports.f.dropped_full)
    assert.equal(counts.ports.s.dropped_full, counts.pairs.a.s.dropped)
    assert.is_true(counts.ports.s.dropped_full > 8000)
    assert.equal(10000 + 2, counts.ports.s.dropped_full + counts.ports.s.frames_out)
    sw:close()
  end, 60))

  it("that does not read for 150 ms loses nothing, whether its sender has other business or not", run(function()
    for _, receivers in ipairs { { "s" }, { "f", "s" } } do
      local sw, far = l2s.switch { "a", "f", "s" }
      teach(far, { "a", "f", "s" })
      local fast = vmctl.spawn(receive, far.f, #receivers == 1 and 0 or 4000)
      local sender = vmctl.spawn(flood, far, "a", receivers, 4000 * #receivers)
      vmctl.sleep(0.15)
      local got = receive(far.s, 4000)
      sender:join()
      fast:join()
      assert.equal(4000, #got)
      assert_ascending(got)
      assert.equal(0, sw:port("s"):counts().dropped_full)
      sw:close()
    end
  end, 90))

  it("that reads again loses nothing from then on, though its sender goes on", run(function()
    local sw, far = l2s.switch { "a", "s" }
    teach(far, { "a", "s" })
    local open, done = true, false
    local sender = vmctl.spawn(function()
      while open do flood(far, "a", { "s" }, 100) end
      done = true
    end)
    support.eventually(function() return sw:port("s"):counts().dropped_full > 1000 end, LIMIT)
    receive(far.s, 4000) -- more than the queue and the socket hold: by now it is known that it reads
    local before = sw:port("s"):counts().dropped_full
    receive(far.s, 20000)
    assert.equal(before, sw:port("s"):counts().dropped_full)
    open = false
    while not done do receive(far.s, 1, 0.01) end
    sender:join()
    sw:close()
  end, 90))

  it("holds up no third one, not even one that it gets broadcasts of", run(function()
    local sw, far = l2s.switch { "x", "y", "v", "w" }
    teach(far, { "x", "y", "v", "w" })
    local open = true
    local flooder = vmctl.spawn(function()
      while open do flood(far, "x", { "y" }, 100) end -- y never reads
    end)
    support.eventually(function() return sw:port("y"):counts().dropped_full > 1000 end, LIMIT)
    for i = 1, 300 do
      local text = (">I4"):pack(i)
      assert(far.v:send(i % 16 == 0 and frame { from = ("v"):byte(), text = text, size = SIZE } or to("w", "v", text)))
      assert.equal(i, receive(far.w, 1)[1])
    end
    open = false
    flooder:join()
    local counts = sw:counts()
    assert.equal(0, counts.pairs.v.y.dropped)
    assert.equal(0, counts.ports.w.dropped_full)
    sw:close()
  end, 90))

  it("gives each sender its part of the queue, and sends them in turn", run(function()
    local sw, far = l2s.switch({ "x", "y", "v", "w" }, { queue = 200000 })
    teach(far, { "x", "y", "v", "w" })
    local flooder = vmctl.spawn(flood, far, "x", { "y" }, 1000)
    support.eventually(function() return sw:port("y"):counts().dropped_full > 500 end, LIMIT)
    flooder:join()
    flood(far, "v", { "y" }, 40)
    flood(far, "w", { "y" }, 20)
    local y = sw:port "y"
    support.eventually(function() return y:counts().dropped_full + y:counts().frames_out == 1060 + 3 end, LIMIT)
    assert.is_true(y:counts().queued <= 200000)
    local numbers, order = { x = {}, v = {}, w = {} }, {}
    while true do
      local frames = far.y:recv_many(256, 0.3)
      if not frames then break end
      for _, bytes in ipairs(frames) do
        local name = bytes:sub(12, 12)
        table.insert(numbers[name], ((">I4"):unpack(bytes, 15)))
        order[#order + 1] = name
      end
    end
    assert.equal(40, #numbers.v)
    assert.equal(20, #numbers.w)
    for _, list in pairs(numbers) do assert_ascending(list) end
    local last = table.concat(order):match ".*()w"
    assert.is_true(table.concat(order):sub(last + 1):find "v" ~= nil) -- w has less to send, and is done before v is
    assert.equal(0, y:counts().queued)
    sw:close()
  end, 60))

  it("keeps no more in all queues together than the memory of the switch", run(function()
    local names = { "a", "b", "c", "d", "e" }
    local sw, far = l2s.switch(names, { memory = 400000 })
    teach(far, names)
    flood(far, "a", { "b", "c", "d" }, 6000)
    support.eventually(function() return sw:port("a"):counts().frames_in == 6001 end, LIMIT)
    local queued = sw:counts().total.queued
    assert.is_true(queued > 200000 and queued <= 400000, queued)
    flood(far, "a", { "e" }, 50)
    assert.equal(50, #receive(far.e, 50))
    sw:close()
  end, 60))
end)

describe("delayed frames of vmctl.L2Switch", function()
  it("of a direction that is flooded take no room of another's", run(function()
    local sw, far = l2s.switch({ "a", "b", "c", "d" }, { memory = 4000000 })
    teach(far, { "a", "b", "c", "d" })
    sw:faults("a", "b", { delay = 3600 })
    sw:faults("c", "d", { delay = 0.2 })
    flood(far, "a", { "b" }, 5000)
    support.eventually(function() return sw:port("b"):counts().dropped_full > 0 end, LIMIT)
    flood(far, "c", { "d" }, 400)
    assert.equal(400, #receive(far.d, 400))
    assert.equal(0, sw:port("d"):counts().dropped_full)
    sw:close()
  end, 60))

  it("are at most `limit` in each direction", run(function()
    local sw, far = l2s.switch { "a", "b", "c" }
    teach(far, { "a", "b", "c" })
    sw:port("a"):faults({ delay = 0.3, limit = 25 }, { direction = "from" })
    flood(far, "a", { "b", "c" }, 200)
    assert.equal(25, #receive(far.b, 100, 0.6))
    assert.equal(25, #receive(far.c, 100, 0.1))
    assert.equal(75, sw:port("b"):counts().dropped_full)
    assert.has_error(function() sw:port("a"):faults { delay = 1, limit = 0 } end)
    sw:close()
  end, 60))
end)
