local agent = require "spec.support.agent"
local core = require "vmctl.core"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local host = vmctl.host

describe("vmctl.host", function()
  it("runs commands on this machine", run(function()
    assert.same({ stdout = "hi\n", stderr = "", exit_code = 0 }, host:run { "echo", "hi" })
    assert.same({ stdout = "", stderr = "e\n", exit_code = 3 }, host:run "echo e >&2; exit 3")
    assert.equal(tostring(host.address), "host")
    local _, _, pid = core.fs.identity()
    assert.equal(pid .. "\n", host:run("echo $PPID").stdout)
  end))

  it("takes the options of a client", run(function()
    assert.equal("/usr A=1 in", host:run({ "sh", "-c", 'printf "%s A=%s " "$PWD" "$A"; cat', cwd = "/usr", env = { A = "1" },
      stdin = "in" }).stdout)
    assert.equal("EEXIT", code(host:run { "false", check = true }))
    assert.equal("ETIMEDOUT", code(host:run { "sleep", "10", timeout = 0.05 }))
    assert.equal("ab", host:run({ "printf", "aXXXXb", max_output = 2 }).stdout)
    assert.same({ signal = "KILL" }, (function()
      local p = assert(host:start { "sleep", "10" })
      p:kill "KILL"
      return p:wait()
    end)())
    assert.equal("7 9\r\n", host:run({ "stty", "size", tty = true, rows = 7, cols = 9 }).stdout)
  end))

  it("is there at once", run(function()
    assert.is_true(host:ready(1) < 0.5)
    assert.equal("vmctl", host:probe())
  end))

  it("reads, writes and lists files, and reaches ports", run(function()
    local folder = support.tmpdir()
    assert(host:write_file(folder .. "/f", "content", { mode = 384 }))
    assert.equal("content", host:read_file(folder .. "/f"))
    assert.same({ { name = "f", size = 7, mode = 384, type = "file", is_dir = false } }, host:list_files(folder))
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local greeter = vmctl.spawn(function()
      local s = listener:accept()
      s:write "hello"
      s:close()
    end)
    local s = assert(host:forward("127.0.0.1", listener:address().port))
    assert.equal("hello", s:read_exact(5))
    s:close()
    greeter:join()
    listener:close()
  end))

  it("runs many at once", run(function()
    local list = {}
    for i = 1, 40 do list[i] = i end
    for i, result in ipairs(vmctl.map(list, function(i) return host:run { "echo", tostring(i) } end)) do
      assert.equal(i .. "\n", result.stdout)
    end
  end, 5))

  it("ends a command whose process is closed, or forgotten", run(function()
    local p = assert(host:start "echo $$; sleep 60")
    local pid = p:read():match "%d+"
    p:close()
    support.eventually(function() return agent.has_ended(pid) end)
    pid = (assert(host:start "echo $$; sleep 60"):read()):match "%d+"
    support.eventually(function()
      collectgarbage()
      return agent.has_ended(pid)
    end)
  end))

  it("outlives a limit of the task that started it", run(function()
    local p = vmctl.timeout(0.05, function() return assert(host:start { "sh", "-c", "sleep 0.2; echo done" }) end)
    assert.equal("done\n", p:read())
    assert.same({ exit_code = 0 }, p:wait())
  end))

  it("works in a plain script, whose end is the end of its commands", run(function()
    local file = support.tmpdir() .. "/pid"
    script.check(([[
      local vmctl = require "vmctl"
      assert(vmctl.host:run({ "echo", "hi" }).stdout == "hi\n")
      assert(vmctl.host:run { "sh", "-c", "exit 4" }.exit_code == 4)
      assert(select(3, vmctl.host:run { "sleep", "9", timeout = 0.05 }) == "ETIMEDOUT")
      assert(vmctl.pipeline { "seq 10", { "tail", "-n", "1" } }.stdout == "10\n")
      local p = vmctl.host:start "echo $$; sleep 60"
      io.open(%q, "w"):write(p:read()):close()
      os.exit(0)
    ]]):format(file))
    local pid = io.open(file):read "n"
    support.eventually(function() return agent.has_ended(math.tointeger(pid)) end)
  end, 5))

  it("ends its commands when the script is killed", run(function()
    local p, stderr = script.start [[
      local p = require("vmctl").host:start "echo $$; sleep 60"
      io.stderr:write(p:read())
      p:wait()
    ]]
    local pid = stderr:read_line()
    p:kill(9)
    p:wait()
    p:close()
    support.eventually(function() return agent.has_ended(pid) end)
    stderr:close()
  end))
end)
