-- A program that was started with descriptor 0 closed had the loop's timer there: `vmctl exec host -- cat <&-` read it for ever.
local assert = require "luassert"
local cli = require "spec.support.cli"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local function shell(line)
  return assert(vmctl.host:run { "sh", "-c", line:gsub("VMCTL", cli.PROGRAM), timeout = LIMIT })
end

describe("a program that is started without a standard descriptor", function()
  it("has empty input", support.run(function()
    local result = shell "VMCTL exec host -- cat <&-; echo $?"
    assert.same({ "0\n", "" }, { result.stdout, result.stderr })
  end, LIMIT))

  it("fails when it has something to say and no output", support.run(function()
    local result = shell "VMCTL exec host -- echo x >&-; echo $? >&2"
    assert.equal("vmctl: standard output: Bad file descriptor\n125\n", result.stderr)
  end, LIMIT))

  it("works without a place for errors", support.run(function()
    assert.same({ "x\n0\n", "" }, { shell("VMCTL exec host -- echo x 2>&-; echo $?").stdout, "" })
    assert.equal("125\n", shell("VMCTL exec nobody -- echo x 2>&-; echo $?").stdout)
  end, LIMIT))

  it("works without all three", support.run(function()
    local result = shell "VMCTL exec host -- sh -c 'exit 7' <&- >&- 2>&-; echo $?"
    assert.equal("7\n", result.stdout)
  end, LIMIT))

  it("serves: the agent and the cc helper", support.run(function()
    local folder = support.tmpdir()
    local agent <close> = assert(vmctl.process.spawn { "sh", "-c", -- luacheck: ignore
      ("exec build/vmctl-agent --listen unix:%s/a <&- >&- 2>&-"):format(folder), death_signal = "KILL" })
    local client = assert(vmctl.exec.client("unix:" .. folder .. "/a"))
    assert(client:ready(LIMIT))
    assert.equal("in\n", assert(client:run { "cat", stdin = "in\n" }).stdout)
    agent:kill "TERM"
    local helper <close> = assert(vmctl.process.spawn { "sh", "-c", -- luacheck: ignore
      ("exec bin/vmctl-cc-helper --keep --local %s -socket %s/c <&- >&- 2>&-"):format(folder, folder), death_signal = "KILL" })
    assert(vmctl.ready.wait(vmctl.ready.port("unix:" .. folder .. "/c"), LIMIT))
    local cc <close> = assert(vmctl.cc.connect(folder .. "/c")) -- luacheck: ignore
    assert.is_true(cc:alive())
    helper:kill "TERM"
  end, LIMIT))
end)
