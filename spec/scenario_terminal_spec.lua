-- A developer's terminal inside a stopped test: the tests run in processes of their own, on terminals that this spec types on.
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

local PROMPT = [==[
local kernel, image, folder = ...
local scenario = require "vmctl".scenario
local outside = "from outside"
print(pcall(scenario.run, "stopped", { a = { kernel = kernel, initrd = image, memory = "192M" } },
  { artefacts = folder, limit = 20 }, function(vms)
    local note = "from the test"
    vms.a:succeed "true"
    vms:breakpoint()
    vms.a:console_interact()
    print("MARK=" .. vms.a:succeed "cat /tmp/mark", #outside)
    vms.a:succeed { "sleep", "0.1" }
    return note
  end))
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

-- Runs a test on a terminal; its variables have `more`.
local function start(text, more)
  local folder = support.tmpdir()
  local file = assert(io.open(folder .. "/test.lua", "w"))
  file:write(text)
  file:close()
  local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath, TERM = "dumb" }
  for name, value in pairs(more or {}) do env[name] = value end
  return assert(vmctl.process.spawn {
    "lua5.4", folder .. "/test.lua", guest.kernel, guest.image, folder, tty = true, rows = 33, cols = 101, env = env,
  })
end

describe("a stopped test", function()
  it("gives a developer a shell in the guest, twice, and its terminal back", support.run(function()
    local child <close> = start(TEST, { VMCTL_INTERACT = "1" })
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

  it("gives a Lua prompt at a breakpoint, and the guest's console", support.run(function()
    local child <close> = start(PROMPT)
    local seen = { text = "" }
    local function ask(line, answer)
      assert(child.stdout:write(line .. "\n"))
      expect(child, seen, answer)
    end
    expect(child, seen, "The test has stopped at [^\n]*/test.lua:8%. A Lua prompt")
    expect(child, seen, "> ")
    ask("note, outside, 6 * 7", "from the test\tfrom outside\t42\r?\n> ")
    ask("a:succeed 'echo $((40 + 2)) | tee /tmp/mark'", "42\r?\n")
    ask("x = 5 for i = 1, 2 do", ">> ")
    ask("print(i, x) end", "1\t5\r?\n2\t5\r?\n> ")
    ask("vms.a:succeed 'exit 3'", "error: [^\n]*/test.lua:8: a: succeed: exit code 3 after")
    ask("y = x +", ">> ")
    ask("", "error: ")
    ask("continue", "The console of a; Ctrl%-%] leaves it")
    expect(child, seen, "vmctl%-agent: ready")
    assert(child.stdout:write "\29")
    expect(child, seen, "MARK=42\r?\n\t12\r?\n")
    expect(child, seen, "true\tfrom the test\r?\n")
    assert.same({ exit_code = 0 }, child:wait(LIMIT))
  end, LIMIT))

  it("goes on at a breakpoint where there is no terminal, and says so", support.run(function()
    local folder = support.tmpdir()
    local script = require "spec.support.script"
    local code, _, text = script.run([[
      require "vmctl".scenario.run("t", { "a" }, { artefacts = os.getenv "TMPDIR", keep = true }, function(vms) vms:breakpoint() end)
    ]], { env = { "TMPDIR=" .. folder } })
    assert.equal(0, code, text)
    assert.truthy(text:find("passed over: a terminal is needed", 1, true), text)
  end, LIMIT))
end)
