-- In a host program that ignores SIGCHLD the kernel keeps no exit status: a command by exec ended with "the link ended".
local script = require "spec.support.script"
local support = require "spec.support"

local head = [[
  local vmctl = require "vmctl"
  local TEXT = "somebody else took its exit status"
  local function says(text) assert(text and text:find(TEXT, 1, true), text) end
]]

local function ignoring(body)
  return support.run(function()
    script.check(head .. body, { command = { "env", "--ignore-signal=CHLD" } })
  end, 60)
end

describe("where SIGCHLD is ignored", function()
  it("a process has no exit status, and says so", ignoring [[
    local child = assert(vmctl.process.spawn { "sh", "-c", "echo said; exit 3", stdout = "pipe" })
    assert(child.stdout:read_line() == "said")
    local record, message, code = child:wait(30)
    assert(record == nil and code == "ECHILD", code)
    says(message)
  ]])

  it("a command by exec says the same, and has its output", ignoring [[
    local result = assert(vmctl.host:run { "sh", "-c", "echo said; exit 3" })
    assert(result.stdout == "said\n" and result.exit_code ~= 0 and result.exit_code ~= 3)
    says(result.error)
  ]])

  it("a pipeline says it of its stage", ignoring [[
    local result = assert(vmctl.host:pipeline { { "echo", "said" }, { "cat" } })
    assert(result.stdout == "said\n")
    says(result.stages[1].error)
  ]])
end)
