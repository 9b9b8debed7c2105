-- The agent's side as a whole, and how a host finds out that it is there.
local address = require "vmctl.address"
local agent = require "spec.support.agent"
local exec = require "vmctl.protocol.exec"
local server = require "vmctl.protocol.exec.server"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local function with_agent(fn, limit, opts)
  return run(function() agent.serve(fn, opts) end, limit)
end

describe("exec server", function()
  it("serves fifty commands at once", with_agent(function(client)
    local begin = vmctl.now()
    local list = {}
    for i = 1, 50 do list[i] = i end
    local results = vmctl.map(list, function(i) return assert(client:run { "sh", "-c", "sleep 0.3; echo " .. i }) end)
    for i = 1, 50 do assert.equal(i .. "\n", results[i].stdout) end
    assert.is_true(vmctl.now() - begin < 5)
  end, 10))

  it("lets no more connections in than it was told", with_agent(function(client)
    local p = assert(client:start { "cat" })
    local late = vmctl.spawn(function() return client:run { "echo", "late" } end)
    vmctl.sleep(0.05)
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
    assert.is_true(client:ready(1) < 0.5)
    assert.equal("vmctl", client.revision)
  end))

  it("waits for a socket that appears later", run(function()
    local path = "unix:" .. support.tmpdir() .. "/later"
    local listener
    local opener = vmctl.spawn(function()
      vmctl.sleep(0.15)
      listener = assert(vmctl.listen(path))
      exec.serve(listener)
    end)
    local took = assert(exec.client(path):ready(2))
    assert.is_true(took > 0.1 and took < 1.5)
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
    assert(client:ready(2))
    assert.is_true(attempts > 6)
  end, 3))

  it("ends in time, and says what it tried and what it saw last", run(function()
    local begin = vmctl.now()
    local ok, message, why = exec.client("unix:/no/such/socket"):ready(0.2)
    assert.is_nil(ok)
    assert.equal("ETIMEDOUT", why)
    assert.is_truthy(message:find "no answer within 0.2 s, %d+ attempts; the last error: .*No such file")
    assert.is_true(vmctl.now() - begin < 1)
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
