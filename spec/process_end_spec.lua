local assert = require "luassert"
local child_support = require "spec.support.child"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code
local gone, shell, spawn = child_support.gone, child_support.shell, child_support.spawn
local status_field = child_support.status_field

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
    assert.same({ exit_code = 0 }, child:wait(30))
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
    assert.same({ exit_code = 0 }, child:wait(30))
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
