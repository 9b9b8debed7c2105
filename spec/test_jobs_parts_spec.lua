-- The parts of `vmctl test --jobs` that need no process: events, order, shards, results and their formats.
local assert = require "luassert"
local events = require "vmctl.suite.events"
local junit = require "vmctl.suite.junit"
local needs = require "vmctl.scenario.needs"
local record = require "vmctl.suite.record"
local results = require "vmctl.suite.results"
local schedule = require "vmctl.suite.schedule"
local tap = require "vmctl.suite.tap"

local function file(more)
  local result = { path = "a_spec.lua", tests = {}, mistakes = {}, output = "", seconds = 1 }
  for name, value in pairs(more or {}) do result[name] = value end
  return result
end

local function test(name, status, message)
  return { name = name, status = status, seconds = 0.5, message = message, attempts = 1 }
end

local function job(path, expected, memory, cpus)
  return { path = path, expected = expected, memory = memory or 0, cpus = cpus or 1 }
end

local function paths(jobs)
  local list = {}
  for i, one in ipairs(jobs) do list[i] = one.path end
  return table.concat(list, " ")
end

describe("the events of a spec file's busted", function()
  local STREAM = 'said\n\30{"event":"begin","name":"a"}\nmore\30{"event":"end","name":"a"}\n\30no event\nlast'

  it("are told from what the tests print, wherever the bytes are cut", function()
    for cut = 0, #STREAM do
      local got = {}
      local reader = events.reader(function(event) got[#got + 1] = event.event .. " " .. event.name end)
      reader:feed(STREAM:sub(1, cut))
      reader:feed(STREAM:sub(cut + 1))
      assert.same({ "begin a", "end a" }, got)
      assert.equal("said\nmore\30no event\nlast", reader:output())
    end
  end)

  it("keep the last MiB of the output", function()
    local reader = events.reader(function() end)
    for _ = 1, 40 do reader:feed(("x"):rep(100000)) end
    reader:feed "end"
    assert.equal(1 << 20, #reader:output())
    assert.equal("xend", reader:output():sub(-4))
  end)
end)

describe("the order of spec files", function()
  it("has the longest first, and a stable order of equals", function()
    local jobs = { job("c", 1), job("a", 1), job("b", 9) }
    schedule.sort(jobs)
    assert.equal("b a c", paths(jobs))
  end)

  it("has each file in one shard, and shards of like length", function()
    local jobs = { job("a", 8), job("b", 5), job("c", 4), job("d", 3), job("e", 1), job("f", 1) }
    assert.equal("a d", paths(schedule.shard(jobs, 1, 2)))
    assert.equal("b c e f", paths(schedule.shard(jobs, 2, 2)))
    assert.equal("", paths(schedule.shard({ job("a", 1) }, 2, 2)))
  end)

  it("takes what fits beside what runs, in memory, processors and number", function()
    local budget = { jobs = 2, memory = 1000, cpus = 3 }
    local waiting, running = { job("a", 9, 900), job("b", 8, 200), job("c", 7, 50, 3), job("d", 6, 50, 2), job("e", 5) }, {}
    local first = schedule.take(waiting, running, budget)
    assert.equal("a", first.path)
    running[first] = true
    local second = schedule.take(waiting, running, budget)
    assert.equal("d", second.path)
    running[second] = true
    assert.is_nil(schedule.take(waiting, running, budget))
    running[first] = nil
    assert.equal("b", schedule.take(waiting, running, budget).path)
  end)

  it("lets one that needs more than there is run alone", function()
    local budget, running = { jobs = 4, memory = 100, cpus = 1 }, {}
    local large = schedule.take({ job("a", 1, 5000, 8) }, running, budget)
    assert.equal("a", large.path)
    running[large] = true
    assert.is_nil(schedule.take({ job("b", 1) }, running, budget))
  end)
end)

describe("what machines need", function()
  it("is their memory with the emulator's, and their processors", function()
    assert.same({ memory = 256 + 96 + 1024 + 96 + 64 + 96, cpus = 4 },
      needs.of { a = {}, b = { memory = "1G", cpus = 2 }, c = { memory = 64 } })
  end)
end)

describe("the results of a spec file", function()
  it("are counted: a mistake and an early end are failures", function()
    local all = file { tests = { test("a", "passed"), test("b", "skipped"), test("c", "failed", "why"), test("d", "flaky") } }
    assert.same({ passed = 2, failed = 1, skipped = 1, flaky = 1 }, results.count(all))
    assert.same({ passed = 0, failed = 2, skipped = 0, flaky = 0 },
      results.count(file { mistakes = { { name = "setup", message = "x" } }, ended = "ended by signal KILL" }))
    assert.equal(1, results.count(file { tests = { test("a", "failed", "late") }, ended = "late" }).failed)
  end)

  it("that another machine sends are looked at before they are taken", function()
    assert.is_true(record.is_file(file { tests = { test("a", "passed") }, mistakes = { { name = "b", message = "c" } }, ended = "early" }))
    for _, bad in ipairs {
      1, {}, file { path = 1 }, file { tests = { {} } }, file { tests = { test("a", "fine") } },
      file { tests = { test("a", "failed", 1) } },
      file { output = 1 }, file { mistakes = { "m" } }, file { mistakes = { { name = "n", message = 1 } } }, file { seconds = "1" },
      file { ended = 1 },
    } do
      assert.is_false(record.is_file(bad))
    end
    assert.is_false(record.is_file(nil))
  end)

  it("name what has to run again", function()
    assert.is_false(results.failed_names(file { tests = { test("a", "passed") } }))
    assert.same({ "b" }, results.failed_names(file { tests = { test("a", "passed"), test("b", "failed") } }))
    assert.is_nil(results.failed_names(file { tests = { test("b", "failed") }, ended = "early" }))
  end)

  it("are flaky, never passed, when a second run passes", function()
    local first = file { tests = { test("a", "failed", "first"), test("b", "failed", "first") }, output = "1" }
    results.merge(first, file { tests = { test("a", "passed"), test("b", "failed", "second") }, output = "2" })
    assert.same({ "flaky", "failed" }, { first.tests[1].status, first.tests[2].status })
    assert.same({ "first", "second" }, { first.tests[1].message, first.tests[2].message })
    assert.equal("12", first.output)
  end)

  it("gain the tests that an early end had kept from running", function()
    local first = file { tests = { test("a", "failed", "early") }, ended = "early" }
    results.merge(first, file { tests = { test("a", "passed"), test("b", "passed") } })
    assert.same({ passed = 2, failed = 0, skipped = 0, flaky = 1 }, results.count(first))
  end)

  local odd = file { tests = { test("a # b", "passed"), test("c", "failed", 'x\n"<&>"\27\255'), test("d", "skipped", "no KVM") },
    ended = "ended by signal KILL" }

  it("are TAP", function()
    assert.equal('TAP version 13\n1..4\nok 1 - a_spec.lua: a \\# b\nnot ok 2 - a_spec.lua: c\n  # x\n  # "<&>"\27\255\n' ..
      "ok 3 - a_spec.lua: d # SKIP no KVM\nnot ok 4 - a_spec.lua: the file gets to its end\n  # ended by signal KILL\n", tap.encode { odd })
  end)

  it("are XML of valid characters", function()
    local xml = junit.encode { odd }
    assert.truthy(xml:find('<testsuites tests="4" failures="2" skipped="1">', 1, true))
    assert.truthy(xml:find('<failure message="x">x&#10;&quot;&lt;&amp;&gt;&quot;\u{fffd}\u{fffd}&#10;</failure>', 1, true), xml)
    assert.truthy(xml:find('<skipped message="no KVM"/>', 1, true))
    assert.is_nil(xml:find "[%z\1-\8\11\12\14-\31\127]")
    assert.truthy(utf8.len(xml))
  end)
end)
