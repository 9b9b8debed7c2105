-- `vmctl test --jobs` on spec files that pass, fail, hang and die: counts, exit codes, reports, and nothing left behind.
local assert = require "luassert"
local cjson = require "cjson"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local runner = require "vmctl.suite.runner"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local FILES = {
  good = [[describe("good", function() it("one", function() print "heard" end) it("two", function() end) pending("later") end)]],
  bad = [[describe("bad", function() it("passes", function() end) it("fails (x)", function() error "why" end) end)]],
  flaky = [[describe("flaky", function() it("passes the second time", function()
    local path = os.getenv "FLAG"
    if not io.open(path) then io.open(path, "w"):close() error "first" end
  end) end)]],
  dies = [[describe("dies", function() it("at once", function() os.exit(3) end) end)]],
  broken = [[error "cannot be loaded"]],
  exits = [[describe("exits", function() it("well", function()
    setmetatable({}, { __gc = function() os.exit(9) end }) -- when Lua closes
  end) end)]],
  crashes = [[describe("crashes", function() it("at first", function()
    io.stderr:write "told at once\n"
    if not io.open(os.getenv "FLAG") then io.open(os.getenv "FLAG", "w"):close() os.exit(99) end
  end) end)]],
  stays = [[describe("stays", function() it("whatever comes", function()
    local vmctl = require "vmctl"
    local watch = vmctl.signals.watch { "INT", "TERM" }
    vmctl.run(function()
      io.open(os.getenv "FLAG", "w"):close()
      while true do
        local name = watch:next()
        local file <close> = io.open(os.getenv "FLAG", "a")
        file:write(name, " ")
      end
    end)
  end) end)]],
  waits = [[describe("waits", function() it("for ever", function()
    io.open(os.getenv "FLAG", "w"):close()
    require "vmctl".sleep(1000)
  end) end)]],
}

-- A folder with some of the files above, and a function that runs vmctl test there.
local function suite(names)
  local folder = support.tmpdir()
  assert(core.fs.mkdir(folder .. "/specs"))
  for _, name in ipairs(names) do write(("%s/specs/%s_spec.lua"):format(folder, name), FILES[name]) end
  local function command(words)
    local all = { cli.PROGRAM, "test", "--artefacts", folder .. "/artefacts", folder .. "/specs", table.unpack(words) }
    all.env, all.timeout = { FLAG = folder .. "/flag" }, LIMIT
    return all
  end
  return folder, command, function(words) return assert(vmctl.host:run(command(words))) end
end

local function last_line(text)
  return text:match "([^\n]*)\n$"
end

