local assert = require "luassert"

package.path = "tools/?.lua;" .. package.path
local block = require "doc.block"
local check = require "doc.check"
local functions = require "doc.functions"
local types = require "doc.types"

-- The check's complaints about a module's only function; the module is written to a file, since the source is read as well.
local function complaints(text)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local module = assert(loadfile(path))()
  local list = {}
  check.entry(functions.describe(module.call, "call"), function(_, what) list[#list + 1] = what end)
  os.remove(path)
  return list
end

describe("the check of docstrings", function()
  local GOOD = [[
local M = {}

--- Asks. Waits.
---@param stream vmctl.Stream
---@param timeout? number seconds
---@return string|nil answer, string?, string? EOF
function M.call(stream, timeout)
  return stream:read_line(nil, timeout)
end

return M
]]

  local function spoil(what, with)
    local text, count = GOOD:gsub(what, with)
    assert.equal(1, count)
    return complaints(text)
  end

  it("has nothing to say of a function that is described", function()
    assert.same({}, complaints(GOOD))
  end)

  it("misses a docstring", function()
    assert.same({ "no docstring" }, spoil("%-%-%- Asks.-\nfunction", "\nfunction"))
  end)

  it("takes a plain comment for what is not for users", function()
    assert.same({}, spoil("%-%-%- Asks.-\nfunction", "-- For ourselves.\nfunction"))
  end)

  it("misses what is said of the values", function()
    assert.same({ "it gives values, and the docstring does not say which" }, spoil("%-%-%-@return[^\n]*\n", ""))
  end)

  it("does not take the values of functions inside for the function's own", function()
    assert.same({}, complaints [[
local M = {}

--- Sorts in place. Does not wait.
---@param list table[]
function M.call(list)
  table.sort(list, function(a, b)
    return a.name < b.name
  end)
end

return M
]])
  end)

  it("misses whether a function waits that takes a time-out", function()
    assert.same({ "it may wait, and the docstring does not say whether" }, spoil(" Waits%.", ""))
  end)

  it("misses it where only the code waits", function()
    assert.same({ "it may wait, and the docstring does not say whether" },
      complaints((GOOD:gsub(" Waits%.", ""):gsub("%-%-%-@param timeout[^\n]*\n", ""))))
  end)

  it("refuses a parameter that the function does not have", function()
    assert.same({ "@param pipe: it has no such parameter" }, spoil("@param stream", "@param pipe"))
  end)

  it("names a class that is nowhere", function()
    local model = { parts = {}, reached = {}, unknown = { ["vmctl.Nobody"] = { name = "call", path = "x.lua", line = 3 } } }
    assert.same({ "x.lua:3: call: its docstring speaks of vmctl.Nobody, which is nowhere" }, check.all(model))
  end)

end)

describe("the model of what is public", function()
  local model = require("doc.model").read()

  local function method(class, name)
    for _, entry in ipairs(model.reached[class].methods) do if entry.name == name then return entry end end
  end

  it("has the parts, and the classes that their functions speak of", function()
    assert.equal("lua/vmctl/machine/init.lua", model.parts["vmctl.machine"].by_name.launch.path)
    assert.truthy(model.reached["vmctl.Machine"])
    assert.truthy(model.reached["vmctl.Stream"])
    assert.is_nil(model.reached["vmctl.StereosConnection"])
  end)

  it("has the docstring of the function that does the work, whoever hands the call on", function()
    assert.same({ "where", "opts" }, model.parts["vmctl.exec"].by_name.client.params)
    assert.equal(method("vmctl.ExecClient", "run").block.text, method("vmctl.Machine", "exec").block.text)
    assert.truthy(model.parts["vmctl"].by_name.sleep.block.text:find "Waits")
  end)
end)

describe("a docstring", function()
  local function parse(text)
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
    return block.parse(lines)
  end

  it("continues over lines, in the text and in its tags", function()
    local found = parse [[
--- Runs it.
-- And waits.
---@param opts? { timeout: number?,
-- name: string } seconds;
-- its name]]
    assert.equal("Runs it.\nAnd waits.", found.text)
    assert.same({ { name = "opts", type = "{ timeout: number?, name: string }", text = "seconds; its name", optional = true } },
      found.params)
  end)

  it("has several values in one line, with words between them", function()
    local found = parse "---@return integer|nil fd, string leftover bytes (a few, string or not), string? code EBUSY, ENOTSUP"
    assert.same({
      { type = "integer|nil", text = "fd" }, { type = "string", text = "leftover bytes (a few, string or not)" },
      { type = "string?", text = "code EBUSY, ENOTSUP" },
    }, found.returns)
  end)

  it("knows where a type ends", function()
    for _, text in ipairs {
      "string[]|nil", "fun(a: integer, b?: table<string, any>): string?, vmctl.Stream", '"a b"|"c"|nil',
      "{ a: { b: string }[], c: fun() }?", "table<string, { x: integer }>", "(string|nil)[]",
    } do
      assert.equal(#text + 1, types.scan(text .. " words", 1), text)
    end
  end)

  it("gives each field its share of what is said about the options", function()
    local fields = { { name = "from" }, { name = "idle" }, { name = "linger" }, { name = "fn" } }
    local rest = types.share(fields, "for all; from: where (a; b); idle, linger: seconds; none by default; fn(peer): may wait")
    assert.equal("for all", rest)
    assert.same({ "where (a; b)", "seconds; none by default", "seconds; none by default", "may wait" },
      { fields[1].text, fields[2].text, fields[3].text, fields[4].text })
  end)

  it("splits options into their fields", function()
    local fields, short = types.options 'number|{ timeout: number, mode: "a"|"b"|nil, list: string[]? }'
    assert.equal("number|table", short)
    assert.same({
      { name = "timeout", type = "number", optional = false }, { name = "mode", type = '"a"|"b"|nil', optional = false },
      { name = "list", type = "string[]", optional = true },
    }, fields)
  end)
end)

describe("make doc", function()
  local function sh(command)
    local pipe = io.popen("{ " .. command .. "\n} 2>&1")
    local output = pipe:read "a"
    return output, (pipe:close())
  end

  local dir

  setup(function() dir = sh("mktemp -d /tmp/vmctl-doc-XXXXXX"):match "%S+" end)
  teardown(function() sh("rm -rf " .. dir) end)

  it("has a page for each part, and its functions with what they give", function()
    local output, ok = sh("lua5.4 tools/ldoc-input " .. dir)
    assert.is_true(ok, output)
    local page = assert(io.open(dir .. "/vmctl.machine.lua")):read "a"
    assert.truthy(page:find("@tparam[opt] number opts.timeout", 1, true))
    assert.truthy(page:find("@tfield[opt] string initrd", 1, true))
    assert.truthy(page:find("@treturn[2] string code: ENOENT", 1, true))
    assert.truthy(page:find("function Machine:wait_ready(opts) end", 1, true))
    assert.truthy(assert(io.open(dir .. "/codes.md")):read "a":find("## ETIMEDOUT", 1, true))
  end)

  it("makes manual pages of the programs' own help, which groff reads without a word", function()
    local output, ok = sh("lua5.4 tools/man.lua " .. dir)
    assert.is_true(ok, output)
    for name, words in pairs { vmctl = "%-%-console%-log FILE", ["vmctl-agent"] = "%-%-allow%-cid CID" } do
      if os.execute "command -v groff >/dev/null 2>&1" then
        output = sh(("groff -ww -man -Tascii %s/%s.1 | sed 's/\27[^m]*m//g; s/.\b//g'"):format(dir, name))
        assert.truthy(output:find(words), output)
        assert.falsy(output:find "warning", output)
      end
    end
  end)

  it("finds a link that leads nowhere", function()
    local file = assert(io.open(dir .. "/a.html", "w"))
    file:write '<a name = "here"></a><a href="#here">x</a><a href="a.html#there">x</a>'
    file:close()
    local output, ok = sh("lua5.4 tools/check-links " .. dir)
    assert.is_nil(ok)
    assert.equal(dir .. "/a.html: a link leads nowhere: a.html#there\n", output)
  end)
end)
