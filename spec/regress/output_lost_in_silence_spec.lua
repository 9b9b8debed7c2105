-- Output that could not be written was no error: `vmctl exec web -- pg_dump > /full/disk` ended with 0 and left a cut file.
local assert = require "luassert"
local cli = require "spec.support.cli"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local function shell(line)
  return assert(vmctl.host:run { "sh", "-c", line:gsub("VMCTL", cli.PROGRAM), timeout = LIMIT })
end

describe("output of the command line that cannot be written", function()
  it("is an error of every command", support.run(function()
    local copy = "cp --json README.md host:" .. support.tmpdir() .. "/copy"
    for _, command in ipairs { "exec host -- echo x", "exec --json host -- echo x", "list", "list --json", "doctor --json", "--version",
      "completion bash", "ready host", copy } do
      local result = shell("VMCTL " .. command .. " > /dev/full")
      assert.equal(125, result.exit_code, command)
      assert.matches("vmctl: standard output: No space left on device\n$", result.stderr)
    end
  end, LIMIT))

  it("ends a command whose reader has left, as SIGPIPE would", support.run(function()
    local result = shell("{ VMCTL exec host -- seq 1000000; echo $? >&2; } | head -n 1")
    assert.same({ "1\n", "141\n" }, { result.stdout, result.stderr })
  end, LIMIT))

  it("ends the command that went on writing", support.run(function()
    local mark = support.tmpdir() .. "/pid"
    shell("VMCTL exec host -- sh -c 'echo $$ > " .. mark .. "; exec yes' | head -n 1")
    local pid = assert(io.open(mark)):read "l"
    support.eventually(function() return not io.open("/proc/" .. pid .. "/stat") end)
  end, LIMIT))
end)
