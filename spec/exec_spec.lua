local agent = require "spec.support.agent"
local cjson = require "cjson"
local core = require "vmctl.core"
local server = require "vmctl.exec.server"
local exec_server = require "vmctl.exec.server"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local code, run = support.code, support.run
local T = wire.types

-- The body gets a client of our agent.
local function with_agent(fn, limit, opts)
  return run(function() agent.serve(fn, opts) end, limit)
end

describe("exec: the end of a command", function()
  local outcomes = {
    { "an exit code", { "sh", "-c", "exit 7" }, { exit_code = 7 } },
    { "exit code 255", { "sh", "-c", "exit 255" }, { exit_code = 255 } },
    { "an unknown program", { "no-such-program-here" },
      { exit_code = 127, error = "start no-such-program-here: No such file or directory" } },
    { "a file that is no program", { "/etc/passwd" },
      { exit_code = 126, error = "start /etc/passwd: Permission denied" } },
    { "a folder that is not there", { "true", cwd = "/no/such" },
      { exit_code = 127, error = "start true: working directory /no/such: No such file or directory" } },
    { "a PATH without the program", { "true", env = { PATH = "/nowhere" } },
      { exit_code = 127, error = "start true: No such file or directory" } },
    { "a signal", { "sh", "-c", "kill -TERM $$" }, { signal = "TERM" } },
    { "SIGKILL", { "sh", "-c", "kill -9 $$" }, { signal = "KILL" } },
    { "a signal of a child", { "sh", "-c", "sh -c 'kill -PIPE $$'; exit $?" }, { exit_code = 141 } },
  }
  for _, case in ipairs(outcomes) do
    it("is told in every mode: " .. case[1], with_agent(function(client)
      local command, want = case[2], case[3]
      local result = assert(client:run(command))
      local function same() assert.same(want, { exit_code = result.exit_code, signal = result.signal, error = result.error }) end
      same()
      command.stdin = "x"
      result = assert(client:run(command))
      same()
      assert.equal("", result.stderr)
      command.stdin, command.tty = nil, true
      result = assert(client:run(command))
      same()
    end))
  end

  it("with check is a failure that says how, with the last of stderr", with_agent(function(client)
    local result, message, why, record = client:run { "sh", "-c", "echo out; echo the reason >&2; exit 3", check = true }
    assert.is_nil(result)
    assert.equal("EEXIT", why)
    assert.is_truthy(message:find "exit code 3: the reason$")
    assert.same({ stdout = "out\n", stderr = "the reason\n", exit_code = 3 }, record)
    assert.is_truthy(client:run { "true", check = true })
    assert.is_truthy(select(2, client:run { "no-such-program", check = true }):find "No such file")
    assert.is_truthy(select(2, client:run { "sh", "-c", "kill -9 $$", check = true }):find "killed by signal KILL")
  end))

  it("comes after all of its output", with_agent(function(client)
    for _ = 1, 100 do
      local result = assert(client:run { "sh", "-c", "echo first; echo last", tty = true })
      assert.equal("first\r\nlast\r\n", result.stdout)
    end
    local text = ("x"):rep(1 << 20)
    assert.is_true(text == client:run("head -c 1048576 /dev/zero | tr '\\0' x").stdout)
  end, 10))

  it("waits a moment for what was left in the background, which lives on", with_agent(function(client)
    local result = assert(client:run "sleep 60 & echo $!")
    local pid = result.stdout:match "%d+"
    assert.is_false(agent.has_ended(pid))
    assert.same({ stdout = pid .. "\n", stderr = "", exit_code = 0, lingering = true }, result)
    os.execute("kill -KILL " .. pid)
  end))

  it("takes its group with it where that was asked for", with_agent(function(client)
    local result = assert(client:run { "sh", "-c", "sleep 60 & echo $!", keep = false })
    local pid = result.stdout:match "%d+"
    support.eventually(function() return agent.has_ended(pid) end)
    assert.same({ stdout = pid .. "\n", stderr = "", exit_code = 0 }, result)
  end))

  it("waits only a moment for a process that has left its group and keeps its output", with_agent(function(client)
    local result = assert(client:run "setsid sleep 60 & echo $!")
    local pid = result.stdout:match "%d+"
    assert.same({ stdout = pid .. "\n", stderr = "", exit_code = 0, lingering = true }, result)
    os.execute("kill -KILL " .. pid)
    result = assert(client:run "setsid yes & echo $! >&2; sleep 0.05; exit 6") -- one that never falls silent
    assert.equal(6, result.exit_code)
    assert.is_true(result.lingering)
    os.execute("kill -KILL " .. result.stderr)
  end, 8))
end)

