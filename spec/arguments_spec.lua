-- The command lines of the small programs.
local arguments = require "vmctl.base.arguments"
local assert = require "luassert"

local known = {
  ["--name"] = { into = "name" }, ["-name"] = { into = "name" }, ["--at"] = { into = "at", many = true },
  ["--count"] = { into = "count", read = function(text) return math.tointeger(tonumber(text)) end },
  ["--all"] = { into = "which", flag = "all" }, ["--run"] = { into = "run", rest = true },
}

local function parse(...)
  return arguments.parse({ ... }, known, { at = {} })
end

describe("a program's arguments", function()
  it("are values in the next word or behind '=', flags, and lists", function()
    assert.same({ at = {} }, parse())
    assert.same({ at = { "a", "b=c" }, name = "--all", count = 3, which = "all" },
      parse("--at", "a", "--at=b=c", "-name", "--all", "--count=3", "--all"))
    assert.same({ at = {}, name = "" }, parse "--name=")
  end)

  it("end where a program's own begin", function()
    assert.same({ at = {}, name = "x", run = { "--name", "y", n = 2 } }, parse("--name", "x", "--run", "--name", "y"))
  end)

  it("are refused by name", function()
    for _, case in ipairs { { "unknown option '--nmae' (see --help)", "--nmae", "x" }, { "unknown option 'x' (see --help)", "x" },
      { "unknown option '--all' (see --help)", "--all=x" }, { "--name: a value expected", "--name" },
      { "--count: a value expected", "--count", "many" }, { "--run: a value expected", "--run" },
      { "--run: a value expected", "--run=x" }, { "unknown option '' (see --help)", "" } } do
      assert.same({ nil, case[1] }, { parse(table.unpack(case, 2)) })
    end
  end)
end)
