-- `succeed "false | true"` and `fail "nosuchcommand"` passed: a shell command counted by its last part alone, and any end that was
-- no success counted as a failure. The commands run here by this machine's shell, and by one that knows pipefail.
local assert = require "luassert"
local command = require "vmctl.scenario.command"
local vmctl = require "vmctl"

-- A verb's judgement: is it a success, is it a failure of its own, and why not.
local function judge(given, shell)
  local words, _, wanted = command.read("succeed", given, 30)
  if shell and words[1] == "sh" then words[1] = shell end
  local record = assert(vmctl.host:run(words))
  local is_failure, why = command.is_failure(record, wanted)
  return command.is_success(record), is_failure, why
end

local function succeeds(given, shell) return (judge(given, shell)) end

local function fails(given)
  local _, is_failure, why = judge(given)
  return is_failure, why
end

describe("a scenario's shell command", function()
  it("fails where one of its parts fails", function()
    assert.is_false(succeeds "cd /none; echo next")
    assert.is_false(succeeds "echo $unset_variable")
    assert.is_false(succeeds("false | true", "bash"))
    assert.is_true(succeeds("true | true", "bash"))
    assert.is_true(succeeds "cd /; echo next; if false; then exit 3; fi; false || true")
    assert.is_true(succeeds "")
  end)

  it("is plain where that is asked for, and a list is exact", function()
    assert.is_true(succeeds { "cd /none; echo next $unset_variable", strict = false })
    assert.is_false(succeeds { "cd /none; echo next", strict = true })
    assert.is_true(succeeds { "sh", "-c", "false; true" })
    local ok, err = pcall(function() command.read("succeed", { "echo", "a", strict = false }) end)
    assert.is_false(ok)
    assert.truthy(err:find "^spec/regress/half_failed_command_passes_spec.lua:%d+: succeed: 'strict' is for one shell command", err)
  end)

  it("has not failed by its own word when it is missing, cannot be started, or a signal ended it", function()
    local missing = "the command could not be started, which is no failure of its own; exit_code = N asks for it"
    assert.same({ false, missing }, { fails "nosuchcommand" })
    assert.same({ false, missing }, { fails { "nosuchcommand" } })
    assert.same({ false, missing }, { fails "/etc/passwd" })
    local killed = "signal SEGV ended it, which is no failure of its own; exit_code or signal asks for it"
    assert.same({ false, killed }, { fails "kill -SEGV $$" })
    assert.same({ false, killed }, { fails "sh -c 'kill -SEGV $$'; true" })
    assert.same({ false, "it succeeded" }, { fails "true" })
    assert.is_true(fails "exit 1")
    assert.is_true(fails "exit 200")
  end)

  it("fails in just the way that is asked for", function()
    assert.is_true(fails { "nosuchcommand", strict = true, exit_code = 127 })
    assert.is_true(fails { "kill -SEGV $$", strict = true, signal = "SIGSEGV" })
    assert.is_true(fails { "sh", "-c", "exit 7", exit_code = 7 })
    assert.same({ false, "exit code 7 was wanted" }, { fails { "exit 8", strict = true, exit_code = 7 } })
    assert.same({ false, "signal TERM was wanted" }, { fails { "exit 1", strict = true, signal = "TERM" } })
  end)
end)