describe("exec: output", function()
  it("keeps both streams apart and whole when both are busy", with_agent(function(client)
    local parts, count = { stdout = {}, stderr = {} }, { stdout = 0, stderr = 0 }
    local p = assert(client:start { "sh", "-c", "seq 100000 & seq 100001 200000 >&2; wait", stdin = false })
    for data, stream in function() return p:read() end do
      if count[stream] == nil then break end
      count[stream] = count[stream] + 1
      table.insert(parts[stream], data)
    end
    assert.same({ exit_code = 0 }, p:wait())
    local function numbers(first, last)
      local list = {}
      for i = first, last do list[#list + 1] = i end
      return table.concat(list, "\n") .. "\n"
    end
    assert.is_true(numbers(1, 100000) == table.concat(parts.stdout))
    assert.is_true(numbers(100001, 200000) == table.concat(parts.stderr))
  end, 10))

  it("comes in the order in which it was written, stream by stream", with_agent(function(client)
    local p = assert(client:start { "sh", "-c", "echo 1; sleep 0.03; echo 2 >&2; sleep 0.03; echo 3", stdin = false })
    local seen = {}
    for data, stream in function() return p:read() end do
      if stream == nil then break end
      seen[#seen + 1] = stream .. " " .. data
    end
    assert.same({ "stdout 1\n", "stderr 2\n", "stdout 3\n" }, seen)
    p:close()
  end))

  it("beyond max_output keeps its head and its tail", with_agent(function(client)
    local result = assert(client:run { "sh", "-c", "seq 100000; echo e >&2", max_output = 100 })
    assert.equal(100, #result.stdout)
    assert.is_truthy(result.stdout:find "^1\n2\n3\n")
    assert.is_truthy(result.stdout:find "99999\n100000\n$")
    assert.equal(588895 - 100, result.truncated)
    assert.equal("e\n", result.stderr)
    assert.is_nil(client:run({ "echo", "x", max_output = 100 }).truncated)
    for limit = 0, 9 do -- each kept byte is the right one
      result = assert(client:run { "printf", "0123456789", max_output = limit })
      local half = limit // 2
      assert.equal(("0123456789"):sub(1, half) .. ("0123456789"):sub(11 - half), result.stdout)
      assert.equal(10 - 2 * half, result.truncated)
    end
  end))

  it("with on_output is handed over and not kept", with_agent(function(client)
    local seen = { stdout = "", stderr = "" }
    local result = assert(client:run { "sh", "-c", "echo a; echo b >&2; exit 2",
      on_output = function(data, stream) seen[stream] = seen[stream] .. data end })
    assert.same({ stdout = "", stderr = "", exit_code = 2 }, result)
    assert.same({ stdout = "a\n", stderr = "b\n" }, seen)
    assert.has_error(function() client:run { "echo", "x", on_output = function() error("mine", 0) end } end, "mine")
  end))

  it("is one stream with merge_stderr", with_agent(function(client)
    local result = client:run { "sh", "-c", "echo a; echo b >&2; echo c # end", merge_stderr = true }
    assert.same({ stdout = "a\nb\nc\n", stderr = "", exit_code = 0 }, result)
  end))

  it("that came before a time-out is part of its result", with_agent(function(client)
    local result, message, why, partial = client:run { "sh", "-c", "echo o; echo e >&2; exec sleep 30", timeout = 0.2 }
    assert.is_nil(result)
    assert.equal("ETIMEDOUT", why)
    assert.is_truthy(message:find "^sh on unix:.*: not finished in time$")
    assert.same({ stdout = "o\n", stderr = "e\n", timed_out = true, error = message }, partial)
  end))

  it("of a command that never falls silent does not put off its time-out", with_agent(function(client)
    assert.equal("ETIMEDOUT", code(client:run { "yes", timeout = 0.2, max_output = 1000 }))
    local p = assert(client:start { "yes", stdin = false })
    assert.equal("ETIMEDOUT", code(p:wait(0.2)))
    assert.is_truthy(p:read(1))
    p:close()
  end))

  it("that a command takes out of its own pipe again ends it, and nothing spins", run(function()
    local near, far = support.pair { format = wire.format }
    local serving = vmctl.spawn(server.converse, far, {})
    -- Nobody reads here, so the agent is mostly in the middle of a frame when the pipe is emptied; between two frames there
    -- is nothing to lose, and the command ends as ever.
    local command = "yes | head -c 1600000 & sleep 0.1; cat /proc/$$/fd/1 >/dev/null & sleep 1"
    near:write_frame(T.EXEC_STREAM, cjson.encode { command = command })
    vmctl.sleep(0.3)
    local type, why, result
    repeat
      local _
      type, _, why = near:read_frame(30)
      result = result or type == T.EXEC_RESULT
    until not type
    assert.equal(result and "EOF" or "EPROTO", why)
    near:close()
    serving:join(30)
    assert.equal("done", serving:status())
  end, 8))
end)

describe("exec: surroundings", function()
  it("environment: the agent's, the server's option, then the request's", with_agent(function(client)
    local script = 'echo "$A $B $C $HOME"; echo "${PATH:+path}"'
    local result = assert(client:run { "sh", "-c", script, env = { B = "request", HOME = "/h" } })
    assert.equal("server request  /h\npath\n", result.stdout)
  end, 2, { env = { A = "server", B = "server" } }))

  if core.fs.identity() == 0 then
    it("user: a name, a number, with a group; HOME from passwd; supplementary groups", with_agent(function(client)
      local script = "echo $(id -u) $(id -g) $(id -G) $HOME"
      local function who(user, env) return (client:run { "sh", "-c", script, user = user, env = env }).stdout end
      assert.equal("65534 65534 65534 /nonexistent\n", who "nobody")
      assert.equal("65534 65534 65534 /h\n", who("nobody", { HOME = "/h" }))
      assert.equal("65534 0 0 /nonexistent\n", who "nobody:root")
      assert.equal("4242 4242 4242 /\n", who "4242")
      assert.equal("4242 17 17 /\n", who "4242:17")
    end))

    it("user: one that is not known is exit code 127 and a text, not root", with_agent(function(client)
      for _, user in ipairs { "no-such-user", "nobody:no-such-group", "4294967295", "4294967296", "-1", "1:", ":1", "0x0" } do
        local result = assert(client:run { "id", "-u", user = user })
        assert.equal(127, result.exit_code, user)
        assert.equal("", result.stdout)
        assert.is_truthy(result.error:find "unknown", user)
      end
    end))
  end

  it("files that the agent has open are not handed on", with_agent(function(client)
    assert.equal("0\n1\n2\n3\n", client:run({ "sh", "-c", "ls /proc/self/fd" }).stdout) -- 3 is ls's own
  end))
end)

-- Sends raw bytes to our server and gives back all frames of its answer.
local function answer_to(bytes, opts, half_close)
  local near, far = support.pair { format = wire.format }
  local serving = vmctl.spawn(server.converse, far, opts or {})
  near:write(bytes)
  if half_close then near:shutdown() end
  local frames = {}
  for type, payload in function() return near:read_frame(30) end do frames[#frames + 1] = { type, payload } end
  near:close()
  serving:join()
  return frames
end

local function message(type, payload) return (">Bs4"):pack(type, payload) end

describe("exec: a request", function()
  local garbage = {
    "", "{nope", "[]", "7", '{"args":["x"]}', '{"command":7}', '{"command":"x","env":{"A":1}}',
    '{"argv_b64":[]}', '{"argv_b64":["!"]}', '{"argv_b64":["eAB4"]}', '{"command":"a\\u0000b"}',
    '{"command":"true","env":{"A":"\\u0000"}}', '{"command":"true","env":{"A=B":"x"}}',
    '{"command":"true","env_b64":{"A":"?"}}',
  }
  it("that makes no sense is refused with a text, and never looks like a success", run(function()
    for _, text in ipairs(garbage) do
      for _, type in ipairs { T.EXEC, T.EXEC_STREAM } do
        local frames = answer_to(message(type, text))
        assert.equal(1, #frames, text)
        local response = assert(wire.decode_response(frames[1][2]))
        assert.equal(126, response.exit_code)
        assert.is_true(#response.error > 0)
      end
      for _, type in ipairs { T.EXEC_PIPE, T.EXEC_TTY } do
        local frames = answer_to(message(type, text))
        assert.same({ T.STDERR, T.EXIT }, { frames[1][1], frames[2][1] })
        assert.equal("\0\0\0\126", frames[2][2])
      end
    end
  end))

  it("of the plain mode gets much output ahead of its answer, and all of it", run(function()
    agent.serve(function(client)
      local conn <close> = assert(vmctl.dial(client.address, { format = wire.format }))
      local script = "for i in 1 2 3; do head -c 20000000 /dev/zero; head -c 5000000 /dev/zero | tr '\\0' e >&2; done; exit 3"
      assert(conn:write_frame(T.EXEC, cjson.encode { command = script }))
      local seen = { [T.STDOUT] = 0, [T.STDERR] = 0 }
      local type, payload
      repeat
        type, payload = assert(conn:read_frame(30))
        if seen[type] then seen[type] = seen[type] + #payload end
      until type == T.EXEC_RESULT
      assert.same({ [T.STDOUT] = 60000000, [T.STDERR] = 15000000 }, seen)
      local result = wire.decode_response(payload)
      assert.same({ 3, "", "", "" }, { result.exit_code, result.stdout, result.stderr, result.error })
    end)
  end, 60))

  it("for a port forward or a file that makes no sense is refused with a text", run(function()
    for _, text in ipairs { "", "{", "7", '{"port":0}', '{"port":"x"}', '{"port":65536}', '{"port":1.5}', '{"host":7}' } do
      assert.equal(T.STDERR, answer_to(message(T.PORT_FORWARD, text))[1][1])
    end
    for _, type in ipairs { T.WRITE_FILE, T.READ_FILE, T.LIST_FILES } do
      for _, text in ipairs { "", "{", "7", "{}", '{"path":7}', '{"path":""}', '{"path":"a\\u0000b"}' } do
        local frames = answer_to(message(type, text))
        assert.equal(T.FILE_RESULT, frames[1][1])
        assert.is_truthy(cjson.decode(frames[1][2]).error)
      end
    end
    local never = support.tmpdir() .. "/never"
    for _, rest in ipairs { '"content":"!"', '"content":7', '"mode":-1', '"mode":4294967296',
      '"exact_mode":true,"mode":4096', '"mode":"x"' } do
      local frames = answer_to(message(T.WRITE_FILE, ('{"path":"%s",%s}'):format(never, rest)))
      assert.is_truthy(cjson.decode(frames[1][2]).error)
    end
    assert.is_nil(core.fs.stat(never))
  end))

  it("of an unknown or a guest's type, or none at all, is closed without a word", run(function()
    for _, type in ipairs { 0, 2, 3, 4, 5, 7, 8, 10, 17, 18, 99, 255 } do assert.same({}, answer_to(message(type, "{}"))) end
    assert.same({}, answer_to("", nil, true))
  end))

  it("over the limit is never held, and closed when it does not come", run(function()
    local opts = { request_timeout = 0.2 }
    assert.same({}, answer_to("\1\0\16\0\1", opts))
    assert.same({}, answer_to("\14\4\0\0\1", opts))
    assert.same({}, answer_to("\1\xff\xff\xff\xff", opts))
  end))

  it("over the limit is answered in the way of its type", run(function()
    local long = ("x"):rep((1 << 20) + 1)
    for _, type in ipairs { T.EXEC, T.EXEC_STREAM } do
      local frames = answer_to(message(type, long))
      assert.equal(T.EXEC_RESULT, frames[1][1])
      local result = wire.decode_response(frames[1][2])
      assert.equal(126, result.exit_code)
      assert.is_truthy(result.error:find "the limit is 1048576")
    end
    local frames = answer_to(message(T.EXEC_PIPE, long))
    assert.same({ T.STDERR, T.EXIT }, { frames[1][1], frames[2][1] })
    frames = answer_to(message(T.LIST_FILES, long))
    assert.equal(T.FILE_RESULT, frames[1][1])
    assert.is_truthy(cjson.decode(frames[1][2]).error:find "the limit is 1048576")
  end, 60))

  it("of 1 MiB is served, and one over that is not sent", with_agent(function(client)
    assert.equal(0, client:run({ "true", ("x"):rep(100000), env = { A = ("y"):rep(100000) } }).exit_code)
    assert.equal("ETOOBIG", code(client:run { "true", ("x"):rep(1 << 20) }))
    local result = assert(client:run { "true", ("x"):rep(300000) }) -- the kernel's limit for one argument
    assert.equal("start true: Argument list too long", result.error)
  end))

  it("of half a frame, then silence, is dropped after a while", run(function()
    for _, bytes in ipairs { "\1\0", '\1\0\0\0\20{"comm' } do
      local seconds, answer = support.passed(answer_to, bytes, { request_timeout = 3 })
      assert.same({}, answer)
      assert.is_true(seconds >= 3 and seconds < 15, seconds)
    end
    assert.same({}, answer_to("", { request_timeout = 0.05 }))
  end))

  it("asking who is there gets a name", run(function()
    local frames = answer_to(message(T.READY, ""))
    assert.equal(T.READY, frames[1][1])
    assert.equal("vmctl", cjson.decode(frames[1][2]).agent)
  end))
end)

describe("exec: a command whose link is lost", function()
  -- A client whose first `lost` commands meet an agent that goes away.
  local function shaky(lost, fn)
    return run(function()
      vmctl.scope(function(scope)
        local count = 0
        local client = assert(vmctl.exec.client(function()
          local near, far = assert(vmctl.pair())
          vmctl.spawn_in(scope, function()
            count = count + 1
            if count > lost then return exec_server.converse(far, {}) end
            far:set_format(wire.format)
            if far:read_frame(5) == wire.types.READY then far:write_frame(wire.types.READY, "{}") end
            far:close()
          end)
          return near
        end, { revision = "vmctl" }))
        fn(client, function() return count end)
      end)
    end)
  end

  it("fails with ERESET, and is not run again", shaky(1, function(client, count)
    assert.equal("ERESET", support.code(client:run { "echo", "x" }))
    assert.equal(1, count())
  end))

  it("is run again if that was asked for", shaky(1, function(client)
    assert.equal("x\n", assert(client:run { "echo", "x", retry = true }).stdout)
  end))

  it("is run again no more often than was asked for", shaky(1000, function(client, count)
    assert.equal("ERESET", support.code(client:run { "echo", "x", retry = 0 }))
    assert.equal(1, count())
    local begun = count()
    assert.equal("ERESET", support.code(client:run { "echo", "x", retry = 1 }))
    assert.equal(begun + 3, count()) -- the command twice, and a question between
  end))

  it("is not run again with an input that is gone", shaky(0, function(client)
    assert.has_error(function() client:run { "cat", stdin = function() end, retry = true } end)
  end))
end)

describe("exec: misuse is raised at the caller's line:", function()
  local client = assert(vmctl.exec.client("unix:/nowhere"))
  local cases = {
    { "no command", {} }, { "a number", { 7 } }, { "a NUL byte", { "a\0b" } }, { "a hole", { "a", nil, "c" } },
    { "an unknown option", { "a", time_out = 5 } }, { "an env of numbers", { "a", env = { A = 1 } } },
    { "an env with =", { "a", env = { ["A=B"] = "x" } } }, { "a stdin of another kind", { "a", stdin = 7 } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local ok, err = pcall(function() client:run(case[2]) end)
      assert.is_false(ok)
      assert.is_truthy(err:find("^spec/exec_spec.lua:%d+: run: "), err)
      ok, err = pcall(function() client:start(case[2]) end)
      assert.is_false(ok)
      assert.is_truthy(err:find("^spec/exec_spec.lua:%d+: start: "), err)
    end)
  end

  it("options of run given to start", function()
    for _, name in ipairs { "check", "max_output", "on_output" } do
      assert.has_error(function() client:start { "a", [name] = name == "check" or (name == "max_output" and 1) or print } end)
    end
    assert.has_error(function() client:start { "a", stdin = "text" } end)
  end)
end)
