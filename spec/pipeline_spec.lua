local agent = require "spec.support.agent"
local reference = require "spec.support.reference"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local pipeline = vmctl.pipeline

describe("vmctl.pipeline: a result", function()
  it("is the last stage's output and exit code, and each one's own", run(function()
    local last = { "sh", "-c", "cat; echo three >&2; exit 4" }
    local result = assert(pipeline { "seq 5; echo one >&2", { "grep", "-v", "3" }, last })
    assert.equal("1\n2\n4\n5\n", result.stdout)
    assert.equal(4, result.exit_code)
    assert.equal("three\n", result.stderr)
    assert.same({ "one\n", "", "three\n" }, { result.stages[1].stderr, result.stages[2].stderr, result.stages[3].stderr })
    assert.same({ 0, 0, 4 }, { result.stages[1].exit_code, result.stages[2].exit_code, result.stages[3].exit_code })
    assert.same({ stage = 3, name = "sh on host", reason = "exit code 4" }, result.failed)
  end))

  it("of one stage is that stage's", run(function()
    local result = assert(pipeline { { "echo", "x" } })
    assert.same({ "x\n", 0, nil }, { result.stdout, result.exit_code, result.failed })
    assert.equal("echo on host", result.stages[1].name)
    assert.equal("echo y on host", assert(pipeline { "echo y" }).stages[1].name)
  end))

  it("names the first stage that failed, though the last did not", run(function()
    local result = assert(pipeline { "echo x", "cat; exit 3", "cat; exit 5", "cat" })
    assert.equal("x\n", result.stdout)
    assert.equal(0, result.exit_code)
    assert.same({ stage = 2, name = "cat; exit 3 on host", reason = "exit code 3" }, result.failed)
    local ok, message, why, partial = pipeline { "echo x", "cat; echo the reason >&2; exit 3", "cat", check = true }
    assert.is_nil(ok)
    assert.equal("EEXIT", why)
    assert.is_truthy(message:find("stage 2 (cat; echo the reason >&2; exit 3 on host): exit code 3: the reason", 1, true))
    assert.equal("x\n", partial.stdout)
  end))

  it("names a stage that died of a signal, or did not start", run(function()
    assert.equal("killed by signal KILL", pipeline({ "kill -9 $$", "cat" }).failed.reason)
    local result = assert(pipeline { "echo x", { "no-such-program" }, "cat" })
    assert.equal(2, result.failed.stage)
    assert.equal(127, result.stages[2].exit_code)
    assert.is_truthy(result.stages[2].error:find "No such file")
    assert.equal("", result.stdout)
  end))

  it("is kept up to max_output, or handed over", run(function()
    local result = assert(pipeline { "seq 10000", "cat", max_output = 20 })
    assert.same({ 20, 48894 - 20 }, { #result.stdout, result.truncated })
    local seen = {}
    result = assert(pipeline { "seq 3", "cat", on_output = function(data) seen[#seen + 1] = data end })
    assert.same({ "", "1\n2\n3\n" }, { result.stdout, table.concat(seen) })
    local ok, err = pcall(pipeline, { "yes", "cat", on_output = function() error "mine" end })
    assert.is_false(ok)
    assert.is_truthy(err:find "mine")
  end))

  it("has 1 MiB of each stage's stderr", run(function()
    local result = assert(pipeline { "head -c 3000000 /dev/zero >&2; echo out", "cat" })
    assert.equal(1 << 20, #result.stages[1].stderr)
    assert.equal("out\n", result.stdout)
  end))
end)

describe("vmctl.pipeline: the input", function()
  it("of the first stage is nothing, a string, a function's pieces or a stream", run(function()
    assert.equal("0\n", pipeline({ "wc -c", "cat" }).stdout)
    assert.equal("IN", pipeline({ "cat", "tr a-z A-Z", stdin = "in" }).stdout)
    local pieces = { "a", "b" }
    assert.equal("ab", pipeline({ "cat", "cat", stdin = function() return table.remove(pieces, 1) end }).stdout)
    local near, far = support.pair()
    near:write "streamed"
    near:shutdown()
    assert.equal("streamed", pipeline({ "cat", "cat", stdin = far }).stdout)
    near:close()
    far:close()
  end))

  it("that fails ends it with the reason", run(function()
    local given = 0
    local ok, message, why = pipeline { "cat", "cat", stdin = function()
      given = given + 1
      if given == 1 then return "half" end
      return nil, "the disk is gone", "EIO"
    end }
    assert.is_nil(ok)
    assert.equal("EIO", why)
    assert.is_truthy(message:find("stage 1: cat on host: standard input: the disk is gone", 1, true))
  end))

  it("that the first stage does not want is no failure", run(function()
    local result = assert(pipeline { "exec <&-; echo enough", "cat", stdin = ("x"):rep(1000000) })
    assert.same({ "enough\n", nil }, { result.stdout, result.failed })
  end))
end)

describe("vmctl.pipeline: as in a shell", function()
  it("a stage whose reader has ended dies of SIGPIPE, which is no failure", run(function()
    local result = assert(pipeline { { "yes" }, { "head", "-n", "2" }, check = true })
    assert.equal("y\ny\n", result.stdout)
    assert.equal("PIPE", result.stages[1].signal)
    assert.is_nil(result.failed)
    result = assert(pipeline { "yes", "cat", "head -n 1", check = true })
    assert.equal("y\n", result.stdout)
    assert.equal(141, result.stages[1].exit_code)
  end))

  it("that holds for a stage that reads none of its own input", run(function()
    local result = assert(pipeline { "yes", "yes no", "head -n 1", check = true })
    assert.equal("no\n", result.stdout)
    result = assert(pipeline { "yes", "yes no", "yes maybe", "cat", "head -n 1", check = true })
    assert.equal("maybe\n", result.stdout)
  end))

  it("only who writes dies of it: the rest of that stage goes on", run(function()
    local file = support.tmpdir() .. "/done"
    local first = { "sh", "-c", 'yes; echo done >"$1"; echo said >&2; exit 6', "sh", file }
    local result = assert(pipeline { first, { "head", "-n1" } })
    assert.equal("done\n", io.open(file):read "a")
    assert.equal("said\n", result.stages[1].stderr)
    assert.equal("exit code 6", result.failed.reason) -- and that is its own
  end))

  it("who ignores SIGPIPE gets EPIPE", run(function()
    local result = assert(pipeline { "trap '' PIPE; while echo y; do :; done 2>/dev/null; exit 9", "head -n1" })
    assert.same({ "y\n", 9 }, { result.stdout, result.stages[1].exit_code })
  end))

  it("a stage that needs no input does not wait for it", run(function()
    local result = assert(pipeline { "sleep 0.2; echo late", "echo early" })
    assert.equal("early\n", result.stdout)
    assert.equal(0, result.stages[2].exit_code)
  end))

  it("a stage sees the end of its input when the one before it ends", run(function()
    assert.equal("0\n", pipeline({ "true", "wc -c" }).stdout)
    assert.equal("0\n", pipeline({ { "no-such-program" }, "wc -c" }).stdout)
  end))

  it("data flows before anybody has ended", run(function()
    local file = support.tmpdir() .. "/seen"
    local first = "echo go; while ! [ -e " .. file .. ".seen ]; do sleep 0.05; done"
    local running = vmctl.spawn(pipeline, { first, { "sh", "-c", 'read x; echo "$x" >"$1"', "sh", file } })
    support.eventually(function() return io.open(file) and io.open(file):read "l" == "go" end)
    assert.equal("waiting", running:status())
    assert(io.open(file .. ".seen", "w")):close()
    assert.equal(0, running:join().exit_code)
  end))
end)

describe("vmctl.pipeline: time", function()
  it("is limited for all of it; what there was is part of the failure, and nothing is left running", run(function()
    local ok, message, why, partial = pipeline { "echo $$; echo e >&2; sleep 60", "cat", timeout = 0.3 }
    assert.is_nil(ok)
    assert.equal("ETIMEDOUT", why)
    assert.is_truthy(message:find "stage 1: echo .*: not finished in time")
    local pid = partial.stdout:match "^%d+"
    assert.equal("e\n", partial.stages[1].stderr)
    support.eventually(function() return agent.has_ended(pid) end)
  end))

  it("runs out even if the output never does, or nobody takes it", run(function()
    assert.equal("ETIMEDOUT", code(pipeline { "yes", timeout = 0.2, max_output = 100 }))
    assert.equal("ETIMEDOUT", code(pipeline { "yes", "cat", timeout = 0.2, max_output = 100 }))
    assert.equal("ETIMEDOUT", code(pipeline { "yes", "sleep 60", timeout = 0.2 }))
    assert.equal("ETIMEDOUT", code(pipeline { "cat", "cat", stdin = function() vmctl.sleep(60) end, timeout = 0.2 }))
  end, 5))

  it("a slow reader makes the writer wait, in bounded memory", run(function()
    collectgarbage()
    local before, most, taken = agent.status("self", "VmRSS"), 0, 0
    local result = assert(pipeline { "head -c 200000000 /dev/zero", "cat", { "sh", "-c", "sleep 0.2; cat" },
      on_output = function(data)
        taken = taken + #data
        if taken % (10 << 20) < #data then
          support.settle()
          most = math.max(most, agent.status("self", "VmRSS"))
        end
      end })
    assert.equal(200000000, taken)
    assert.is_nil(result.failed)
    assert.is_true(most - before < 12 << 10, ("%d KiB more"):format(most - before))
  end, 30))
end)

describe("vmctl.pipeline: targets", function()
  it("may be mixed", run(function()
    agent.serve(function(client, address)
      local other = vmctl.exec.client(address)
      local result = assert(client:pipeline { "seq 4", { "sort", "-rn", on = vmctl.host }, { "head", "-n", "2", on = other },
        { "tr", "34", "XY", on = vmctl.host } })
      assert.equal("Y\nX\n", result.stdout)
      assert.is_truthy(result.stages[1].name:find "^seq 4 on unix:")
      assert.is_truthy(result.stages[2].name:find "^sort on host")
    end)
  end))

  it("of the reference take part, too, and a command there ends when nobody reads it", run(function()
    reference.serve("0.2", function(address, far)
      local guest = vmctl.exec.client(address)
      local result = assert(pipeline { { "seq", "3", on = guest }, "cat", { "sort", "-rn", on = guest } })
      assert.equal("3\n2\n1\n", result.stdout)
      result = assert(pipeline { { "yes", on = guest }, "head -n 1", check = true })
      assert.equal("y\n", result.stdout)
      assert.equal("PIPE", result.stages[1].signal)
      support.eventually(function() return agent.has_ended(far.children[#far.children].pid) end)
    end)
  end, 5))

  it("that give commands no standard input take part, too", run(function()
    reference.serve("0.1.9", function(address)
      local guest = vmctl.exec.client(address)
      assert.equal("x\n", assert(pipeline { "echo x", { "cat", on = guest }, check = true }).stdout)
      assert.equal("X\n", assert(pipeline { { "echo", "x", on = guest }, "tr x X", check = true }).stdout)
    end)
  end, 30))

  it("that cannot be reached end what has been started before them", run(function()
    local file = support.tmpdir() .. "/pid"
    local away = vmctl.exec.client "unix:/no/such/socket"
    local ok, message, why = pipeline { { "sh", "-c", 'echo $$ >"$1"; sleep 60', "sh", file }, { "cat", on = away } }
    assert.is_nil(ok)
    assert.equal("ENOENT", why)
    assert.is_truthy(message:find("pipeline: stage 2: ", 1, true))
    local pid = io.open(file) and io.open(file):read "l"
    if pid and pid ~= "" then support.eventually(function() return agent.has_ended(pid) end) end
  end))

  it("that are lost on the way are told from a failure of the command", run(function()
    local path = "unix:" .. support.tmpdir() .. "/s"
    local listener = assert(vmctl.listen(path))
    local serving = vmctl.spawn(vmctl.exec.serve, listener)
    local breaker = vmctl.spawn(function()
      vmctl.sleep(0.1)
      listener:close()
    end)
    local ok, _, why, partial = pipeline { "echo x; sleep 60", { "cat", on = vmctl.exec.client(path) } }
    assert.is_nil(ok)
    assert.equal("ERESET", why)
    assert.equal("x\n", partial.stdout)
    assert.is_nil(partial.stages[2].exit_code)
    breaker:join()
    serving:join()
  end, 5))
end)

describe("vmctl.pipeline: misuse is raised at the caller's line:", function()
  local cases = {
    ["no stage"] = {}, ["a number"] = { 7 }, ["a hole"] = { "a", nil, "b" }, ["an empty stage"] = { {} },
    ["an unknown option"] = { "a", time_out = 1 }, ["an unknown option of a stage"] = { { "a", chek = true } },
    ["a stage's own input"] = { { "a", stdin = "x" } }, ["a stage's terminal"] = { { "a", tty = true } },
    ["an input of another kind"] = { "a", stdin = 7 },
  }
  for name, stages in pairs(cases) do
    it(name, function()
      local ok, err = pcall(function() pipeline(stages) end)
      assert.is_false(ok)
      assert.is_truthy(err:find "^spec/pipeline_spec.lua:%d+: pipeline: ", err)
    end)
  end
end)
