-- A developer's terminal inside a stopped test: the test runs in a process of its own, on a terminal that this spec types on.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

local TEST = [==[
local kernel, image, folder = ...
local scenario = require "vmctl".scenario
local ok, err = pcall(scenario.run, "stopped", { a = { kernel = kernel, initrd = image, memory = "192M" } },
  { artefacts = folder }, function(vms)
    vms.a:succeed "echo from the test > /tmp/note"
    vms.a:shell_interact()
    print("MARK=" .. vms.a:succeed "cat /tmp/mark")
    vms.a:succeed "false"
  end)
print(ok, err:match "[^\n]*")
]==]

-- Reads what the terminal shows until a pattern is in it.
local function expect(child, seen, pattern)
  local deadline = vmctl.now() + LIMIT
  while not seen.text:find(pattern) do
    local data, err = child.stdout:read(4096, deadline - vmctl.now())
    assert.truthy(data, ("%s: '%s' is not in:\n%s"):format(err, pattern, seen.text))
    seen.text = seen.text .. data
  end
  local _, to = seen.text:find(pattern)
  seen.text = seen.text:sub(to + 1)
end

describe("a stopped test", function()
  it("gives a developer a shell in the guest, twice, and its terminal back", support.run(function()
    local folder = support.tmpdir()
    local file = assert(io.open(folder .. "/test.lua", "w"))
    file:write(TEST)
    file:close()
    local child <close> = assert(vmctl.process.spawn {
      "lua5.4", folder .. "/test.lua", guest.kernel, guest.image, folder, tty = true, rows = 33, cols = 101,
      env = { LUA_PATH = package.path, LUA_CPATH = package.cpath, VMCTL_INTERACT = "1", TERM = "dumb" },
    })
    local seen = { text = "" }
    expect(child, seen, "[#$] ")
    assert(child.stdout:write "stty size; cat /tmp/note; echo $((6 * 7)) | tee /tmp/mark\n")
    expect(child, seen, "33 101\r\n")
    expect(child, seen, "from the test\r\n42\r\n")
    assert(child.stdout:write "exit\n")
    expect(child, seen, "MARK=42\r?\n")
    expect(child, seen, "a: succeed: exit code 1") -- a failure stops the test as well, for VMCTL_INTERACT says so
    expect(child, seen, "The test has stopped%. A shell in a")
    expect(child, seen, "[#$] ")
    assert(child.stdout:write "echo still here; exit\n")
    expect(child, seen, "still here\r\n")
    expect(child, seen, "false\t[^\n]*a: succeed: exit code 1") -- in the terminal's own mode again: tabs and lines are its own
    assert.same({ exit_code = 0 }, child:wait(LIMIT))
  end, LIMIT))
end)
