local assert = require "luassert"
local child_support = require "spec.support.child"
local core = require "vmctl.core"
local process = require "vmctl.process"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code
local gone, output_of, shell = child_support.gone, child_support.output_of, child_support.shell
local spawn, status_field = child_support.spawn, child_support.status_field
local root = core.fs.identity() == 0

describe("vmctl.process.spawn", function()
  it("connects pipes to all three", support.run(function()
    local child <close> = spawn(shell("cat; echo to stderr >&2", { stdin = "pipe", stdout = "pipe", stderr = "pipe" }))
    assert(child.stdin:write "to stdin\n")
    assert(child.stdin:shutdown())
    assert.equal("to stdin", child.stdout:read_line())
    assert.equal("to stderr", child.stderr:read_line())
    assert.equal("EOF", code(child.stdout:read()))
    assert.equal("EOF", code(child.stderr:read()))
    assert.same({ exit_code = 0 }, child:wait())
  end))

  it("gives /dev/null where nothing is said", support.run(function()
    local child <close> = spawn(shell "test -z \"$(cat)\" && echo out && echo err >&2")
    assert.same({ exit_code = 0 }, child:wait())
    assert.is_nil(child.stdin)
    assert.is_nil(child.stdout)
  end))

  it("lets stderr join stdout", support.run(function()
    assert.equal("one\ntwo\n", output_of(shell("echo one; echo two >&2", { stderr = "stdout" })))
  end))

  it("takes fds, which stay the caller's", support.run(function()
    local near, far = support.pair()
    local child <close> = spawn(shell("echo out; echo err >&2", { stdout = far:fileno(), stderr = far:fileno() }))
    assert.equal("out", near:read_line())
    assert.equal("err", near:read_line())
    child:wait()
    assert(far:write "still open\n")
    assert.equal("still open", near:read_line())
    near:close()
    far:close()
  end))

  it("hands on further descriptors as 3 and up, whatever numbers they have here, and no others", support.run(function()
    local a, b = support.pair()
    local c, d = support.pair()
    local script = "echo three >&3; echo four >&4; for fd in /proc/self/fd/*; do echo ${fd##*/}; done"
    for _, fds in ipairs { { b:fileno(), d:fileno() }, { d:fileno(), b:fileno() } } do
      local child <close> = spawn(shell(script, { stdout = "pipe", fds = fds }))
      local swapped = fds[1] ~= b:fileno()
      assert.equal("three", (swapped and c or a):read_line())
      assert.equal("four", (swapped and a or c):read_line())
      assert.same({ exit_code = 0 }, child:wait())
      local seen = child.stdout:read()
      for fd in seen:gmatch "%d+" do assert.is_true(tonumber(fd) <= 5 or tonumber(fd) == 10, "it has " .. fd) end
    end
    for _, stream in ipairs { a, b, c, d } do stream:close() end
  end))

  it("takes low descriptors for others, and refuses too many", support.run(function()
    local child <close> = spawn(shell("test -e /proc/self/fd/4 -a -e /proc/self/fd/5", { fds = { 2, 1, 0 } }))
    assert.same({ exit_code = 0 }, child:wait())
    local many = {}
    for i = 1, 30 do many[i] = 0 end
    for _, fds in ipairs { many, { -1 }, { "x" } } do
      local ok, err = pcall(function() assert(process.spawn { "true", fds = fds }) end)
      assert.is_false(ok)
      assert.truthy(err:find("process_spec.lua", 1, true) and err:find("fds", 1, true))
    end
    assert.equal("EBADF", code(process.spawn { "true", fds = { 999 } }))
  end))

  it("passes arguments as they are", support.run(function()
    local odd = { "", " ", "two words", "'\"\\$(x)`", "line\nfeed", "\1\255" }
    assert.equal(table.concat(odd, "|") .. "|", output_of { "printf", "%s|", table.unpack(odd) })
  end))

  it("passes a megabyte both ways at once", support.run(function()
    local data = ("0123456789abcdef"):rep(65536)
    local child <close> = spawn { "cat", stdin = "pipe", stdout = "pipe" }
    local writer = vmctl.spawn(function() return child.stdin:write(data) and child.stdin:shutdown() end)
    local parts = {}
    for chunk in function() return (child.stdout:read()) end do parts[#parts + 1] = chunk end
    assert.is_true(writer:join())
    assert.is_true(table.concat(parts) == data)
  end, 10))

  it("runs in a working directory", support.run(function()
    local folder = support.tmpdir()
    assert.equal(folder .. "\n", output_of { "pwd", "-P", cwd = folder })
  end))

  it("adds to the environment, or begins with an empty one", support.run(function()
    local added = output_of(shell("echo $VMCTL_NEW $HOME", { env = { VMCTL_NEW = "new" } }))
    assert.equal(("new %s\n"):format(os.getenv "HOME"), added)
    assert.equal("A=1\n", output_of { "/usr/bin/env", env = { A = "1" }, clear_env = true })
    assert.equal("", output_of { "/usr/bin/env", clear_env = true })
    assert.equal(os.getenv "PATH", process.environment().PATH)
    assert.is_nil(os.getenv "VMCTL_NEW")
  end))

  it("replaces variables of ours, once each, and leaves those out that are false", support.run(function()
    local function sorted(env, clear_env)
      local lines = {}
      for line in output_of({ "/usr/bin/env", env = env, clear_env = clear_env }):gmatch "[^\n]+" do lines[#lines + 1] = line end
      table.sort(lines)
      return lines
    end
    local ours = {}
    for name, value in pairs(process.environment()) do
      if not value:find "\n" then ours[#ours + 1] = name .. "=" .. value end
    end
    table.sort(ours)
    assert.same(ours, sorted {})
    local mixed = sorted { HOME = "/else", PATH = false, VMCTL_NUMBER = 7, VMCTL_EMPTY = "", VMCTL_ABSENT = false }
    local seen = {}
    for _, line in ipairs(mixed) do
      local name, value = line:match "^([^=]*)=(.*)$"
      assert.is_nil(seen[name])
      seen[name] = value
    end
    assert.same({ "/else", nil, "7", "" }, { seen.HOME, seen.PATH, seen.VMCTL_NUMBER, seen.VMCTL_EMPTY })
    assert.equal(#ours + 1, #mixed)
    local many, all = {}, {}
    for i = 1, 500 do
      many["V" .. i] = ("v"):rep(i % 40)
      all[i] = "V" .. i .. "=" .. many["V" .. i]
    end
    table.sort(all)
    assert.same(all, sorted(many, true))
    for words, env in pairs { ["NUL byte"] = { A = "b\0c" }, ["strings expected"] = { A = true }, ["strings expected$"] = { "A=b" } } do
      local ok, err = pcall(process.spawn, { "true", env = env })
      assert.is_false(ok)
      assert.match("env: .*" .. words, err)
    end
  end))

  it("looks the program up in the PATH that it passes", support.run(function()
    local folder = support.tmpdir()
    local file = assert(io.open(folder .. "/vmctl-spec-program", "w"))
    file:write "#!/bin/sh\necho found\n"
    file:close()
    core.fs.chmod(folder .. "/vmctl-spec-program", tonumber("755", 8))
    assert.equal("found\n", output_of { "vmctl-spec-program", env = { PATH = "/nowhere:" .. folder } })
  end))

  it("hands on no fd above 2", support.run(function()
    local near, far = support.pair()
    local fds = output_of(shell "for fd in /proc/self/fd/*; do test -e $fd && echo ${fd##*/}; done")
    assert.equal("0\n1\n2\n", fds)
    near:close()
    far:close()
  end))

  it("fails with the errno of the step, which it names", support.run(function()
    local function fails(expected, step, command)
      local child, err, why = process.spawn(command)
      assert.is_nil(child)
      assert.equal(expected, why)
      assert.match(step, err)
    end
    fails("ENOENT", "^start vmctl%-no%-such%-program: No such file", { "vmctl-no-such-program" })
    fails("ENOENT", "^start /no/such/program: No", { "/no/such/program" })
    fails("EACCES", "^start /etc: ", { "/etc" })
    fails("ENOENT", "^start true: working directory /no/such/folder: No", { "true", cwd = "/no/such/folder" })
    fails("ENOTDIR", "working directory /etc/passwd", { "true", cwd = "/etc/passwd" })
    fails("E2BIG", "^start true: ", { "true", ("x"):rep(1 << 18) })
    fails("EINVAL", "unknown user", { "true", user = "no-such-user" })
    fails("EBADF", "dup", { "true", stdin = 999 })
  end))

  it("raises at the caller's line for a mistake", support.run(function()
    local function raises(pattern, command)
      local ok, err = pcall(process.spawn, command)
      assert.is_false(ok)
      assert.match(pattern, err)
    end
    raises("program", {})
    raises("unknown option 'shell'", { "true", shell = true })
    raises("stdin", { "true", stdin = "stdout" })
    raises("stdout", { "true", stdout = "nowhere" })
    raises("signal", { "true", death_signal = "BOO" })
    raises("NUL", { "true", "a\0b" })
    local ok, err = pcall(function() process.spawn { "true", stdin = "p" } end)
    assert.is_false(ok)
    assert.match("process_spec.lua:%d+:", err)
  end))

  it("gives a terminal of the size asked for, and resizes it", support.run(function()
    local child <close> = spawn(shell("stty size; read line; stty size", { tty = true, rows = 41, cols = 101 }))
    assert.equal("41 101", child.stdout:read_line())
    assert.is_true(child.stdin:resize(50, 120))
    assert(child.stdin:write "\n")
    assert.equal("", child.stdout:read_line()) -- the echo
    assert.equal("50 120", child.stdout:read_line())
    assert.equal("EOF", code(child.stdout:read()))
    assert.same({ exit_code = 0 }, child:wait())
  end))

  it("gives a terminal that is the session's own", support.run(function()
    local script = "test -t 0 && test -t 1 && test -t 2 && echo mine >/dev/tty"
    local child <close> = spawn(shell(script, { tty = true }))
    assert.equal("mine", child.stdout:read_line())
    assert.same({ exit_code = 0 }, child:wait())
  end))

  it("sends a terminal's ^C as a signal", support.run(function()
    local child <close> = spawn { "cat", tty = true }
    assert(child.stdin:write "x\n")
    assert.equal("x", child.stdout:read_line())
    assert(child.stdin:write "\3")
    assert.same({ signal = "INT" }, child:wait())
  end))

  local as_root = root and it or pending

  as_root("takes on a user, its groups and no others", support.run(function()
    assert.equal("65534 65534 65534\n", output_of(shell("echo $(id -u) $(id -g) $(id -G)", { user = "65534:65534" })))
    assert.equal("1 1 1\n", output_of(shell("echo $(id -u) $(id -g) $(id -G)", { user = "daemon" })))
    assert.equal("1 0 0\n", output_of(shell("echo $(id -u) $(id -g) $(id -G)", { user = "daemon:root" })))
    assert.equal("12345 12345 12345\n", output_of(shell("echo $(id -u) $(id -g) $(id -G)", { user = "12345" })))
  end))

  as_root("enters the working directory as that user", support.run(function()
    local folder = support.tmpdir()
    assert.equal("EACCES", code(process.spawn { "true", cwd = folder, user = "12345" }))
  end))

  it("starts the child with no signal blocked or ignored", support.run(function()
    local signal = require "cqueues.signal"
    signal.ignore(signal.SIGPIPE, signal.SIGHUP)
    signal.block(signal.SIGTERM)
    local text = output_of { "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status" }
    signal.unblock(signal.SIGTERM)
    signal.default(signal.SIGPIPE, signal.SIGHUP)
    assert.equal("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", text)
  end))

  it("survives a pipe that nobody reads, without the host's SIGPIPE", support.run(function()
    local child <close> = spawn { "true", stdin = "pipe" }
    assert(child:wait())
    assert.equal("EPIPE", code(child.stdin:write "x"))
    assert.equal("0000000000000000", status_field "SigPnd")
  end))

  it("leaves the host's signals, directory and environment as they were", support.run(function()
    local function look()
      return { status_field "SigIgn", status_field "SigCgt", status_field "SigBlk", status_field "Umask",
        core.fs.list and #core.environ() }
    end
    local before = look()
    for _ = 1, 3 do
      local child <close> = spawn(shell("exit 3", { stdin = "pipe", tty = true, env = { X = "1" }, cwd = "/" }))
      child:wait()
    end
    assert.same(before, look())
  end))
end)

describe("vmctl.process.stream", function()
  it("is a command's stdin and stdout; the command ends with it", support.run(function()
    local stream = assert(process.stream({ "sh", "-c", "echo $$; cat" }, "exec:cat"))
    local pid = stream:read_line()
    assert(stream:write "echo\n")
    assert.equal("echo", stream:read_line())
    assert(stream:shutdown())
    assert.equal("EOF", code(stream:read()))
    stream:close()
    support.eventually(function() return gone(pid) end)
  end))

  it("fails when there is no such command", support.run(function()
    assert.equal("ENOENT", code(process.stream({ "/no/such/program" }, "exec:no")))
  end))
end)

describe("vmctl.signals", function()
  local signals = require "vmctl.signals"

  it("knows names with and without SIG, in any case, and numbers", function()
    assert.equal(15, signals.number "TERM")
    assert.equal(15, signals.number "SIGTERM")
    assert.equal(2, signals.number "sigint")
    assert.equal(9, signals.number(9))
    assert.equal("WINCH", signals.name(28))
    assert.equal("SIG34", signals.name(34))
  end)

  it("names every number so that it reads back", function()
    for number = 1, 64 do
      assert.equal(number, signals.number(signals.name(number)))
      assert.equal(number, signals.number("SIG" .. number))
    end
    assert.equal(34, signals.number "RTMIN")
    assert.equal(37, signals.number "SIGRTMIN+3")
    assert.equal(62, signals.number "rtmax-2")
  end)

  it("raises for what is no signal", function()
    for _, wrong in ipairs { "NONSENSE", "", -1, 65, 1.5, true, "SIG0", "65", "RTMIN-1", "RTMAX+1", "RTMAN" } do
      assert.is_false((pcall(signals.number, wrong)))
    end
  end)
end)
