-- tools/specs.lua, which runs these specs by vmctl test: a mistake of that must not make a failure vanish.
local assert = require "luassert"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local GOOD = [[describe("good", function() it("passes", function() end) end)]]
local BAD = [[describe("bad", function() it("fails", function() error "why" end) end)]]
local DIES = [[describe("dies", function() it("at once", function() os.exit(0) end) end)]]

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

-- Runs it on such a file. Another runner than vmctl test is a shell script, which is told the spec file as $spec.
local function specs(text, runner)
  local folder = support.tmpdir()
  local path = folder .. "/a_spec.lua"
  write(path, text)
  assert(core.fs.mkdir(folder .. "/specs"))
  local env = { VMCTL_BUILD = folder, JOBS = "2", VMCTL_NESTED = "1", VMCTL_SLURM = "1", VMCTL_SSH = "1", VMCTL_DISTRIBUTIONS = "none" }
  if runner then
    env.SPEC_RUNNER = folder .. "/runner"
    write(env.SPEC_RUNNER, ("#!/bin/sh\nspec=%s\n%s\n"):format(path, runner))
    assert.equal(0, assert(vmctl.host:run { "chmod", "755", env.SPEC_RUNNER }).exit_code)
  end
  env.LUA_PATH_5_4, env.LUA_CPATH_5_4 = package.path, package.cpath -- the folder has no modules
  local result = assert(vmctl.host:run { "lua5.4", "tools/specs.lua", path, env = env, timeout = LIMIT })
  return result.exit_code, result.stdout:match "([^\n]*)\n$", result.stdout .. result.stderr
end

describe("tools/specs.lua", function()
  it("ends with the sum and the exit code of vmctl test", support.run(function()
    for text, expected in pairs { [GOOD] = { 0, 1, 0 }, [BAD] = { 1, 0, 1 }, [DIES] = { 1, 0, 1 } } do
      local code, last = specs(text)
      assert.same({ expected[1], ("%d passed, %d failed, 0 skipped"):format(expected[2], expected[3]) }, { code, last })
    end
  end, LIMIT))

  it("fails where no test is", support.run(function()
    local code, last, said = specs ""
    assert.same({ 1, "0 passed, 1 failed" }, { code, last })
    assert.truthy(said:find "no spec was found")
  end, LIMIT))

  local BUSTED = "busted --lua=lua5.4 --helper=tools/spec-witness.lua $spec; "
  for what, case in pairs {
    ["runs nothing"] = { "exit 0", "its busted did not get to its end" },
    ["does not see a failure"] = { BUSTED .. "exit 0", "its busted has counted 1 failures", BAD },
    ["keeps no result"] = { BUSTED, "its busted has counted 1, 0, 0 passed, failed and skipped, the results have 0, 0, 0" },
    ["counts other tests"] = { BUSTED .. [[while [ "$1" != --tap ]; do shift; done; echo "ok 1 - $spec: a # SKIP" >"$2"]],
      "its busted has counted 1, 0, 0 passed, failed and skipped, the results have 0, 0, 1" },
  } do
    it("fails where vmctl test " .. what, support.run(function()
      local code, last, said = specs(case[3] or GOOD, case[1])
      assert.equal(1, code, said)
      assert.truthy(said:find(case[2], 1, true), said)
      assert.matches("^%d passed, 1 failed$", last)
    end, LIMIT))
  end
end)
