-- The programs in README.md run as they stand there.
-- Needs: 600 MiB
-- Takes about 30 seconds.
local assert = require "luassert"
local lfs = require "lfs"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 240

-- The README's blocks of Lua, each in a file.
local function programs()
  local found, file = {}, nil
  local folder = support.tmpdir()
  for line in io.lines "README.md" do
    if line == "```lua" then
      found[#found + 1] = ("%s/%d_spec.lua"):format(folder, #found + 1)
      file = assert(io.open(found[#found], "w"))
    elseif line == "```" and file then
      file:close()
      file = nil
    elseif file then
      file:write(line, "\n")
    end
  end
  return found
end

local function run(argv)
  argv.cwd, argv.timeout = lfs.currentdir(), LIMIT
  return assert(vmctl.host:run(argv))
end

describe("README.md", function()
  it("begins with a program that boots a guest and runs a pipeline", support.run(function()
    local done = run { "lua5.4", programs()[1] }
    assert.same({ "1 processors\n\n", "", 0 }, { done.stdout, done.stderr, done.exit_code })
  end, LIMIT))

  it("has a test scenario that passes", support.run(function()
    local list = programs()
    local done = run { "busted", "--lua=lua5.4", "--output=plainTerminal", list[#list] }
    assert.is_truthy(done.stdout:find("1 success / 0 failures / 0 errors", 1, true), done.stdout .. done.stderr)
    assert.equal(0, done.exit_code)
  end, LIMIT))
end)
