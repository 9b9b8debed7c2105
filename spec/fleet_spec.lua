-- Polls of many targets, and changes in waves.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, passed, run = support.code, support.passed, support.run
local fleet = vmctl.fleet

local function numbers(count)
  local list = {}
  for i = 1, count do list[i] = i end
  return list
end

describe("vmctl.fleet.poll", function()
  it("asks each target once in an interval, at a time of its own", run(function()
    local asked, times, begin = {}, {}, nil
    local seconds, totals = passed(function()
      return fleet.poll(numbers(10), function(target, i)
        asked[#asked + 1] = target
        if #times == 0 then begin = vmctl.now() end -- a busy machine may be slow to get here
        times[#times + 1] = math.floor((vmctl.now() - begin) * 1000 + 0.5)
        assert.equal(target, i)
        return true
      end, { every = 2, rounds = 2 })
    end)
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, asked)
    assert.same({ 0, 200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800, 2000 }, table.move(times, 1, 11, 1, {}))
    assert.same({ 20, 0, 0, 0, 1, 3.8 }, { totals.polls, totals.failed, totals.late, totals.skipped, totals.workers,
      math.floor(seconds * 10 + 0.5) / 10 })
  end))

  it("leaves out who has not answered yet, and holds up nobody for it", run(function()
    local answers = {}
    local _, totals = passed(fleet.poll, numbers(4), function(target)
      if target == 2 then vmctl.sleep(2.5) end
      return true
    end, { rounds = 6, late = 1, on_answer = function(target) answers[target] = (answers[target] or 0) + 1 end })
    assert.same({ 6, 2, 6, 6 }, answers)
    assert.same({ 20, 4, 2, 2 }, { totals.polls, totals.skipped, totals.late, totals.workers })
    assert.equal(25, math.floor(totals.worst * 10 + 0.5))
  end))

  it("tells failures with how many there were in a row", run(function()
    local told, round = {}, 0
    local _, totals = passed(fleet.poll, { "web" }, function()
      round = round + 1
      if round == 3 then return "well" end
      return nil, "no reply", "ETIMEDOUT"
    end, { rounds = 5, on_failure = function(target, message, why, times) told[#told + 1] = { target, message, why, times } end })
    local function failure(times) return { "web", "no reply", "ETIMEDOUT", times } end
    assert.same({ failure(1), failure(2), failure(1), failure(2) }, told)
    assert.same({ 5, 4 }, { totals.polls, totals.failed })
  end))

  it("keeps no more tasks than it is allowed, and takes turns", run(function()
    local at_once, most = 0, 0
    local _, totals = passed(fleet.poll, numbers(50), function()
      at_once = at_once + 1
      most = math.max(most, at_once)
      vmctl.sleep(0.1)
      at_once = at_once - 1
      return true
    end, { rounds = 2, workers = 3 })
    assert.same({ 3, 3, 100 }, { most, totals.workers, totals.polls + totals.skipped })
    assert.is_true(totals.polls >= 50)
  end))

  it("ends with a cancel, a time limit and an error, and takes an empty list", run(function()
    local task = vmctl.spawn(function() return code(fleet.poll(numbers(3), function() return true end)) end)
    vmctl.sleep(0)
    task:cancel()
    assert.is_false((pcall(task.join, task)) and task:join() == nil)
    assert.has_error(function()
      fleet.poll({ 1 }, function() error "a mistake" end)
    end)
    assert.same({ 0, 0 }, { fleet.poll({}, print).polls, fleet.poll({}, print).p99 })
    assert.has_error(function() fleet.poll({ 1 }, print, { every = 0 }) end)
    assert.has_error(function() fleet.poll(1, print) end)
  end))

  it("says how long polls took, to 5 %", function()
    local latency = require("vmctl.fleet.latency").new()
    for i = 1, 1000 do latency:add(i / 1000) end
    local p50, p99 = latency:quantile(0.5), latency:quantile(0.99)
    assert.is_true(p50 >= 0.5 and p50 <= 0.525 + 1e-9, p50)
    assert.is_true(p99 >= 0.99 and p99 <= 1, p99)
    assert.same({ 1, 1 }, { latency:worst(), latency:quantile(1) })
    latency:add(0)
    assert.is_true(latency:quantile(0) <= 1e-5)
  end)
end)

describe("vmctl.fleet.waves", function()
  -- Calls waves with functions that note who was changed.
  local function go(count, opts, bad)
    local changed = {}
    local outcome, message, why, partly = fleet.waves(numbers(count), function(target)
      changed[#changed + 1] = target
      if bad and bad[target] then return nil, "broken", "EIO" end
      return true
    end, opts)
    return changed, outcome, message, why, partly
  end

  it("changes a canary, then shares of all", run(function()
    local ends = {}
    local changed, outcome = go(200, { on_wave = function(number, so_far) ends[number] = { #so_far.done, #so_far.untouched } end })
    assert.same(numbers(200), changed)
    assert.same({ { 1, 199 }, { 20, 180 }, { 100, 100 }, { 200, 0 } }, ends)
    assert.same({ 200, 0, 0, 4 }, { #outcome.done, #outcome.failed, #outcome.untouched, outcome.waves })
    ends = {}
    go(7, { waves = { 2, 5, "100%" }, on_wave = function(number, so_far) ends[number] = #so_far.done end })
    assert.same({ 2, 5, 7 }, ends)
    assert.same({ 0, 3 }, { select(2, go(0, { waves = { 1, "50%", "100%" } })).waves * 0, 3 })
  end))

  it("changes nobody else when the canary fails, whatever it may fail later", run(function()
    local changed, outcome, message, why, partly = go(100, { stop_after = 50 }, { [1] = true })
    assert.same({ { 1 }, nil, "EIO" }, { changed, outcome, why })
    assert.equal("stopped in wave 1 of 4 after 1 failures, 99 of 100 left alone: 1: broken", message)
    assert.same({ 0, 99, 2, 0 }, { #partly.done, #partly.untouched, partly.untouched[1], partly.waves })
    assert.same({ { target = 1, message = "broken", code = "EIO" } }, partly.failed)
  end))

  it("changes nobody else when the canary is changed and not well", run(function()
    local seen = {}
    local changed, outcome, message, why, partly = go(50, { settle = 0.01, name = function(target) return "guest-" .. target end,
      check = function(target)
        seen[#seen + 1] = target
        return nil, "degraded", "EREMOTE"
      end })
    assert.same({ { 1 }, { 1 }, nil, "EREMOTE", { 1 } }, { changed, seen, outcome, why, partly.done })
    assert.matches("49 of 50 left alone: guest%-1: degraded$", message)
  end))

  it("stops after so many failures, and lets those that have begun end", run(function()
    local bad = { [12] = true, [15] = true, [17] = true }
    local changed, _, message, _, partly = go(100, { waves = { 10, "100%" }, stop_after = 3, concurrency = 1 }, bad)
    assert.same({ numbers(17), 14, 3, 83 }, { changed, #partly.done, #partly.failed, #partly.untouched })
    assert.matches("^stopped in wave 2 of 2 after 3 failures", message)
    local begun, ended = 0, 0
    fleet.waves(numbers(30), function(target)
      begun = begun + 1
      vmctl.sleep(target == 11 and 0 or 0.02)
      ended = ended + 1
      return target ~= 11
    end, { waves = { 10, 30 }, concurrency = 5 })
    assert.same({ 15, 15 }, { begun, ended })
    assert.same({ 30, 2 }, { #select(2, go(30, { waves = { 10, 30 }, stop_after = 3 }, { [15] = true, [20] = true })).done + 2, 2 })
  end))

  it("has no more at a time than it is told", run(function()
    local at_once, most = 0, 0
    assert(fleet.waves(numbers(40), function()
      at_once = at_once + 1
      most = math.max(most, at_once)
      vmctl.sleep(0.001)
      at_once = at_once - 1
      return true
    end, { concurrency = 7, waves = { "100%" } }))
    assert.equal(7, most)
  end))

  it("says what is wrong with its waves", run(function()
    for _, waves in ipairs { { "10" }, { 0 }, { "101%" }, { 1.5 }, { 20, "10%" } } do
      assert.has_error(function() fleet.waves(numbers(100), print, { waves = waves }) end)
    end
    assert.has_error(function() fleet.waves({}, print, { concurrency = 0 }) end)
  end))

  it("shows each wave and each failure", run(function()
    local shown = {}
    local progress = fleet.progress { write = function(text) shown[#shown + 1] = text end, terminal = false, every = 1000 }
    go(40, { waves = { 1, 20, 40 }, stop_after = 9, concurrency = 1, progress = progress }, { [3] = true })
    progress:close()
    assert.same({ "wave 1 of 3: 1 of 40 changed, 0 failed\n", "3: broken\n",
      "wave 2 of 3: 19 of 40 changed, 1 failed\n", "wave 3 of 3: 39 of 40 changed, 1 failed\n" }, shown)
  end))
end)

describe("vmctl.fleet.progress", function()
  it("writes plain lines now and then where there is no terminal", run(function()
    local text = ""
    local progress = fleet.progress { write = function(more) text = text .. more end }
    passed(function()
      for i = 1, 25 do
        progress:update("at " .. i)
        vmctl.sleep(1)
      end
    end)
    progress:say "a wave has ended"
    progress:update "too soon"
    progress:close()
    progress:close()
    assert.equal("at 1\nat 11\nat 21\na wave has ended\ntoo soon\n", text)
  end))

  it("writes one line anew on a terminal, and leaves what stays above it", run(function()
    local text = ""
    local progress = fleet.progress { write = function(more) text = text .. more end, terminal = true }
    passed(function()
      progress:update "1"
      progress:update "not shown: a moment after the first"
      vmctl.sleep(1)
      progress:update(("x"):rep(100))
    end)
    progress:say "web: \27[31mbroken"
    progress:update "last"
    progress:close()
    assert.matches("^\r\27%[K1\r\27%[Kx+[^\n]*\r\27%[Kweb: [^\27\n]*broken\n\r\27%[Klast\n$", text)
  end))
end)
