local assert = require "luassert"
local core = require "vmctl.core"
local process = require "vmctl.process"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code
local root = core.fs.identity() == 0

local function spawn(command)
  return assert(process.spawn(command))
end

-- What a command says on its standard output.
local function output_of(command)
  command.stdout = command.stdout or "pipe"
  local child <close> = spawn(command)
  local text = ""
  for chunk in function() return (child.stdout:read()) end do text = text .. chunk end
  assert(child:wait())
  return text
end

local function shell(script, options)
  local command = options or {}
  command[1], command[2], command[3] = "sh", "-c", script
  return command
end

-- A zombie counts as gone: whose child it has become may take its time.
local function gone(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return true end
  local state = (file:read "a" or ""):match "%) (%a)"
  file:close()
  return state == nil or state == "Z"
end

local function status_field(name)
  for line in io.lines "/proc/self/status" do
    local value = line:match("^" .. name .. ":%s*(.*)$")
    if value then return value end
  end
end

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
    fails("ENOENT", "vmctl%-no%-such%-program %(exec%)", { "vmctl-no-such-program" })
    fails("ENOENT", "exec", { "/no/such/program" })
    fails("EACCES", "exec", { "/etc" })
    fails("ENOENT", "chdir", { "true", cwd = "/no/such/folder" })
    fails("ENOTDIR", "chdir", { "true", cwd = "/etc/passwd" })
    fails("E2BIG", "exec", { "true", ("x"):rep(1 << 18) })
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

describe("vmctl.Child: wait", function()
  for _, exit_code in ipairs { 0, 1, 2, 77, 126, 127, 128, 137, 254, 255 } do
    it("returns exit code " .. exit_code, support.run(function()
      local child <close> = spawn(shell("exit " .. exit_code))
      assert.same({ exit_code = exit_code }, child:wait())
    end))
  end

  for _, signal in ipairs { "HUP", "KILL", "SEGV", "PIPE", "TERM", "USR1" } do
    it("returns the signal that ended it: " .. signal, support.run(function()
      local child <close> = spawn(shell("kill -" .. signal .. " $$; exit 5"))
      assert.same({ signal = signal }, child:wait())
    end))
  end

  it("returns ETIMEDOUT, and the record later", support.run(function()
    local child <close> = spawn { "cat", stdin = "pipe" }
    assert.equal("ETIMEDOUT", code(child:wait(0)))
    assert.equal("ETIMEDOUT", code(child:wait(0.005)))
    child.stdin:close()
    assert.same({ exit_code = 0 }, child:wait(1))
    assert.same({ exit_code = 0 }, child:wait(0))
  end))

  it("tells all tasks that wait", support.run(function()
    local child <close> = spawn(shell("read x; exit 9", { stdin = "pipe" }))
    local tasks = {}
    for i = 1, 3 do tasks[i] = vmctl.spawn(child.wait, child) end
    vmctl.yield()
    child.stdin:close()
    for i = 1, 3 do assert.same({ exit_code = 9 }, tasks[i]:join()) end
  end))

  it("returns ECANCELED to a cancelled task, and the child lives on", support.run(function()
    local child <close> = spawn { "cat", stdin = "pipe" }
    local task = vmctl.spawn(child.wait, child)
    vmctl.yield()
    task:cancel()
    assert.equal("ECANCELED", code(task:join()))
    child.stdin:close()
    assert.same({ exit_code = 0 }, child:wait(1))
  end))

  it("drives the loop in a plain script", function()
    local child <close> = spawn(shell "exit 4")
    assert.same({ exit_code = 4 }, child:wait())
  end)

  it("returns ECHILD when the host ignores SIGCHLD: the kernel then throws exit codes away", support.run(function()
    local signal = require "cqueues.signal"
    signal.ignore(signal.SIGCHLD)
    local before = status_field "SigIgn"
    local child <close> = spawn(shell "exit 4")
    local why = code(child:wait())
    local after = status_field "SigIgn"
    signal.default(signal.SIGCHLD)
    assert.equal("ECHILD", why)
    assert.equal(before, after)
  end))

  it("reaps its own child only, whatever else the host has started", support.run(function()
    local child <close> = spawn(shell("read x; exit 3", { stdin = "pipe" }))
    local other = io.popen("read x; exit 7", "w")
    local quick = io.popen("exit 8")
    child.stdin:close()
    assert.same({ exit_code = 3 }, child:wait())
    assert.same({ nil, "exit", 8 }, { quick:close() })
    assert.same({ nil, "exit", 7 }, { other:close() })
  end))

  it("lets the host's own SIGCHLD handler be", function()
    local uv = require "luv"
    local handler = uv.new_signal()
    handler:start "sigchld"
    local before = status_field "SigCgt"
    local child <close> = spawn(shell "exit 6")
    assert.same({ exit_code = 6 }, child:wait())
    assert.equal(before, status_field "SigCgt")
    handler:close()
    uv.run "nowait"
  end)

  it("leaves no fd and no zombie, even where nobody waits", support.run(function()
    for i = 1, 20 do spawn(shell("exit " .. i)) end
    collectgarbage()
    collectgarbage()
  end))

  it("keeps no fd for a child that has ended", support.run(function()
    local fds = support.fds()
    local child = spawn { "true" }
    child:wait()
    assert.same(fds, support.fds())
  end))
end)

describe("vmctl.Child: kill", function()
  it("sends the signal to the group, grandchildren too", support.run(function()
    local child <close> = spawn(shell("sleep 300 & echo $!; sleep 300 & echo $!; wait", { stdout = "pipe" }))
    local first, second = child.stdout:read_line(), child.stdout:read_line()
    assert.is_true(child:kill "KILL")
    assert.same({ signal = "KILL" }, child:wait())
    support.eventually(function() return gone(first) and gone(second) end)
  end))

  it("sends TERM when nothing is said, and takes names and numbers", support.run(function()
    for signal, name in pairs { USR1 = "USR1", SIGINT = "INT", [9] = "KILL" } do
      local child <close> = spawn { "cat", stdin = "pipe" }
      assert.is_true(child:kill(signal))
      assert.same({ signal = name }, child:wait())
    end
    local child <close> = spawn { "cat", stdin = "pipe" }
    assert.is_true(child:kill())
    assert.same({ signal = "TERM" }, child:wait())
    assert.is_false((pcall(child.kill, child, "NONSENSE")))
  end))

  it("returns ESRCH once the child has been reaped", support.run(function()
    local child <close> = spawn { "true" }
    child:wait()
    assert.equal("ESRCH", code(child:kill "TERM"))
  end))

  it("can be caught by the child", support.run(function()
    local child <close> = spawn(shell("trap 'echo caught; exit 0' TERM; echo ready; read x", {
      stdin = "pipe", stdout = "pipe",
    }))
    assert.equal("ready", child.stdout:read_line())
    child:kill "TERM"
    child.stdin:close()
    assert.equal("caught", child.stdout:read_line())
    assert.same({ exit_code = 0 }, child:wait())
  end))
end)

describe("the end of a vmctl.Child", function()
  it("sweeps away what is left of its group, if asked to", support.run(function()
    local child <close> = spawn(shell("sleep 300 >/dev/null & echo $!", { stdout = "pipe", sweep = true }))
    local left = child.stdout:read_line()
    assert.same({ exit_code = 0 }, child:wait())
    support.eventually(function() return gone(left) end)
  end))

  it("leaves its group alone otherwise", support.run(function()
    local child <close> = spawn(shell("sleep 300 >/dev/null & echo $!", { stdout = "pipe" }))
    local left = child.stdout:read_line()
    assert.same({ exit_code = 0 }, child:wait())
    assert.is_false(gone(left))
    os.execute("kill -KILL " .. left)
  end))

  it("comes when it is closed, with its group and its streams; waiters get ECLOSED", support.run(function()
    local child = spawn(shell("sleep 300 & echo $!; wait", { stdin = "pipe", stdout = "pipe" }))
    local grandchild = child.stdout:read_line()
    local waiter = vmctl.spawn(child.wait, child)
    vmctl.yield()
    child:close()
    child:close()
    assert.equal("ECLOSED", code(waiter:join()))
    assert.equal("ECLOSED", code(child:wait()))
    assert.equal("ESRCH", code(child:kill()))
    assert.is_true(child.stdin:closed() and child.stdout:closed())
    support.eventually(function() return gone(child.pid) and gone(grandchild) end)
  end))

  it("comes when the block ends, or the collector finds it", support.run(function()
    local pid
    do
      local child <close> = spawn { "sleep", "300" }
      pid = child.pid
    end
    support.eventually(function() return gone(pid) end)
    pid = spawn({ "sleep", "300" }).pid
    collectgarbage()
    collectgarbage()
    support.eventually(function() return gone(pid) end)
  end))

  it("keeps the record for who asks after it was closed", support.run(function()
    local child = spawn(shell "exit 12")
    assert.same({ exit_code = 12 }, child:wait())
    child:close()
    assert.same({ exit_code = 12 }, child:wait())
  end))

  it("comes with the host's, however that dies, if a death signal is set", support.run(function()
    local script = [[
      local child = assert(require("vmctl.process").spawn { "sleep", "300", death_signal = "KILL" })
      print(child.pid)
      io.stdout:flush()
      io.read()
    ]]
    local host <close> = spawn { "lua5.4", "-e", script, stdin = "pipe", stdout = "pipe",
      env = { LUA_PATH = package.path, LUA_CPATH = package.cpath } }
    local orphan = host.stdout:read_line()
    assert.is_false(gone(orphan))
    host:kill "KILL"
    host:wait()
    support.eventually(function() return gone(orphan) end)
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

  it("raises for what is no signal", function()
    for _, wrong in ipairs { "NONSENSE", "", -1, 65, 1.5, true } do
      assert.is_false((pcall(signals.number, wrong)))
    end
  end)
end)
