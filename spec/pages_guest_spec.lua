-- README.md and docs/*.md: their programs run as they stand there (tools/check-pages; `make test-pages`).
-- Needs: 1800 MiB
-- Takes about 100 seconds.
local assert = require "luassert"
local lfs = require "lfs"
local support = require "spec.support"
local vmctl = require "vmctl"

package.path = "tools/?.lua;" .. package.path
local pages = require "doc.pages"

local LIMIT = 580

describe("the programs of a page", function()
  it("are its fences of lua and sh, with what comments in front of them say", function()
    local found = pages.programs("p.md", table.concat({ "# Title", "```lua", "one()", "```", "<!-- goes on -->", "```lua", "two()", "```",
      "<!-- not run: no KVM -->", "```sh", "three", "```", "", "   <!-- setup", "   mkdir x", "   -->", "   <!-- fails -->", "   ```sh",
      "   four", "   ```", "```output", "a", "b", "```", "```json", "{}", "```", "<!-- file: five.lua -->", "```lua", "five()", "```",
      "<!-- not run: of something else -->", "text", "```sh", "six", "```" }, "\n"))
    for _, program in ipairs(found) do program.page, program.indent, program.marks = nil, nil, nil end
    assert.same({
      { line = 2, language = "lua", text = "one()\ntwo()\n" },
      { line = 10, language = "sh", text = "three\n", reason = "no KVM" },
      { line = 18, language = "sh", text = "four\n", setup = "mkdir x\n", fails = true, output = { "a", "b" } },
      { line = 29, language = "lua", text = "five()\n", file = "five.lua" },
      { line = 34, language = "sh", text = "six\n" },
    }, found)
  end)

  it("print their lines in order, with other numbers", function()
    assert.is_nil(pages.missing({ "took 1.5 s", "… is x86-64" }, "begin\n  took 22.01 s\nlinux is x86-64\nend\n"))
    assert.equal("b", pages.missing({ "a", "b" }, "b\na\n"))
    assert.equal("a+", pages.missing({ "a+" }, "aa\n"))
  end)
end)

describe("README.md", function()
  it("has 700 words at most", function()
    local file <close> = assert(io.open "README.md")
    local _, words = file:read "a":gsub("%S+", "")
    assert.is_true(words <= 700, words .. " words")
  end)
end)

describe("README.md and docs #pages", function()
  it("have programs that run, and those that do not say why", support.run(function()
    local done = assert(vmctl.host:run { "lua5.4", "tools/check-pages", cwd = lfs.currentdir(), timeout = LIMIT, merge_stderr = true })
    io.stdout:write((("\n" .. done.stdout):gsub("\n$", ""):gsub("\n", "\n# ")), "\n")
    assert.equal(0, done.exit_code, done.stdout)
    local ran, failed = done.stdout:match "pages: (%d+) programs ran, (%d+) failed, %d+ not run\n$"
    assert.equal("0", failed)
    assert.is_true(tonumber(ran) >= 25, ran)
  end, LIMIT))
end)
