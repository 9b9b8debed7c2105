-- A failing scenario's report, read as a person reads it: scenario specs run in a busted of their own.
local assert = require "luassert"
local core = require "vmctl.core"
local support = require "spec.support"
local there = require "spec.support.scenario"

local LIMIT = 90 -- seconds: a few boots

local FAILING = [==[
describe("a web server", function()
  local vms = scenario.machines({ "web", "db" }, {
    defaults = { kernel = DEFAULTS.kernel, initrd = DEFAULTS.initrd, memory = "192M", networks = { "lan" } },
    artefacts = ARTEFACTS, snapshot = true,
  })

  it("passes", function() vms.web:succeed "true" end)

  it("answers", function()
    vms.db:succeed "echo DB-SAYS > /dev/console"
    scenario.subtest("asking it", function()
      vms.web:succeed("echo WEB-LAST-WORDS > /dev/console; sleep 0.2; echo some; echo output; "
        .. "printf '\\033[31mred\\007 words\\n' >&2; exit 42")
    end)
  end)

  it("is compared", function()
    vms.web:succeed "true"
    assert.equal("expected", "got")
  end)

  it("has a mistake", function()
    vms.web:start()
    local nothing = nil
    return nothing.field
  end)

  it("is not done", function() pending "later" end)
end)

describe("a machine without a kernel", function()
  local vms = scenario.machines({ "bad" }, { defaults = { kernel = "/nonexistent/vmlinuz" }, artefacts = ARTEFACTS })
  it("does not start", function() vms.bad:start() end)
end)

describe("a hook", function()
  local vms = scenario.machines({ "bad" }, { defaults = { kernel = "/nonexistent/vmlinuz" }, artefacts = ARTEFACTS })
  before_each(function() vms.bad:succeed "in a hook" end)
  it("is in the way", function() end)
end)
]==]

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

-- Busted's report about one test: from its name to the next empty line.
local function paragraph(text, name)
  local at = assert(text:find(name .. "\n", 1, true), name .. " is not in:\n" .. text)
  return text:sub(at):match "^(.-)\n\n" or text:sub(at)
end

describe("the report of a failing scenario", function()
  local folder, result

  lazy_setup(function()
    folder = there.folder()
    result = there.busted(folder, FAILING, "plainTerminal")
  end)

  lazy_teardown(function() there.remove(folder) end)

  local function with_report(fn) return support.run(fn, LIMIT) end

  it("counts what passed, failed and is pending", with_report(function()
    assert_has(result.stdout, "1 success / 3 failures / 2 errors / 1 pending")
    assert.not_equal(0, result.exit_code)
    assert.truthy(result.stdout:find "inner_spec%.lua:30: later", result.stdout)
  end))

  it("says where, in which subtest, on which machine and how the command ended", with_report(function()
    local text = paragraph(result.stdout, "a web server answers")
    assert.truthy(text:find("subtest 'asking it': [^\n]*inner_spec.lua:14: web: succeed: exit code 42 after %d+%.%d s\n"), text)
    assert_has(text, "\n  command: echo WEB-LAST-WORDS > /dev/console;")
  end))

  it("shows stdout, stderr and the console, without what a terminal would obey", with_report(function()
    local text = paragraph(result.stdout, "a web server answers")
    assert_has(text, "\n  stdout:\n    | some\n    | output\n")
    assert_has(text, "\n  stderr:\n    | red\\x07 words\n")
    assert.truthy(text:find "\n  console of web:\n    | [^\n]*WEB%-LAST%-WORDS", text)
    assert.is_nil(text:find("DB-SAYS", 1, true)) -- another machine's console is not about this
    assert.is_nil(text:find("\27", 1, true))
    assert.is_nil(text:find("stack traceback", 1, true))
  end))

  it("names the folder of artefacts, which has the logs and the capture", with_report(function()
    local text = paragraph(result.stdout, "a web server answers")
    local path = folder .. "/artefacts/a_web_server_answers"
    assert_has(text, "\n  artefacts: " .. path)
    assert_has(there.read(path .. "/report.txt"), "web: succeed: exit code 42")
    assert_has(there.read(path .. "/commands.log"), "subtest 'asking it': failed")
    assert_has(there.read(path .. "/commands.log"), "stderr| red\\x07 words")
    assert_has(there.read(path .. "/web.console.log"), "WEB-LAST-WORDS")
    assert_has(there.read(path .. "/db.console.log"), "DB-SAYS")
    assert.truthy(there.read(path .. "/lan.pcapng"))
  end))

  it("adds consoles and artefacts to a comparison's and a mistake's words", with_report(function()
    local text = paragraph(result.stdout, "a web server is compared")
    assert_has(text, "Expected objects to be equal")
    assert_has(text, "console of web")
    assert_has(text, "artefacts: " .. folder .. "/artefacts/a_web_server_is_compared")
    text = paragraph(result.stdout, "a web server has a mistake")
    assert_has(text, "attempt to index a nil value")
    assert_has(text, "artefacts: " .. folder .. "/artefacts/a_web_server_has_a_mistake")
  end))

  it("tells why a machine did not start", with_report(function()
    local text = paragraph(result.stdout, "a machine without a kernel does not start")
    assert_has(text, "bad: start: ")
    assert_has(text, "/nonexistent/vmlinuz")
  end))

  it("tells of a failure in a hook, and keeps its artefacts", with_report(function()
    assert_has(result.stdout, "bad: succeed: it did not start: ")
    local path = assert(result.stdout:match "in a hook.*" or result.stdout):match("artefacts: (%S+inner_spec%.lua_%d+)")
    assert.truthy(path and there.read(path .. "/commands.log"), result.stdout)
  end))

  it("leaves nothing of tests that passed, and no processes", with_report(function()
    assert.is_nil(core.fs.stat(folder .. "/artefacts/a_web_server_passes"))
    for _, pid in ipairs(core.fs.list "/proc") do
      local command = pid:match "^%d+$" and there.read("/proc/" .. pid .. "/cmdline") or ""
      assert.is_nil(command:find(folder, 1, true))
    end
  end))
end)

