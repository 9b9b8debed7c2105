-- The agent's side as a whole, and how a host finds out that it is there.
local address = require "vmctl.address"
local agent = require "spec.support.agent"
local exec = require "vmctl.exec"
local server = require "vmctl.exec.server"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local function with_agent(fn, limit, opts)
  return run(function() agent.serve(fn, opts) end, limit)
end

describe("exec server", function()
  it("serves fifty commands at once", with_agent(function(client)
    local folder, list = support.tmpdir(), {}
    for i = 1, 50 do list[i] = i end
    -- Each waits until all of them have begun.
    local script = 'touch "$0/$1"; while [ "$(ls "$0" | wc -l)" -lt 50 ]; do sleep 0.1; done; echo $1'
    local results = vmctl.map(list, function(i) return assert(client:run { "sh", "-c", script, folder, tostring(i) }) end)
    for i = 1, 50 do assert.equal(i .. "\n", results[i].stdout) end
  end, 10))

  it("lets no more connections in than it was told", with_agent(function(client)
    local p = assert(client:start { "cat" })
    local late = vmctl.spawn(function() return client:run { "echo", "late" } end)
    support.settle()
    assert.equal("waiting", late:status())
    p:close()
    assert.equal("late\n", late:join().stdout)
  end, 3, { connections = 1 }))

  it("that stops ends what still runs; its hosts are told, and it is no exit code", run(function()
    local path = "unix:" .. support.tmpdir() .. "/s"
    local listener = assert(vmctl.listen(path))
    local serving = vmctl.spawn(exec.serve, listener)
    local p = assert(exec.client(path):start "echo $$; sleep 60")
    local pid = p:read():match "%d+"
    listener:close()
    assert.equal("ERESET", code(p:wait()))
    assert.is_true(serving:join())
    support.eventually(function() return agent.has_ended(pid) end)
    assert.equal("ENOENT", code(exec.client(path):run { "true" }))
  end))

  it("that is killed amid an answer gives ERESET with the output so far", run(function()
    agent.program(function(client, _, pid)
      local killer = vmctl.spawn(function()
        vmctl.sleep(0.2)
        os.execute("kill -9 " .. pid)
      end)
      local result, message, why, partial = client:run "echo $$; exec sleep 60"
      assert.is_nil(result)
      assert.equal("ERESET", why)
      assert.is_nil(partial.exit_code)
      assert.is_truthy(message:find("before the exit code came", 1, true))
      killer:join()
      support.eventually(function() return agent.has_ended(partial.stdout:match "^%d+") end) -- as the command ends with it
    end)
  end, 5))
end)

describe("exec client: ready", function()
  it("takes no time when the agent is there", with_agent(function(client)
    assert.truthy(client:ready(0.5) or client:ready(30))
    assert.equal("vmctl", client.revision)
  end))

  it("waits for a socket that appears later", run(function()
    local path = "unix:" .. support.tmpdir() .. "/later"
    local listener
    local opener = vmctl.spawn(function()
      vmctl.sleep(3)
      listener = assert(vmctl.listen(path))
      exec.serve(listener)
    end)
    local _, took = support.passed(function() return assert(exec.client(path):ready(20)) end)
    assert.is_true(took >= 3 and took < 15, took)
    listener:close()
    opener:join()
  end, 3))

  it("waits for an agent behind a socket that closes at first", run(function()
    local attempts = 0
    local client = assert(exec.client(address.func(function()
      local near, far = support.pair()
      attempts = attempts + 1
      if attempts > 6 then vmctl.spawn(server.converse, far, {}) else far:close() end
      return near
    end)))
    assert(client:ready(30))
    assert.is_true(attempts > 6)
  end, 3))

  it("ends in time, and says what it tried and what it saw last", run(function()
    local client = exec.client "unix:/no/such/socket"
    local seconds, ok, message, why = support.passed(client.ready, client, 10)
    assert.is_nil(ok)
    assert.equal("ETIMEDOUT", why)
    assert.is_truthy(message:find "no answer within 10 s, %d+ attempts; the last error: .*No such file")
    assert.is_true(seconds >= 10 and seconds < 25, seconds)
  end))

  it("does not wait for a peer that speaks something else", run(function()
    local client = assert(exec.client(address.func(function()
      local near, far = support.pair()
      far:write "HTTP/1.1 400 Bad Request\r\n\r\n"
      vmctl.spawn(function() far:read() far:close() end)
      return near
    end)))
    assert.equal("EPROTO", code(client:ready(1)))
  end))
end)

describe("exec client: an agent that cannot be reached", function()
  local function failure(where, opts)
    local client = assert(exec.client(where, opts))
    local result, message, why = client:run { "true" }
    assert.is_nil(result)
    assert.is_truthy(message:find(where, 1, true), message)
    local p, again, same = client:start { "true" }
    assert.is_nil(p)
    assert.is_truthy(again:find(where, 1, true), again)
    assert.equal(why, same)
    assert.equal(why, code(client:read_file "/x"))
    assert.equal(why, code(client:forward("127.0.0.1", 1)))
    return why
  end

  it("is told by the code of its connection, with its address", run(function()
    assert.equal("ENOENT", failure "unix:/no/such/socket")
    assert.equal("ENOENT", failure("unix:/no/such/socket", { revision = "0.2" }))
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local where = tostring(listener:address())
    listener:close()
    assert.equal("ECONNREFUSED", failure(where))
    assert.equal("ERESOLVE", failure "tcp:no-such-host.invalid:5000")
  end, 20))

  it("takes no longer than dial_timeout when it says nothing", run(function()
    local path = "unix:" .. support.tmpdir() .. "/silent"
    local listener = assert(vmctl.listen(path))
    local seconds, name = support.passed(failure, path, { dial_timeout = 1 })
    assert.equal("ETIMEDOUT", name)
    assert.is_true(seconds >= 1 and seconds < 25, seconds)
    listener:close()
  end))

  it("with an address that is none is refused at once", function()
    for _, case in ipairs { { "unix:" .. ("x"):rep(108), "ENAMETOOLONG" }, { "nonsense", "EINVAL" }, { "vsock:x:y", "EINVAL" } } do
      local client, message, why = exec.client(case[1])
      assert.is_nil(client)
      assert.equal(case[2], why)
      assert.is_string(message)
    end
    assert.has_error(function() exec.client("unix:/x", { time_out = 1 }) end)
    assert.has_error(function() exec.client("unix:/x", { revision = "0.3" }) end)
  end)
end)
