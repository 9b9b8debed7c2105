-- The guest agent's client against a peer that is late, out of step or wrong, and against a real qemu-ga where there is one.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local AGENT_LIMIT = 20 -- seconds

local function json_of(line)
  return assert(vmctl.json.decode((line:gsub("^\xff", ""))))
end

-- Plays the agent: `answer(request)` gives the bytes to be sent, or nil. Synchronising is answered as a real one does it.
local function play(far, answer)
  return vmctl.spawn(function()
    while true do
      local line = far:read_line(1 << 20, 30)
      if not line then return end
      local request = json_of(line)
      local bytes
      if request.execute == "guest-sync-delimited" then
        bytes = '{"error": {"class": "GenericError", "desc": "JSON parse error, stray"}}\n\xff{"return": '
          .. request.arguments.id .. "}\n"
      else
        bytes = answer(request)
      end
      if bytes then far:write(bytes) end
    end
  end)
end

local function connected(answer, options)
  local near, far = support.pair()
  local agent = play(far, answer)
  local client = assert(vmctl.qga.connect(function() return near end, options))
  return client, far, function()
    client:close()
    agent:join(30)
    far:close()
  end
end

local function returning(request, text)
  return ('{"return": %s, "id": %d}\n'):format(text, request.id)
end

describe("vmctl.qga.connect", function()
  it("gets in step under a mark, past whatever the agent said before", run(function()
    local near, far = support.pair()
    far:write '{"return": "of another caller"}\n{"half": '
    local agent = vmctl.spawn(function()
      local line = far:read_line(4096, 30)
      local id = json_of(line).arguments.id
      assert.equal(('\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}'):format(id), line)
      far:write(('\xff{"return": %d}\n\xff{"return": %d}\n'):format(id - 1, id))
    end)
    local client = assert(vmctl.qga.connect(function() return near end))
    agent:join()
    client:close()
    far:close()
  end))

  it("asks again while nobody answers, and fails in time", run(function()
    local near, far = support.pair()
    local seconds, client, message, name = support.passed(vmctl.qga.connect, function() return near end, { sync_timeout = 10 })
    assert.is_nil(client)
    assert.equal("ETIMEDOUT", name)
    assert.truthy(message:find "does not answer")
    assert.is_true(seconds >= 10 and seconds < 25, seconds)
    local first, second = far:read_line(4096, 0), far:read_line(4096, 0)
    assert.is_true(json_of(first).arguments.id < json_of(second).arguments.id)
    far:close()
  end, 5))
end)

