-- The command line, on this machine as the target: what it prints, and how it ends.
local assert = require "luassert"
local cli = require "spec.support.cli"
local json = require "vmctl.json"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local LIMIT = 30

describe("the command line", function()
  it("explains itself", run(function()
    local help = cli.run { "--help" }
    assert.equal(0, help.exit_code)
    for _, word in ipairs { "run", "exec", "shell", "124 ", "TARGET" } do assert.truthy(help.stdout:find(word, 1, true), word) end
    assert.truthy(cli.run({ "exec", "--help" }).stdout:find("vmctl exec web", 1, true))
    assert.equal(vmctl._VERSION .. "\n", cli.run({ "--version" }).stdout)
  end, LIMIT))

  it("says what is wrong with its arguments", run(function()
    local unknown = cli.run { "frobnicate" }
    assert.equal(125, unknown.exit_code)
    assert.truthy(unknown.stderr:find("frobnicate", 1, true))
    local missing = cli.run { "exec" }
    assert.equal(125, missing.exit_code)
    assert.truthy(missing.stderr:find("missing argument 'target'", 1, true))
    local none = cli.run { "exec", "host" }
    assert.equal(125, none.exit_code)
    assert.equal("vmctl: a command expected, behind --\n", none.stderr)
  end, LIMIT))

  it("gives a command's output and exit code", run(function()
    local result = cli.run { "exec", "host", "--", "sh", "-c", "echo out; echo err >&2; exit 7" }
    assert.same({ "out\n", "err\n", 7 }, { result.stdout, result.stderr, result.exit_code })
    assert.equal(0, cli.run({ "exec", "host", "true" }).exit_code)
    assert.equal(143, cli.run({ "exec", "host", "--", "sh", "-c", "kill -TERM $$" }).exit_code)
  end, LIMIT))

  it("says why a command could not be started", run(function()
    for _, case in ipairs {
      { 127, "start no-such-command-here: No such file or directory", "no-such-command-here" },
      { 126, "start /etc: Permission denied", "/etc" },
      { 127, "start true: ", "true", "--cwd", "/no/such/folder" },
    } do
      local result = cli.run { "exec", case[4] or "--env", case[5] or "A=b", "host", case[3] }
      assert.same({ case[1], "" }, { result.exit_code, result.stdout })
      assert.equal("vmctl: " .. case[2], result.stderr:sub(1, #case[2] + 7))
      assert.equal(1, select(2, result.stderr:gsub("\n", "")))
    end
  end, LIMIT))

  it("takes a command's options for the command's", run(function()
    assert.equal("/\n", cli.run({ "exec", "host", "ls", "-d", "/" }).stdout)
    assert.equal("b /\n", cli.run({ "exec", "-e", "A=b", "--cwd", "/", "host", "--", "sh", "-c", 'echo "$A $PWD"' }).stdout)
  end, LIMIT))

  it("passes its input on", run(function()
    local data = ("0123456789abcdef"):rep(64 << 10)
    local result = cli.run { "exec", "host", "--", "cat", stdin = data }
    assert.equal(#data, #result.stdout)
    assert.is_true(result.stdout == data)
  end, LIMIT))

  it("ends a command that takes too long", run(function()
    local result = cli.run { "exec", "--timeout", "0.2", "host", "--", "sleep", "20" }
    assert.equal(124, result.exit_code)
    assert.equal("vmctl: the command did not end in time\n", result.stderr)
  end, LIMIT))

  it("prints JSON for programs, failures too", run(function()
    local result = cli.run { "exec", "--json", "host", "--", "sh", "-c", "echo out; exit 3" }
    assert.equal(3, result.exit_code)
    assert.same({ stdout = "out\n", stderr = "", exit_code = 3 }, json.decode(result.stdout))
    local failed = json.decode(cli.run({ "exec", "--json", "no-such-guest", "true" }).stdout)
    assert.equal("ENOENT", failed.error.code)
    assert.truthy(failed.error.message:find("no-such-guest", 1, true))
  end, LIMIT))

  it("waits for readiness, and says what was not", run(function()
    local folder = support.tmpdir()
    local good = cli.run { "ready", "host", "--file", "/etc/passwd", "--command", "true" }
    assert.equal(0, good.exit_code)
    assert.truthy(good.stdout:find("host: /etc/passwd: ready after", 1, true))
    local bad = cli.run { "ready", "host", "--file", folder .. "/never", "--timeout", "0.3" }
    assert.equal(124, bad.exit_code)
    assert.truthy(bad.stderr:find("/never", 1, true))
  end, LIMIT))

  it("pushes files", run(function()
    local folder = support.tmpdir()
    local from, to = folder .. "/from", folder .. "/to"
    local file = assert(io.open(from, "w"))
    file:write "content"
    file:close()
    local first = cli.run { "push", "host", "--file", from .. ":" .. to }
    assert.equal("", first.stderr)
    assert.truthy(first.stdout:find("file " .. to .. ": changed", 1, true))
    assert.truthy(cli.run({ "push", "host", "--file", from .. ":" .. to }).stdout:find("as it was", 1, true))
    assert.equal("content", assert(io.open(to)):read "a")
    assert.equal(125, cli.run({ "push", "host", "--file", "nonsense" }).exit_code)
  end, LIMIT))

  it("completes for bash and zsh", run(function()
    local bash = cli.run { "completion", "bash" }
    assert.equal(0, bash.exit_code)
    local checked = cli.run { "exec", "host", "--", "bash", "-n", stdin = bash.stdout }
    assert.same({ "", 0 }, { checked.stderr, checked.exit_code })
    assert.truthy(bash.stdout:find("shell", 1, true))
    assert.truthy(cli.run({ "completion", "zsh" }).stdout:find("#compdef vmctl", 1, true))
  end, LIMIT))

  it("lists no guest where none runs", run(function()
    local folder = support.tmpdir()
    local result = cli.run { "list", env = cli.environment(folder) }
    assert.same({ 0, "no guest runs\n" }, { result.exit_code, result.stdout })
    assert.same({ guests = {} }, json.decode(cli.run({ "list", "--json", env = cli.environment(folder) }).stdout))
  end, LIMIT))

  it("runs scenarios by busted", run(function()
    local folder = support.tmpdir()
    local function write(name, text)
      local file = assert(io.open(folder .. "/" .. name, "w"))
      file:write(text)
      file:close()
      return folder .. "/" .. name
    end
    local good = write("good_spec.lua", 'it("has vmctl", function() assert.equal(7, require("vmctl").run(function() return 7 end)) end)\n')
    local bad = write("bad_spec.lua", 'it("fails", function() assert.equal(1, 2) end)\n')
    local result = cli.run { "test", "-o", "TAP", good }
    assert.same({ 0, "" }, { result.exit_code, result.stderr })
    assert.truthy(result.stdout:find("ok 1 - has vmctl", 1, true))
    result = cli.run { "test", bad }
    assert.equal(1, result.exit_code)
    assert.truthy(result.stdout:find("bad_spec.lua", 1, true))
  end, LIMIT))

  it("records a trace and shows it", run(function()
    local folder = support.tmpdir()
    local trace = folder .. "/trace"
    assert.equal(0, cli.run({ "exec", "host", "--", "echo", "traced", env = { VMCTL_TRACE = trace } }).exit_code)
    local shown = cli.run { "trace", trace }
    assert.equal(0, shown.exit_code)
    assert.truthy(shown.stdout:find("traced", 1, true))
    assert.is_true(#json.decode(cli.run({ "trace", "--json", trace }).stdout) > 3)
    assert.equal(125, cli.run({ "trace", folder .. "/none" }).exit_code)
  end, LIMIT))

  it("tells what works here", run(function()
    local result = cli.run { "doctor" }
    assert.equal(0, result.exit_code, result.stdout)
    assert.truthy(result.stdout:find("qemu-system", 1, true))
    local found = json.decode(cli.run({ "doctor", "--json" }).stdout).findings
    assert.is_true(#found > 10)
  end, LIMIT))

  it("runs a switch, whose frames it counts", run(function()
    local folder = support.tmpdir()
    local program <close> = assert(vmctl.process.spawn { cli.PROGRAM, "switch", "--listen", "unix:" .. folder .. "/net", -- luacheck: ignore
      "--capture", folder .. "/net.pcapng", stdout = "pipe", stderr = "inherit" })
    assert.truthy(program.stdout:read_line(100, 10):find "the switch runs")
    -- The one that receives comes first: it has its port before the other's frame is read.
    local b <close> = assert(vmctl.l2.dial("unix:" .. folder .. "/net")) -- luacheck: ignore
    local a <close> = assert(vmctl.l2.dial("unix:" .. folder .. "/net")) -- luacheck: ignore
    local frame = ("\xff"):rep(6) .. "\2\0\0\0\0\1\x88\xb5" .. ("x"):rep(50)
    assert(a:send(frame))
    assert.equal(frame, b:recv(30))
    program:kill "TERM"
    local out = {}
    for line in function() return (program.stdout:read_line(200, 5)) end do out[#out + 1] = line end
    assert.truthy(table.concat(out, "\n"):find "guest%-1 +0 +1 +0\nguest%-2 +1 +0 +0")
    assert.is_true(assert(require("vmctl.core").fs.stat(folder .. "/net.pcapng")).size > #frame)
  end, LIMIT))

  it("runs a switch whose capture goes to the standard output", run(function()
    local folder = support.tmpdir()
    local program <close> = assert(vmctl.process.spawn { cli.PROGRAM, "switch", "--listen", "unix:" .. folder .. "/net", -- luacheck: ignore
      "--capture", "-", stdout = "pipe", stderr = "pipe" })
    assert.truthy(program.stderr:read_line(100, 30):find "the switch runs")
    local a <close> = assert(vmctl.l2.dial("unix:" .. folder .. "/net")) -- luacheck: ignore
    local frame = ("\xff"):rep(6) .. "\2\0\0\0\0\1\x88\xb5" .. ("x"):rep(50)
    assert(a:send(frame))
    local bytes = ""
    while not bytes:find(frame, 1, true) do bytes = bytes .. assert(program.stdout:read(4096, 30)) end
    assert.equal("\x0a\x0d\x0d\x0a", bytes:sub(1, 4))
    program:kill "TERM"
    assert.equal("EOF", select(3, program.stdout:read(4096, 30)))
    assert.equal(0, assert(program:wait(30)).exit_code)
  end, LIMIT))
end)