local SMALL = [==[
describe("a scenario", function()
  local vms = scenario.machines({ a = { kernel = "/nonexistent/vmlinuz" } }, { artefacts = ARTEFACTS, keep = true })
  it("passes", function() assert.equal("10.77.1.1", vms.a and "10.77.1.1") end)
  it("fails", function() vms.a:succeed "true" end)
end)
]==]

describe("busted's other outputs", function()
  it("are TAP", support.run(function()
    local folder = support.tmpdir()
    local result = there.busted(folder, SMALL, "TAP")
    assert_has(result.stdout, "ok 1 - a scenario passes\n")
    assert_has(result.stdout, "not ok 2 - a scenario fails\n")
    assert_has(result.stdout, "a: succeed: it did not start: ")
    assert_has(result.stdout, "\n#   artefacts: " .. folder .. "/artefacts/a_scenario_fails\n")
    assert_has(result.stdout, "1..2")
  end, LIMIT))

  it("and JUnit", support.run(function()
    local folder = support.tmpdir()
    local result = there.busted(folder, SMALL, "junit")
    assert.truthy(result.stdout:find '<testsuite[^>]* tests=[\'"]2[\'"]', result.stdout)
    assert.truthy(result.stdout:find '<testcase[^>]*name=[\'"]a scenario fails[\'"]', result.stdout)
    assert_has(result.stdout, "a: succeed: it did not start: ")
    assert_has(result.stdout, "artefacts: " .. folder .. "/artefacts/a_scenario_fails")
  end, LIMIT))

  it("and artefacts go where VMCTL_ARTEFACTS says, and stay when they are asked to", support.run(function()
    local folder = support.tmpdir()
    local text = SMALL:gsub("artefacts = ARTEFACTS, keep = true", "")
    there.busted(folder, text, "TAP", { VMCTL_ARTEFACTS = folder .. "/elsewhere", VMCTL_KEEP_ARTEFACTS = "1" })
    assert.truthy(core.fs.stat(folder .. "/elsewhere/a_scenario_passes"))
    assert.truthy(core.fs.stat(folder .. "/elsewhere/a_scenario_fails/report.txt"))
    there.busted(folder, text, "TAP", { VMCTL_ARTEFACTS = folder .. "/elsewhere" })
    assert.is_nil(core.fs.stat(folder .. "/elsewhere/a_scenario_passes"))
  end, LIMIT))
end)
