local agent = require "spec.support.agent"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local code, run = support.code, support.run
local T = wire.types

local function with_agent(fn, limit, opts)
  return run(function() agent.serve(fn, opts) end, limit)
end

local function read_all(p)
  local parts = {}
  for data in function() return (p:read()) end do parts[#parts + 1] = data end
  return table.concat(parts)
end

-- Reads until the text has come.
local function read_until(p, text)
  local all = ""
  repeat all = all .. assert(p:read()) until all:find(text, 1, true)
  return all
end

describe("exec process: input", function()
  it("reaches the command as it is written, until it is closed", with_agent(function(client)
    local p = assert(client:start { "cat" })
    for _, text in ipairs { "a", "line\n", "\0\255", ("x"):rep(200000) } do
      local writer = vmctl.spawn(function() return p:write(text) end)
      local got = ""
      repeat got = got .. p:read() until #got >= #text
      assert.is_true(text == got)
      assert.is_true(writer:join())
    end
    assert.is_true(p:write "")
    assert.is_true(p:close_stdin())
    assert.equal("EOF", code(p:read()))
    assert.same({ exit_code = 0 }, p:wait())
    assert.equal("ESRCH", code(p:write "late"))
  end))

  it("may be closed by the command: what comes is thrown away", with_agent(function(client)
    local p = assert(client:start "exec <&-; sleep 0.1; echo still here")
    assert.is_true(p:write(("x"):rep(500000)))
    assert.equal("still here\n", read_all(p))
    assert.same({ exit_code = 0 }, p:wait())
  end))

  it("that the command does not read makes the writer wait, and no one else", with_agent(function(client)
    local p = assert(client:start { "sleep", "60" })
    local writer = vmctl.spawn(function() return p:write(("x"):rep(4 << 20)) end)
    support.settle()
    assert.equal("waiting", writer:status())
    assert.equal("ok\n", client:run({ "echo", "ok" }).stdout)
    p:close()
    assert.equal("ECLOSED", code(writer:join()))
  end))

  it("takes the writes of several tasks one after the other", with_agent(function(client)
    local p = assert(client:start { "sh", "-c", "sleep 0.05; wc -c" })
    vmctl.all { function() return p:write(("a"):rep(300000)) end, function() return p:write(("b"):rep(300000)) end }
    p:close_stdin()
    assert.equal("600000\n", read_all(p))
    p:close()
  end))
end)

describe("exec process: a terminal", function()
  it("has a size, and another one when it is resized", with_agent(function(client)
    local p = assert(client:start { "sh", "-c", "trap 'stty size' WINCH; stty size; while :; do read x && exit 5; done",
      tty = true, rows = 10, cols = 20 })
    assert.equal("10 20\r\n", p:read())
    assert.is_true(p:resize(33, 44))
    read_until(p, "33 44\r\n")
    p:write "\n"
    read_all(p)
    assert.same({ exit_code = 5 }, p:wait())
  end))

  it("is one: its keys are echoed, ^D ends the input, ^C the foreground program", with_agent(function(client)
    local p = assert(client:start { "cat", tty = true })
    p:write "abc\n"
    read_until(p, "abc\r\nabc\r\n")
    p:write "\4"
    read_all(p)
    assert.same({ exit_code = 0 }, p:wait())
    p = assert(client:start { "cat", tty = true })
    p:write "\n"
    read_until(p, "\r\n\r\n")
    p:write "\3"
    read_all(p)
    assert.same({ signal = "INT" }, p:wait())
  end))

  it("takes a string as its input, too", with_agent(function(client)
    local result = assert(client:run { "sh", "-c", "read a; read b; echo $b$a; test -t 1", tty = true, stdin = "x\ny\n" })
    assert.equal(0, result.exit_code)
    assert.is_truthy(result.stdout:find "yx\r\n$")
  end))

  it("has TERM in its environment unless that is given", with_agent(function(client)
    local want = os.getenv "TERM" or "xterm"
    assert.equal(want .. "\r\n", client:run({ "sh", "-c", "echo $TERM", tty = true }).stdout)
    assert.equal("odd\r\n", client:run({ "sh", "-c", "echo $TERM", tty = true, env = { TERM = "odd" } }).stdout)
  end))
end)

describe("exec process: signals", function()
  it("are given by name or number, and reach the whole group", with_agent(function(client)
    for _, case in ipairs { { "TERM", "TERM" }, { "SIGUSR1", "USR1" }, { 9, "KILL" }, { "int", "INT" }, { nil, "TERM" } } do
      local p = assert(client:start "sleep 60 & echo $!; wait")
      local pid = p:read():match "%d+"
      assert.is_true(p:kill(case[1]))
      assert.same({ signal = case[2] }, p:wait())
      support.eventually(function() return agent.has_ended(pid) end)
      assert.equal("ESRCH", code(p:kill "TERM"))
      p:close()
    end
    local p = assert(client:start { "true" })
    assert.has_error(function() p:kill "NOSUCH" end)
    assert.has_error(function() p:kill(65) end)
    p:close()
  end))

  it("arrive though the command reads none of its input", with_agent(function(client)
    for _, tty in ipairs { false, true } do
      local p = assert(client:start { "sh", "-c", "stty raw 2>/dev/null; echo go; exec sleep 60", tty = tty })
      read_until(p, "go")
      local writer = vmctl.spawn(function() return p:write(("x"):rep(8 << 20)) end)
      support.eventually(function() return code(p:write("y", 0.05)) == "ETIMEDOUT" end) -- all buffers are full
      assert.equal("waiting", writer:status())
      assert.is_true(p:kill "USR2")
      assert.same({ signal = "USR2" }, p:wait())
      p:close()
      assert.is_nil((writer:join()))
    end
    local p = assert(client:start { "sleep", "60" }) -- before the agent has heard of it
    local writer = vmctl.spawn(function() return p:write(("x"):rep(8 << 20)) end)
    vmctl.yield()
    assert.is_true(p:kill "KILL")
    assert.same({ signal = "KILL" }, p:wait())
    assert.equal("ESRCH", code(p:kill "KILL"))
    p:close()
    writer:join()
  end))

  it("work without an input as well", with_agent(function(client)
    local p = assert(client:start { "sleep", "60", stdin = false })
    assert.is_true(p:kill "HUP")
    assert.same({ signal = "HUP" }, p:wait())
  end))

  it("closing its output is SIGPIPE for who writes to it, and for nobody else", with_agent(function(client)
    local p = assert(client:start { "sh", "-c", "yes; echo $? >&2; exit 3", stdin = false })
    assert(p:read())
    assert.is_true(p:close_stdout())
    local stderr = ""
    for data, stream in function() return p:read() end do
      if stream ~= "stdout" then stderr = stderr .. data end
    end
    assert.equal("141\n", stderr)
    assert.same({ exit_code = 3 }, p:wait())
    p = assert(client:start { "true", tty = true })
    assert.equal("ENOTSUP", code(p:close_stdout()))
    p:close()
  end))
end)

-- Starts the command in a mode, waits for the pids that it prints, and gives them and the raw connection.
local function start_raw(client, mode, command)
  local s = assert(vmctl.dial(client.address, { format = wire.format }))
  assert(s:write_frame(mode, wire.encode_request { command = command }))
  return s
end

describe("exec process: a host that goes", function()
  for name, mode in pairs { plain = T.EXEC, streamed = T.EXEC_STREAM, piped = T.EXEC_PIPE, terminal = T.EXEC_TTY } do
    it("ends the whole group, grandchildren as well: " .. name, with_agent(function(client)
      local file = support.tmpdir() .. "/pids"
      local s = start_raw(client, mode, ("sh -c 'sleep 60 & echo $! >>%s; wait' & echo $! $$ >>%s; sleep 61"):format(file, file))
      local pids = {}
      support.eventually(function()
        pids = {}
        for pid in (client:run({ "cat", file }).stdout or ""):gmatch "%d+" do pids[#pids + 1] = pid end
        return #pids == 3
      end)
      for _, pid in ipairs(pids) do assert.is_false(agent.has_ended(pid)) end
      s:close()
      for _, pid in ipairs(pids) do support.eventually(function() return agent.has_ended(pid) end) end
    end))
  end

  it("ends a command that ignores SIGTERM", with_agent(function(client)
    local p = assert(client:start "trap '' TERM HUP; echo $$; while :; do sleep 1; done")
    local pid = p:read():match "%d+"
    p:close()
    support.eventually(function() return agent.has_ended(pid) end)
  end, 8))

  it("ends a command that reads none of what was sent", with_agent(function(client)
    local p = assert(client:start "echo $$; sleep 60")
    local pid = p:read():match "%d+"
    local writer = vmctl.spawn(function() p:write(("x"):rep(1 << 20)) end)
    support.settle()
    p:close()
    writer:join()
    support.eventually(function() return agent.has_ended(pid) end)
  end, 6))

  it("ends a command whose output nobody takes", with_agent(function(client)
    local s = start_raw(client, T.EXEC_STREAM, "echo $$; exec yes")
    local _, text = s:read_frame()
    s:close()
    support.eventually(function() return agent.has_ended(text:match "%d+") end)
  end))

  it("halfway (it sends no more) ends the command, and still gets the result", with_agent(function(client)
    local s = start_raw(client, T.EXEC_STREAM, "echo go; sleep 60")
    assert.same({ T.STDOUT, "go\n" }, { s:read_frame() })
    s:shutdown()
    local type, payload = s:read_frame()
    assert.equal(T.EXEC_RESULT, type)
    assert.equal(15, wire.decode_response(payload).signal)
    assert.equal("EOF", code(s:read_frame()))
    s:close()
  end))

  it("by forgetting the process ends the command, too", with_agent(function(client)
    local pid = (function()
      local p = assert(client:start "echo $$; sleep 60")
      return p:read():match "%d+"
    end)()
    support.eventually(function()
      collectgarbage()
      return agent.has_ended(pid)
    end)
  end))
end)

describe("exec process: waiting", function()
  it("of two readers the second is told EBUSY", with_agent(function(client)
    local p = assert(client:start { "cat" })
    local reader = vmctl.spawn(function() return p:read() end)
    support.settle()
    assert.equal("EBUSY", code(p:read()))
    assert.equal("EBUSY", code(p:wait()))
    p:write "x"
    assert.equal("x", reader:join()) -- the first is none the worse
    p:close()
  end))

  it("ends with ECLOSED when another task closes it", with_agent(function(client)
    local p = assert(client:start { "cat" })
    local reader = vmctl.spawn(function() return p:read() end)
    support.settle()
    p:close()
    assert.equal("ECLOSED", code(reader:join()))
    assert.equal("ECLOSED", code(p:read()))
    assert.equal("ECLOSED", code(p:wait()))
    assert.equal("ECLOSED", code(p:write "x"))
    assert.is_true(p:close())
  end))

  it("ends with ETIMEDOUT, and it is usable afterwards", with_agent(function(client)
    local p = assert(client:start { "cat", timeout = 0.05 })
    assert.equal("ETIMEDOUT", code(p:read()))
    assert.equal("ETIMEDOUT", code(p:wait()))
    assert.equal("ETIMEDOUT", code(p:read(0)))
    assert.equal("ETIMEDOUT", code(p:wait(-1)))
    p:write "x"
    assert.equal("x", p:read(1))
    p:close_stdin()
    assert.same({ exit_code = 0 }, p:wait(30))
  end))

  it("for the end keeps what nobody has read, up to 1 MiB", with_agent(function(client)
    local p = assert(client:start { "sh", "-c", "echo o; echo e >&2; exit 3", stdin = false })
    assert.same({ exit_code = 3 }, p:wait())
    local seen = {}
    for data, stream in function() return p:read() end do
      if #data > 0 and (stream == "stdout" or stream == "stderr") then seen[stream] = (seen[stream] or "") .. data end
    end
    assert.same({ stdout = "o\n", stderr = "e\n" }, seen)
    p = assert(client:start { "head", "-c", "3000000", "/dev/zero", stdin = false })
    assert.same({ exit_code = 0 }, p:wait())
    local kept = #read_all(p)
    assert.is_true(kept <= 1 << 20 and kept > 900000)
    assert.equal(3000000, kept + p.discarded)
  end))

  it("and reading in turns lose nothing and keep the order", with_agent(function(client)
    local p = assert(client:start { "cat" })
    local text = ""
    for i = 1, 20 do
      p:write(i .. "\n")
      if i % 3 == 0 then text = text .. p:read() end
      p:wait(0.005)
    end
    p:close_stdin()
    text = text .. read_all(p)
    local want = {}
    for i = 1, 20 do want[i] = i .. "\n" end
    assert.equal(table.concat(want), text)
  end))
end)
