-- The page of `vmctl report`: what is on it, in which order, and that no test's text can be markup.
local assert = require "luassert"
local cli = require "spec.support.cli"
local core = require "vmctl.core"
local report = require "vmctl.suite.report"
local step_log = require "vmctl.suite.step_log"
local suite_results = require "spec.support.suite_results"
local support = require "spec.support"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function decode(path)
  return (path:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

describe("a suite's report", function()
  local folder, page

  before_each(function()
    folder = support.tmpdir()
    page = report.page(suite_results.fill(folder), folder)
  end)

  local function at(text)
    return assert(page:find(text, 1, true), text)
  end

  it("has the counts, and failures before what is flaky, passed and skipped", function()
    assert.truthy(page:find("<title>3 passed, 1 failed</title>", 1, true))
    assert.truthy(page:find('<div class="failed"><b>1</b>failed</div><div class="flaky"><b>1</b>flaky</div>', 1, true))
    assert.is_true(at "it fails" < at "it is flaky")
    assert.is_true(at "it is flaky" < at "it passes")
    assert.is_true(at "it passes" < at "it is skipped")
    assert.truthy(page:find('<details class="failed" open>', 1, true))
    assert.is_nil(page:find('<details class="passed" open>', 1, true))
  end)

  it("has nothing of a test as markup, and valid characters only", function()
    assert.is_nil(page:find("<script", 1, true))
    at "why &lt;script&gt;alert(1)&lt;/script&gt;"
    at "&lt;b&gt; &amp; &quot;c&quot;"
    assert.is_nil(page:find "[%z\1-\8\11-\31\127]")
    assert.truthy(utf8.len(page))
  end)

  it("needs no network", function()
    assert.is_nil(page:find "https?://")
    assert.is_nil(page:find "<link")
    for target in page:gmatch 'src="([^"]*)"' do assert.truthy(core.fs.stat(folder .. "/" .. decode(target)), target) end
  end)

  it("has the steps with their times, and the machines' bars", function()
    at '<td class="at">3.00 s</td><td>anna: echo'
    at "left:10.00%;width:90.00%"   -- anna: 0.5 s to 5 s
    at "left:40.00%;width:40.00%"   -- ben: 2 s to 4 s
  end)

  it("has links that lead to the files", function()
    local links = {}
    for target in page:gmatch 'href="([^"]*)"' do
      links[#links + 1] = decode(target)
      assert.truthy(core.fs.stat(folder .. "/" .. decode(target)), target)
    end
    assert.same({ "a_spec.lua/it_fails/anna #1%.log", "a_spec.lua/it_fails/commands.log", "a_spec.lua/it_fails/screen.png" }, links)
  end)

  it("is written beside the results by the command line", support.run(function()
    local result = cli.run { "report", folder .. "/" }
    assert.equal(folder .. "/report.html\n", result.stdout)
    assert.equal(page, read(folder .. "/report.html"))
    assert.equal(('{"path":"%s/report.html"}\n'):format(folder), cli.run({ "report", "--json", folder }).stdout)
    local none = cli.run { "report", "/no/such" }
    assert.equal(125, none.exit_code)
    assert.truthy(none.stderr:find("/no/such/results.json", 1, true))
    local file <close> = assert(io.open(folder .. "/results.json", "w"))
    file:write '{"files":[5]}'
    file:close()
    local odd = cli.run { "report", folder }
    assert.equal(125, odd.exit_code)
    assert.truthy(odd.stderr:find("no results of a suite", 1, true))
  end))
end)

describe("a test's log of steps", function()
  it("is read with the output below its steps, and is nothing where there is no file", function()
    local folder = support.tmpdir()
    suite_results.fill(folder)
    local steps = step_log.read(folder .. "/a_spec.lua/it_fails/commands.log")
    assert.equal(5, #steps)
    assert.same({ at = 3, text = "anna: echo '<b>': exit code 0 (0.02 s)", output = { 'stdout| <b> & "c"' } }, steps[3])
    local spans, last = step_log.machines(steps)
    assert.same({ { name = "anna", from = 0.5, to = 5 }, { name = "ben", from = 2, to = 4 } }, spans)
    assert.equal(5, last)
    assert.is_nil(step_log.read(folder .. "/none"))
  end)
end)
