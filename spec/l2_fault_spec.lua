local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local frame, texts = l2s.frame, l2s.texts

local FRAMES = 2000

-- Sends numbered frames from a to all, and returns what came to a port: the numbers, in their order.
local function numbers(far, to, count, silence)
  local batch = {}
  for i = 1, count or FRAMES do batch[i] = frame { from = 1, text = (">I4"):pack(i), size = 64 } end
  local sender = vmctl.spawn(function() assert(far.a:send_many(batch, 2)) end)
  local list = {}
  for i, text in ipairs(texts(far[to], silence or 0.1)) do list[i] = (">I4"):unpack(text) end
  sender:join()
  return list
end

local function near(want, got, tolerance)
  assert.is_true(math.abs(got - want) <= tolerance, ("%g is not within %g of %g"):format(got, tolerance, want))
end

-- The frames that arrive with given faults and a seed, on a new switch.
local function trial(faults, seed, count, silence)
  local sw, far = l2s.switch({ "a", "b" }, { seed = seed })
  assert(sw:faults("a", "b", faults, { direction = "one" }))
  local list = numbers(far, "b", count, silence)
  local counts = sw:port("a"):counts()
  sw:close()
  return list, counts
end

describe("the faults of vmctl.L2Switch", function()
  it("lose frames by chance, the same ones with the same seed", run(function()
    local first, counts = trial({ loss = 0.2 }, 7)
    near(0.8 * FRAMES, #first, 0.05 * FRAMES)
    assert.equal(FRAMES - #first, counts.dropped_loss)
    assert.same(first, (trial({ loss = 0.2 }, 7)))
    assert.not_same(first, (trial({ loss = 0.2 }, 8)))
    assert.equal(0, #trial({ loss = 1 }, 7))
    assert.equal(FRAMES, #trial({ loss = 0 }, 7))
  end, 10))

  it("draw for each way by itself: other traffic changes nothing", run(function()
    local alone = trial({ loss = 0.5 }, 3, 200)
    local sw, far = l2s.switch({ "a", "b", "c" }, { seed = 3 })
    sw:faults("a", "b", { loss = 0.5 }, { direction = "one" })
    sw:faults("c", "b", { loss = 0.5, corrupt = 0.5, duplicate = 0.5 })
    for _ = 1, 50 do far.c:send(frame { from = 3, size = 40 }) end
    texts(far.b)
    assert.same(alone, numbers(far, "b", 200))
    sw:close()
  end, 5))

  it("begin anew with a seed", run(function()
    local sw, far = l2s.switch({ "a", "b" }, { seed = 11 })
    assert.equal(11, sw:seed())
    sw:faults("a", "b", { loss = 0.5 })
    local first = numbers(far, "b", 200)
    assert.not_same(first, numbers(far, "b", 200))
    sw:seed(11)
    assert.same(first, numbers(far, "b", 200))
    sw:close()
  end, 5))

  it("duplicate frames by chance", run(function()
    local list, counts = trial({ duplicate = 0.1 }, 5)
    near(1.1 * FRAMES, #list, 0.03 * FRAMES)
    assert.equal(#list - FRAMES, counts.duplicated)
    table.sort(list)
    assert.equal(FRAMES, list[#list])
  end, 5))

  it("corrupt one bit behind the header, and leave the order alone", run(function()
    local sw, far = l2s.switch({ "a", "b", "c" }, { seed = 4 })
    sw:faults("a", "b", { corrupt = 0.25 })
    local batch = {}
    for i = 1, 400 do batch[i] = frame { from = 1, text = (">I4"):pack(i):rep(8) } end
    far.a:send_many(batch)
    local changed, got = 0, texts(far.b)
    for i = 1, 400 do
      local bits = 0
      for at = 1, 32 do
        local difference = got[i]:byte(at) ~ batch[i]:byte(14 + at)
        while difference > 0 do
          bits, difference = bits + (difference & 1), difference >> 1
        end
      end
      assert.is_true(bits <= 1)
      changed = changed + bits
    end
    near(100, changed, 30)
    assert.equal(changed, sw:port("a"):counts().corrupted)
    local intact = texts(far.c)
    for i = 1, 400 do assert.equal(batch[i]:sub(15), intact[i]) end
    sw:close()
  end, 5))

  it("reorder frames by chance", run(function()
    local list, counts = trial({ reorder = 0.1, reorder_by = 0.02 }, 6, 500)
    assert.equal(500, #list)
    local late = 0
    for i = 2, #list do
      if list[i] < list[i - 1] then late = late + 1 end
    end
    assert.is_true(late >= 1)
    near(50, counts.delayed, 25)
    table.sort(list)
    for i = 1, 500 do assert.equal(i, list[i]) end
  end, 5))

  it("delay frames, and keep their order in spite of jitter if they are to", run(function()
    local sw, far = l2s.switch({ "a", "b" }, { seed = 2 })
    sw:faults("a", "b", { delay = 0.05 })
    local begin = vmctl.now()
    far.a:send(frame {})
    assert(far.b:recv(30))
    local took = vmctl.now() - begin
    assert.is_true(took >= 0.05, took)
    sw:faults("a", "b", { delay = 0.02, jitter = 0.02, ordered = true })
    begin = vmctl.now()
    local list = numbers(far, "b", 300, 0.1)
    for i = 1, 300 do assert.equal(i, list[i]) end
    assert.is_true(vmctl.now() - begin >= 0.12)
    assert.equal(301, sw:port("a"):counts().delayed)
    sw:close()
  end, 5))

  it("hold the rate, and drop what would wait longer than the latency", run(function()
    local sw, far = l2s.switch { "a", "b" }
    sw:port("b"):faults({ rate = "8M", latency = 0.1 }, { direction = "to" }) -- 1 MB/s
    local batch = {}
    for i = 1, 300 do batch[i] = frame { size = 1000 } end
    local begin = vmctl.now()
    far.a:send_many(batch)
    local sending, got, last = vmctl.now() - begin, 0, nil
    while true do
      local frames = far.b:recv_many(256, 0.5)
      if not frames then break end
      got, last = got + #frames, vmctl.now()
    end
    local passing = 1000 * sending -- while they were sent
    assert.is_true(got >= 99 and got <= 103 + passing, got)
    assert.is_true(last - begin >= 0.09) -- a rate: they come no sooner, whatever the host does
    assert.equal(300 - got, sw:port("a"):counts().dropped_rate)
    sw:close()
  end, 5))

  it("hold of a port from it, to it, or both", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local a = sw:port "a"
    local function passes()
      far.a:send(frame { from = 1 })
      far.b:send(frame { from = 2 })
      return { #texts(far.b) == 1, #texts(far.a) == 1 }
    end
    a:faults({ loss = 1 }, { direction = "from" })
    assert.same({ false, true }, passes())
    a:faults({ loss = 1 }, { direction = "to" })
    assert.same({ false, false }, passes())
    a:faults(nil, { direction = "from" })
    assert.same({ true, false }, passes())
    a:faults(nil)
    assert.same({ true, true }, passes())
    a:faults { loss = 1 }
    assert.same({ false, false }, passes())
    sw:close()
  end, 5))

  it("refuse what makes no sense, at the caller's line", run(function()
    local sw = l2s.switch { "a", "b" }
    local bad = {
      { loss = 1.1 }, { loss = -0.1 }, { corrupt = "x" }, { delay = -1 }, { jitter = 0 / 0 }, { rate = 0 }, { rate = "fast" },
      { rate = "-1M" }, { lost = 0.1 }, { burst = -1 }, { latency = 0 }, { delay = math.huge },
    }
    for _, faults in ipairs(bad) do
      for _, call in ipairs { function() sw:faults("a", "b", faults) end, function() sw:port("a"):faults(faults) end } do
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.truthy(err:find "^[^:]*l2_fault_spec%.lua:%d+: faults: ", err)
      end
    end
    assert.has_error(function() sw:faults("a", "x", {}) end, "switch has no port 'x'")
    assert.has_error(function() sw:faults("a", "a", {}) end)
    assert.has_error(function() sw:faults("a", "b", {}, { direction = "to" }) end)
    for _, rate in ipairs { 1e6, "1000", "64k", "1.5M", "10G" } do assert(sw:faults("a", "b", { rate = rate })) end
    sw:close()
  end))
end)

describe("the cuts of vmctl.L2Switch", function()
  -- Which of the ports hear each of the others, as "ab ac ba …".
  local function hearing(sw, far, names)
    local list = {}
    for _, from in ipairs(names) do
      assert(far[from]:send(frame { from = from:byte(), text = from }))
      for _, to in ipairs(names) do
        for _, text in ipairs(texts(far[to], 0.02)) do list[#list + 1] = text .. to end
      end
    end
    assert.truthy(sw)
    return table.concat(list, " ")
  end

  it("part two ports, one port, or all of them into groups, until they are healed", run(function()
    local names = { "a", "b", "c" }
    local sw, far = l2s.switch(names)
    local function heard() return hearing(sw, far, names) end
    local all = "ab ac ba bc ca cb"
    assert.equal(all, heard())
    sw:cut("a", "b")
    assert.equal("ac bc ca cb", heard())
    sw:heal("b", "a")
    assert.equal(all, heard())
    sw:port("c"):cut()
    assert.equal("ab ba", heard())
    sw:port("c"):heal()
    sw:cut "a"
    assert.equal("bc cb", heard())
    sw:heal "a"
    sw:partition { { "a", sw:port "b" }, { "c" } }
    assert.equal("ab ba", heard())
    sw:partition { { "a" } }
    assert.equal("bc cb", heard())
    sw:partition { { "a" }, { "b" }, { "c" } }
    assert.equal("", heard())
    assert.is_true(sw:counts().total.dropped_cut > 0)
    sw:heal()
    assert.equal(all, heard())
    sw:close()
  end, 5))

  it("leave the faults as they were", run(function()
    local sw, far = l2s.switch { "a", "b" }
    sw:faults("a", "b", { loss = 1 }, { direction = "one" })
    sw:port("b"):faults({ duplicate = 1 }, { direction = "from" })
    sw:cut("a", "b")
    sw:cut "b"
    far.b:send(frame {})
    assert.equal(0, #texts(far.a))
    sw:heal()
    far.b:send(frame {})
    assert.equal(2, #texts(far.a))
    far.a:send(frame {})
    assert.equal(0, #texts(far.b))
    sw:heal { faults = true }
    far.b:send(frame {})
    assert.equal(1, #texts(far.a))
    far.a:send(frame {})
    assert.equal(1, #texts(far.b))
    sw:close()
  end))

  it("keep what was learned, and the connections", run(function()
    local sw, far = l2s.switch { "a", "b", "c" }
    far.a:send(frame { from = 1 })
    far.b:send(frame { from = 2 })
    texts(far.a) texts(far.b) texts(far.c)
    sw:cut("a", "b")
    far.a:send(frame { to = 2, from = 1, text = "lost" })
    assert.same({}, texts(far.b))
    assert.same({}, texts(far.c))
    assert.same({ frames = 1, bytes = 14, dropped = 1 }, sw:counts().pairs.a.b)
    sw:heal()
    far.a:send(frame { to = 2, from = 1, text = "there" })
    assert.same({ "there" }, texts(far.b))
    assert.equal("connected", (sw:port("a"):state()))
    sw:close()
  end))

  it("refuse groups that overlap, and names that no port has", run(function()
    local sw = l2s.switch { "a", "b" }
    for _, groups in ipairs { { { "a" }, { "a", "b" } }, { { "x" } }, { "a" }, { sw:port "a" } } do
      local ok, err = pcall(function() sw:partition(groups) end)
      assert.is_false(ok)
      assert.truthy(err:find "^[^:]*l2_fault_spec%.lua:%d+: ", err)
    end
    assert.has_error(function() sw:cut "x" end)
    assert.has_error(function() sw:cut("a", "x") end)
    assert.has_error(function() sw:heal { fault = true } end)
    sw:close()
  end))

  it("end with the port, and do not come to who gets its place", run(function()
    local sw, far = l2s.switch { "a", "b" }
    sw:cut("a", "b")
    sw:faults("b", "a", { loss = 1 })
    sw:partition { { "b" } }
    sw:port("b"):remove()
    local wire, b = vmctl.l2.socketpair()
    sw:add(wire, { name = "b" })
    far.a:send(frame {})
    assert.equal(1, #texts(b))
    b:send(frame {})
    assert.equal(1, #texts(far.a))
    sw:close()
  end))
end)

describe("the faults of vmctl.L2Switch, as netem has them,", function()
  -- How late each of `count` frames comes that are sent a millisecond apart, by a clock of the capture's comments.
  local function delays(faults, count)
    local sw, far = l2s.switch({ "a", "b" }, { seed = 5 })
    local path = support.tmpdir() .. "/x.pcapng"
    local capture = assert(sw:capture(path))
    sw:faults("a", "b", faults, { direction = "one" })
    for i = 1, count do
      far.a:send(frame { from = 1, text = (">I4"):pack(i) })
      if i % 50 == 0 then vmctl.sleep(0.001) end
    end
    support.eventually(function() return sw:port("a"):counts().frames_in == count end)
    assert.equal(count, capture:close())
    sw:close()
    local file = assert(io.open(path, "rb"))
    local list = {}
    for seconds in file:read("a"):gmatch "delayed by (%d+%.%d+) s" do list[#list + 1] = tonumber(seconds) end
    file:close()
    return list
  end

  local function moments(list)
    local sum, squares = 0, 0
    for _, value in ipairs(list) do sum = sum + value end
    local mean = sum / #list
    for _, value in ipairs(list) do squares = squares + (value - mean) ^ 2 end
    return mean, math.sqrt(squares / #list)
  end

  it("jitter as it was asked, uniform and normal", run(function()
    local mean, deviation = moments(delays({ delay = 0.05, jitter = 0.02 }, 2000))
    near(0.05, mean, 0.002)
    near(0.02 / math.sqrt(3), deviation, 0.001)
    mean, deviation = moments(delays({ delay = 0.05, jitter = 0.01, distribution = "normal" }, 2000))
    near(0.05, mean, 0.001)
    near(0.01, deviation, 0.001)
    mean = moments(delays({ delay = 0.05, jitter = 0.01, distribution = { -1, 2 } }, 2000))
    near(0.055, mean, 0.001)
  end, 60))

  it("lose every n-th, and by the model of Gilbert and Elliott", run(function()
    assert.same({ 1, 2, 4, 5, 7, 8, 10 }, (trial({ loss_every = 3 }, 1, 10)))
    local list = trial({ gemodel = { p = 0.05, r = 0.2 } }, 3)
    near(FRAMES * 0.8, #list, FRAMES * 0.06) -- p / (p + r) is lost
    local runs = 0
    for i = 2, #list do
      if list[i] > list[i - 1] + 1 then runs = runs + 1 end
    end
    near((FRAMES - #list) * 0.2, runs, 25) -- a loss lasts for 1 / r frames
  end, 60))

  it("lose in runs with a correlation, and as many as without", run(function()
    local list = trial({ loss = 0.3, loss_correlation = 0.8 }, 2)
    near(FRAMES * 0.7, #list, FRAMES * 0.09)
    local runs = 0
    for i = 2, #list do
      if list[i] > list[i - 1] + 1 then runs = runs + 1 end
    end
    assert.is_true(runs < FRAMES * 0.07, runs) -- without: 0.3 * 0.7
  end, 60))

  it("charge copies to the rate", run(function()
    local times = delays({ rate = 8000, latency = 10, duplicate = 1 }, 20)
    local single = delays({ rate = 8000, latency = 10 }, 20)
    assert.is_true(times[20] > 1.5 * single[20], ("%f %f"):format(times[20], single[20]))
  end, 60))

  it("let a burst of bytes go at once", run(function()
    local sw, far = l2s.switch { "a", "b" }
    sw:faults("a", "b", { rate = 8000, burst = 10000, latency = 0.001 })
    local batch = {}
    for i = 1, 30 do batch[i] = frame { size = 1000 } end
    far.a:send_many(batch)
    assert.equal(10, #texts(far.b))
    assert.is_true(sw:port("a"):counts().dropped_rate >= 18)
    sw:close()
  end, 60))

  it("let frames leave together, in slots", run(function()
    local sw, far = l2s.switch { "a", "b" }
    sw:faults("a", "b", { slot = { min = 0.1, frames = 4 } })
    local batch = {}
    for i = 1, 8 do batch[i] = frame { text = tostring(i) } end
    far.a:send_many(batch)
    assert.equal(4, #assert(far.b:recv_many(256, 30)))
    assert.equal(4, #assert(far.b:recv_many(256, 30)))
    sw:close()
  end, 60))

  it("hit only the frames that are asked for, and only the n-th of them", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local function segment(flags, text)
      local ip = "\x45\0\0\x28\0\0\0\0\x40\6\0\0\10\0\0\1\10\0\0\2"
      return frame({ from = 1 }):sub(1, 12) .. "\8\0" .. ip .. (">I2I2I4I4BBI2I4"):pack(1000, 80, 0, 0, 0x50, flags, 0, 0) .. text
    end
    local function passing(only, frames)
      sw:faults("a", "b", { loss = 1, only = only })
      far.a:send_many(frames)
      local list = {}
      for _, text in ipairs(texts(far.b)) do list[#list + 1] = text:sub(-1) end
      return table.concat(list)
    end
    local syn, ack = 2, 16
    local flow = { segment(syn, "a"), segment(ack, "b"), segment(syn, "c"), segment(syn, "d"), segment(syn | ack, "e"),
      frame { from = 1, text = "f" }, frame { from = 2, text = "g", vlan = 5 } }
    assert.equal("abcefg", passing({ tcp = "syn", nth = 3 }, flow))
    assert.equal("befg", passing({ tcp = "syn" }, flow))
    assert.equal("fg", passing({ protocol = "tcp" }, flow))
    assert.equal("fg", passing({ port = 80 }, flow))
    assert.equal("abcdefg", passing({ port = 81 }, flow))
    assert.equal("abcde", passing({ ethertype = 0x88b5 }, flow))
    assert.equal("abcdef", passing({ from = "02:00:00:00:00:02" }, flow))
    assert.equal("g", passing({ mac = "02:00:00:00:00:01" }, flow))
    assert.equal("aefg", passing({ first = 2, last = 4 }, flow))
    for _, bad in ipairs { { mac = "x" }, { tcp = "x" }, { protocol = "x" }, { nth = 1, last = 2 }, { prot = 1 } } do
      assert.has_error(function() sw:faults("a", "b", { only = bad }) end)
    end
    sw:close()
  end, 60))
end)