describe("vmctl test --jobs", function()
  it("runs each file, counts all tests, and ends with the sum", support.run(function()
    local folder, _, run = suite { "good", "flaky" }
    local result = run { "--jobs", "2", "--rerun-failed", "1" }
    assert.equal("3 passed, 0 failed, 1 skipped", last_line(result.stdout))
    assert.truthy(result.stdout:find("flaky: flaky passes the second time", 1, true), result.stdout)
    assert.equal(0, result.exit_code)
    assert.equal("number", type(cjson.decode(read(folder .. "/artefacts/durations.json"))[folder .. "/specs/good_spec.lua"]))
  end, LIMIT))

  it("fails for a test, a file that ends early, and one that cannot be loaded", support.run(function()
    local _, _, run = suite { "good", "bad", "dies", "broken" }
    local result = run { "--jobs", "3" }
    assert.equal("3 passed, 3 failed, 1 skipped", last_line(result.stdout))
    for _, part in ipairs { "failed: bad fails (x) (line 1)", "ended early, with exit code 3", "cannot be loaded" } do
      assert.truthy(result.stdout:find(part, 1, true), part)
    end
    assert.equal(1, result.exit_code)
  end, LIMIT))

  it("fails for a file that ends badly when all of its tests have passed", support.run(function()
    local _, _, run = suite { "exits", "good" }
    local result = run { "--jobs", "2" }
    assert.equal("3 passed, 1 failed, 1 skipped", last_line(result.stdout))
    assert.truthy(result.stdout:find("ended with exit code 9, though no test failed", 1, true), result.stdout)
    assert.equal(1, result.exit_code)
  end, LIMIT))

  it("shows standard error at once where that is asked for, and runs no file again that ended with a given code", support.run(function()
    local _, _, run = suite { "crashes" }
    local result = run { "--rerun-failed", "1", "--no-rerun-code", "99", "--pass-stderr" }
    assert.same({ 1, "told at once\n" }, { result.exit_code, result.stderr })
    result = run { "--rerun-failed", "1" }
    assert.same({ 0, "" }, { result.exit_code, result.stderr })
  end, LIMIT))

  it("runs again what failed, and nothing else", support.run(function()
    local _, _, run = suite { "bad" }
    local document = cjson.decode(run({ "--json", "--rerun-failed", "2" }).stdout)
    assert.same({ 1, 3 }, { document.files[1].tests[1].attempts, document.files[1].tests[2].attempts })
    assert.same({ 1, 1, 0, 0 }, { document.passed, document.failed, document.skipped, document.flaky })
  end, LIMIT))

  it("writes JUnit's XML and TAP", support.run(function()
    local folder, _, run = suite { "good", "bad" }
    local result = run { "--tap", "-", "--junit", folder .. "/junit.xml" }
    assert.equal("TAP version 13\n1..5\n", result.stdout:match "^.-\n.-\n")
    assert.truthy(read(folder .. "/junit.xml"):find('<testsuites tests="5" failures="1" skipped="1">', 1, true))
    assert.equal(1, result.exit_code)
    local lost = run { "--junit", folder .. "/none/junit.xml" }
    assert.equal(125, lost.exit_code)
    assert.truthy(lost.stderr:find("none/junit.xml", 1, true), lost.stderr)
  end, LIMIT))

  it("lists tests, and runs those whose names a pattern has", support.run(function()
    local folder, _, run = suite { "good", "bad" }
    local specs = folder .. "/specs/"
    assert.equal(specs .. "bad_spec.lua: bad passes\n" .. specs .. "bad_spec.lua: bad fails (x)\n" ..
      specs .. "good_spec.lua: good one\n" .. specs .. "good_spec.lua: good two\n" .. specs .. "good_spec.lua: good later\n",
      run({ "--list" }).stdout)
    assert.equal("1 passed, 0 failed, 0 skipped", last_line(run({ "--filter", "d pass" }).stdout))
  end, LIMIT))

  it("splits files into shards, each file in one", support.run(function()
    local _, _, run = suite { "good", "bad", "flaky" }
    local seen = {}
    for i = 1, 3 do
      for path in run({ "--list", "--shard", i .. "/3" }).stdout:gmatch "(%w+_spec%.lua):" do seen[path .. i] = true end
    end
    local count = 0
    for _ in pairs(seen) do count = count + 1 end
    assert.equal(3, count)
  end, LIMIT))

  it("ends at the first failure when told to, and ends what runs", support.run(function()
    local _, _, run = suite { "bad", "waits" }
    local result = run { "--jobs", "2", "--fail-fast" }
    assert.equal(1, result.exit_code)
    assert.truthy(result.stdout:find("bad fails (x)", 1, true))
  end, LIMIT))

  it("ends a file at its limit, and says so", support.run(function()
    local _, _, run = suite { "waits" }
    local result = run { "--file-limit", "1" }
    assert.truthy(result.stdout:find("not finished in time", 1, true), result.stdout)
    assert.equal(1, result.exit_code)
  end, LIMIT))

  for _, case in ipairs { { "INT", 130 }, { "TERM", 143 } } do
    it("ends all at " .. case[1], support.run(function()
      local folder, command = suite { "waits" }
      local words = command { "--jobs", "2" }
      words.timeout, words.stdin, words.stdout, words.stderr = nil, "null", "null", "null"
      local program <close> = assert(vmctl.process.spawn(words))
      support.eventually(function() return core.fs.stat(folder .. "/flag") ~= nil end)
      program:kill(case[1], true)
      assert.same({ exit_code = case[2] }, program:wait(LIMIT))
      for _, pid in ipairs(core.fs.list "/proc") do
        local file = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/cmdline")
        local line = file and file:read "a" or ""
        if file then file:close() end
        assert.is_nil(line:find(folder, 1, true), line)
      end
    end, LIMIT))
  end

  it("kills all at a second signal", support.run(function()
    local folder, command = suite { "stays" }
    local words = command { "--json", "--jobs", "1" }
    words.timeout, words.stdin, words.stdout, words.stderr = nil, "null", "pipe", "null"
    local program <close> = assert(vmctl.process.spawn(words))
    support.eventually(function() return core.fs.stat(folder .. "/flag") ~= nil end)
    program:kill("INT", true)
    support.eventually(function() return read(folder .. "/flag") == "INT " end)
    program:kill("INT", true)
    local parts = {}
    for bytes in function() return program.stdout:read(1 << 16, LIMIT) end do parts[#parts + 1] = bytes end
    local document = cjson.decode(table.concat(parts))
    assert.same({ exit_code = 130 }, program:wait(LIMIT))
    assert.equal("ended by signal KILL", document.files[1].ended)
    assert.equal("INT ", read(folder .. "/flag")) -- TERM would come first where it is waited for
  end, LIMIT))

  it("ends a file that begins while all are ended", support.run(function()
    local folder = suite { "waits" }
    local run
    run = runner.new { budget = { jobs = 1, memory = 1, cpus = 1 }, artefacts = folder .. "/artefacts", limit = LIMIT,
      on = function(what) if what == "begin" then run:stop "TERM" end end }
    local files = run:run { { path = folder .. "/specs/waits_spec.lua", expected = 1, memory = 0, cpus = 1 } }
    assert.same({ 1, "ended by signal TERM" }, { #files, files[1].ended })
  end, LIMIT))

  it("refuses what makes no sense", support.run(function()
    local _, _, run = suite { "good" }
    for words, part in pairs { ["--shard 3/2"] = "--shard", ["--jobs 0"] = "--jobs", ["--memory much"] = "--memory" } do
      local option, value = words:match "(%S+) (%S+)"
      local result = run { option, value }
      assert.equal(125, result.exit_code)
      assert.truthy(result.stderr:find(part, 1, true), result.stderr)
    end
    local none = vmctl.host:run { cli.PROGRAM, "test", "--jobs", "2", "/no/such/folder" }
    assert.equal(125, none.exit_code)
    assert.truthy(none.stderr:find("/no/such/folder", 1, true))
  end, LIMIT))
end)