describe("vmctl.QgaClient", function()
  it("gives a late answer to nobody: after a time-out it gets in step first", run(function()
    local late
    local client, far, finish = connected(function(request)
      if request.execute == "slow" then
        late = returning(request, '"late"')
        return nil
      end
      return returning(request, ('"%s"'):format(request.execute))
    end)
    assert.equal("ETIMEDOUT", code(client:execute("slow", nil, 0.02)))
    far:write(late)
    assert.equal("quick", client:execute "quick")
    finish()
  end))

  it("does one command at a time, in the order of the calls", run(function()
    local under_way, most = 0, 0
    local client, _, finish = connected(function(request)
      under_way = under_way + 1
      most = math.max(most, under_way)
      support.settle()
      under_way = under_way - 1
      return returning(request, tostring(request.arguments.n))
    end)
    local results = vmctl.map({ 1, 2, 3 }, function(n) return (client:execute("x", { n = n })) end)
    assert.same({ 1, 2, 3, n = 3 }, results)
    assert.equal(1, most)
    finish()
  end))

  it("gets in step again after a cancelled call", run(function()
    local client, _, finish = connected(function(request)
      return request.execute ~= "never" and returning(request, "1") or nil
    end)
    local call = vmctl.spawn(function() return client:execute "never" end)
    support.settle()
    call:cancel()
    assert.equal("ECANCELED", code(call:join()))
    assert.equal(1, client:execute "x")
    finish()
  end))

  it("understands agents that do not repeat the number", run(function()
    local client, _, finish = connected(function() return '{"return": 5}\n' end)
    assert.equal(5, client:execute "x")
    finish()
  end))

  it("refuses what is no answer, and goes on after it", run(function()
    local answers = { "garbage\n", ('{"return": "%s"}\n'):format(("x"):rep(400)), '{"return": 3}\n' }
    local client, _, finish = connected(function() return table.remove(answers, 1) end, { max_line = 300 })
    assert.equal("EPROTO", code(client:execute "x"))
    assert.equal("ETOOBIG", code(client:execute "x"))
    assert.equal(3, client:execute "x")
    finish()
  end))

  it("says ERESET when the connection ends, and ECLOSED when it was closed", run(function()
    local near, far = support.pair()
    local agent = vmctl.spawn(function()
      far:write(('\xff{"return": %d}\n'):format(json_of(far:read_line(4096, 30)).arguments.id))
      far:read_line(4096, 30)
      far:write '{"ret'
      far:close()
    end)
    local client = assert(vmctl.qga.connect(function() return near end))
    assert.equal("ERESET", code(client:ping()))
    assert.equal("ERESET", code(client:ping()))
    agent:join()
    client:close()
    local other, _, finish = connected(function() end)
    finish()
    assert.equal("ECLOSED", code(other:ping()))
  end))

  it("takes silence after a shutdown for success, and a refusal for what it is", run(function()
    local refuse = false
    local client, _, finish = connected(function(request)
      if refuse then
        return ('{"id": %d, "error": {"class": "CommandNotFound", "desc": "disabled"}}\n'):format(request.id)
      end
      assert.same({ mode = "reboot" }, request.arguments)
    end)
    assert.is_true(client:shutdown "reboot")
    refuse = true
    assert.equal("ENOTSUP", code(client:shutdown()))
    assert.is_false((pcall(client.shutdown, client, "explode")))
    finish()
  end, 5))

  it("thaws what it froze when the function fails", run(function()
    local seen = {}
    local client, _, finish = connected(function(request)
      seen[#seen + 1] = request.execute
      return returning(request, "1")
    end)
    assert.is_false((pcall(client.frozen, client, function() error "boom" end)))
    assert.equal("done", client:frozen(function() return "done" end))
    assert.same({ "guest-fsfreeze-freeze", "guest-fsfreeze-thaw", "guest-fsfreeze-freeze", "guest-fsfreeze-thaw" }, seen)
    finish()
  end))

  it("thaws what it froze for a task that is cancelled", run(function()
    local seen = {}
    local client, _, finish = connected(function(request)
      seen[#seen + 1] = request.execute
      return returning(request, "1")
    end)
    local task = vmctl.spawn(function() return client:frozen(function() return vmctl.sleep(30) end) end)
    support.eventually(function() return #seen == 1 end)
    task:cancel()
    task:join()
    support.eventually(function() return seen[2] == "guest-fsfreeze-thaw" end)
    support.settle()
    finish()
  end))

  it("refuses a write that claims to have taken more than it was given, or nothing", run(function()
    for _, count in ipairs { 0, 99, -1 } do
      local client, _, finish = connected(function(request)
        if request.execute == "guest-file-open" then return returning(request, "1000") end
        return returning(request, ('{"count": %d, "eof": false}'):format(count))
      end)
      local file = assert(client:open("/x", "w"))
      assert.equal("EPROTO", code(file:write "four"))
      finish()
    end
  end))
end)

describe("a real qemu-ga", function()
  -- Commands that would change this machine are blocked in it.
  local FORBIDDEN = "guest-shutdown,guest-suspend-disk,guest-suspend-ram,guest-suspend-hybrid,guest-fsfreeze-freeze,"
    .. "guest-fsfreeze-freeze-list,guest-set-time,guest-fstrim,guest-set-user-password,guest-set-vcpus,"
    .. "guest-set-memory-blocks,guest-ssh-add-authorized-keys,guest-ssh-remove-authorized-keys"
  local folder, client, child

  local function with_agent(fn)
    local body = run(function()
      folder = support.tmpdir()
      -- without a sanitizer's library, which its own way of starting children does not bear
      child = assert(vmctl.process.spawn { "env", "-u", "LD_PRELOAD", "qemu-ga", "-m", "unix-listen", "-p", folder .. "/socket",
        "-t", folder, "-f", folder .. "/pid", "-b", FORBIDDEN, death_signal = "KILL" })
      client = support.eventually(function() return (vmctl.qga.connect("unix:" .. folder .. "/socket")) end)
      fn()
      client:close()
      child:close()
    end, AGENT_LIMIT)
    return function()
      if not io.open "/usr/sbin/qemu-ga" then return pending "qemu-ga is not installed" end
      body()
    end
  end

  it("tells its version and what it may do", with_agent(function()
    assert.is_true(client:ping())
    local info = assert(client:info())
    assert.truthy(info.version:find "^%d+%.%d+")
    assert.is_true(info.commands["guest-exec"].enabled)
    assert.is_false(info.commands["guest-shutdown"].answers)
    assert.is_false(client:supports "guest-shutdown")
    assert.is_false(client:supports "no-such-command")
    assert.equal("ENOTSUP", code(client:shutdown()))
    assert.equal("ENOTSUP", code(client:execute "no-such-command"))
    assert.equal("integer", math.type(client:get_time()))
    assert.equal("string", type(client:host_name()))
    assert.equal("thawed", client:freeze_status())
    local found
    for _, card in ipairs(assert(client:network_interfaces())) do found = found or card.name == "lo" end
    assert.is_true(found)
  end))

  it("runs commands with input, environment and both outputs", with_agent(function()
    local result = assert(client:run { "sh", "-c", "cat; echo oops >&2; exit 3", stdin = "in\0put" })
    assert.same({ "in\0put", "oops\n", 3 }, { result.stdout, result.stderr, result.exit_code })
    assert.equal("x\n", client:run { "sh", "-c", "echo $A", env = { A = "x" } }.stdout)
    assert.equal("by the shell\n", client:run "echo by the shell".stdout)
    assert.equal(9, client:run "kill -9 $$".signal)
    assert.equal("EEXIT", code(client:run { "false", check = true }))
    assert.equal("EREMOTE", code(client:run { "/no/such/program" }))
  end))

  it("kills a command that takes too long, and can go on", with_agent(function()
    local result, message, name = client:run { "sleep", "77.7", timeout = 0.1 }
    assert.is_nil(result)
    assert.equal("ETIMEDOUT", name)
    assert.truthy(message:find "sleep")
    local function is_gone() return client:run("ps -eo args | grep '^sleep 77.7' || true").stdout == "" end
    assert.is_true(is_gone())
    local task = vmctl.spawn(function() return client:run { "sleep", "77.7" } end)
    support.eventually(function() return not is_gone() end)
    task:cancel()
    assert.equal("ECANCELED", code(task:join()))
    support.eventually(is_gone)
  end))

  it("keeps 16 MiB of output, and says that there was more", with_agent(function()
    local result = assert(client:run { "head", "-c", "17000000", "/dev/zero" })
    assert.same({ 16 << 20, true, false }, { #result.stdout, result.stdout_truncated, result.stderr_truncated })
  end))

  it("moves files there and back", with_agent(function()
    local bytes = ("\0\xff\n\r"):rep(50000) .. "end"
    assert(client:write_file(folder .. "/file", bytes, { mode = 384 }))
    assert.equal("600\n", client:run { "stat", "-c", "%a", folder .. "/file" }.stdout)
    assert.equal(bytes, client:read_file(folder .. "/file"))
    assert.equal("ETOOBIG", code(client:read_file(folder .. "/file", { limit = 100 })))
    assert.equal("EREMOTE", code(client:read_file(folder .. "/none")))
    local file <close> = assert(client:open(folder .. "/file", "r"))
    assert.equal(#bytes - 3, file:seek("end", -3))
    assert.equal("end", file:read())
    assert.equal("EOF", code(file:read()))
    assert.is_true(file:close())
    assert.equal("ECLOSED", code(file:read()))
    assert.equal("EREMOTE", code(client:write_file("/no/such/folder/file", "x")))
  end))

  it("is back in step after a call that gave up", with_agent(function()
    local late = 0
    for _ = 1, 1000 do
      if late == 10 then break end
      local _, why, name = client:execute("guest-get-osinfo", nil, 0) -- now and then, or often, it is quick enough
      assert(name == nil or name == "ETIMEDOUT", why)
      late = late + (name and 1 or 0)
      assert.equal("string", type(client:host_name())) -- an answer of its own, not the late one
    end
    assert.equal(10, late)
  end))

  it("that is killed fails calls at once", with_agent(function()
    child:kill "KILL"
    child:wait(30)
    assert.equal("ERESET", code(client:ping()))
  end))
end)
