-- Many probes at once.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local ready = vmctl.ready

-- A function that is ready from its nth call on.
local function at_call(n, value)
  local count = 0
  return function()
    count = count + 1
    if count >= n then return value or count end
    return nil, "call " .. count
  end
end

local function never(text, code)
  return ready.fn(function() return nil, text or "never", code end, "nothing")
end

describe("vmctl.ready.all", function()
  it("gives the results by the keys of the probes", run(function()
    local results = assert(ready.all { at_call(1, "first"), at_call(3), door = ready.fn(at_call(2, "open"), "the door") })
    assert.same({ "first", 3, "open" }, { results[1].value, results[2].value, results.door.value })
    assert.same({ 1, 3, 2 }, { results[1].attempts, results[2].attempts, results.door.attempts })
    assert.is_true(results.door.ready and results.door.seconds >= 0)
  end))

  it("is content with nothing to wait for", run(function()
    assert.same({}, ready.all {})
  end))

  it("waits side by side, under one deadline", run(function()
    local list = { timeout = 3 }
    for i = 1, 20 do list[i] = never() end
    local seconds, nothing, err, code, results = support.passed(ready.all, list)
    assert.is_nil(nothing)
    assert.equal("ETIMEDOUT", code)
    assert.is_true(seconds >= 3 and seconds < 25, seconds)
    assert.equal(20, #results)
    assert.matches("^wait for 20: 20 not ready: nothing: not ready after 3.* s.*; and 15 more$", err)
    assert.equal(5, select(2, err:gsub("nothing:", "")))
  end))

  it("names those that were not ready, and why", run(function()
    local _, err, _, results = ready.all { web = never "no answer", db = at_call(1), timeout = 0.1 }
    assert.matches("^wait for 2: 1 not ready: web %(nothing%): not ready after .*; the last: no answer$", err)
    assert.is_true(results.db.ready)
    assert.is_false(results.web.ready)
    assert.equal("ETIMEDOUT", results.web.code)
    assert.matches("no answer", results.web.message)
  end))

  it("gives up the others when one can never be ready", run(function()
    local asked, good = 0, at_call(1)
    local paint = ready.fn(function()
      asked = asked + 1
      return nil, "wet paint"
    end, "nothing")
    local _, err, code, results = ready.all { paint, bad = ready.fn(function()
      if asked < 2 then return nil, "not yet" end
      return nil, "not allowed", "EPERM"
    end, "the door"), good }
    assert.equal("EPERM", code)
    assert.matches("^wait for 3: 2 not ready: bad %(the door%): it cannot become ready: not allowed .*; nothing: given up .* wet paint$",
      err)
    assert.equal("ECANCELED", results[1].code)
    assert.is_true(results[2].ready)
  end))

  it("asks no more at a time than it may, and starves nobody", run(function()
    local now, most, list = 0, 0, { concurrency = 3, timeout = 30 }
    for i = 1, 12 do
      local count = 0
      list[i] = function()
        now, count = now + 1, count + 1
        most = math.max(most, now)
        vmctl.sleep(0.005)
        now = now - 1
        return i > 4 and i or count > 3 -- the first ones are the last to be ready
      end
    end
    assert(ready.all(list))
    assert.equal(3, most)
  end))

  it("does not let probes that are never ready keep the others from being asked", run(function()
    local list = { concurrency = 2, timeout = 0.4 }
    for i = 1, 10 do list[i] = never() end
    list.good = at_call(2)
    local _, _, _, results = ready.all(list)
    assert.is_true(results.good.ready)
  end))

  it("tells of each attempt with its key", run(function()
    local seen = {}
    assert(ready.all { a = at_call(2), on_attempt = function(key, number, err) seen[#seen + 1] = { key, number, err } end })
    assert.same({ { "a", 1, "call 1" }, { "a", 2 } }, seen)
  end))

  it("lets an error of a function through", run(function()
    local ok, err = pcall(ready.all, { never(), function() error "a bug" end })
    assert.is_false(ok)
    assert.matches("a bug", err)
  end))

  it("raises for what is no probe, and for wrong options", run(function()
    local function message(...) return (select(2, ...)) end
    assert.matches("ready_all_spec.lua:%d+: ready: a probe or a function expected, got string",
      message(pcall(function() local x = ready.all { time_out = "5" } return x end)))
    assert.matches("option 'concurrency': integer >= 1 expected, got 0",
      message(pcall(function() local x = ready.all { concurrency = 0 } return x end)))
    assert.has_error(function() ready.all(5) end)
  end))

  it("polls a thousand", run(function()
    local list = {}
    for i = 1, 1000 do list[i] = at_call(3) end
    assert.equal(1000, #assert(ready.all(list)))
  end, 5))

  it("says on a terminal what it waits for, and wipes it", run(function()
    local log, shown = vmctl.log, {}
    local write, isatty = log.write, log.isatty
    log.write, log.isatty = function(text) shown[#shown + 1] = text end, function() return true end
    local fine, err = pcall(ready.all, { never(), gate = never(), timeout = 0.7 })
    log.write, log.isatty = write, isatty
    assert.is_true(fine, err)
    assert.matches("waiting for 2 of 2 %(0%.%d s%): nothing, gate %(nothing%)", shown[1])
    assert.equal("\r\27[K", shown[#shown])
  end))
end)
