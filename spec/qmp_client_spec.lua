-- The QMP client against a peer that says what it should not, and against a real QEMU without a guest.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local GREETING = '{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n'
local QEMU_LIMIT = 20 -- seconds: it starts in a tenth of one

local function assert_has(text, part)
  assert.truthy(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
end

-- A client and the other end of its connection: capabilities are agreed on, the rest is the spec's.
local function connected(options)
  local near, far = support.pair()
  far:write(GREETING)
  local negotiating = vmctl.spawn(function()
    local request = far:read(4096, 30)
    far:write '{"return": {}, "id": 1}\r\n'
    return request
  end)
  local client = assert(vmctl.qmp.connect(function() return near end, options))
  return client, far, negotiating:join(30)
end

local function execute_later(client, ...)
  local arguments = table.pack(...)
  return vmctl.spawn(function() return client:execute(table.unpack(arguments, 1, arguments.n)) end)
end

describe("vmctl.qmp.connect", function()
  it("reads the greeting and enables out-of-band commands where they are offered", run(function()
    local client, far, request = connected()
    assert.equal('{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":1}\n', request)
    assert.same({ major = 7, minor = 2, micro = 22 }, client.version)
    assert.same({ oob = true }, client.capabilities)
    client:close()
    far:close()
    client, far, request = connected { oob = false }
    assert.equal('{"execute":"qmp_capabilities","id":1}\n', request)
    assert.equal("ENOTSUP", code(client:execute("stop", nil, { oob = true })))
    client:close()
    far:close()
  end))

  it("does not wait for ever for a greeting, and says why there may be none", run(function()
    local near, far = support.pair()
    local client, message, name = vmctl.qmp.connect(function() return near end, { greeting_timeout = 0.05 })
    assert.is_nil(client)
    assert.equal("ETIMEDOUT", name)
    assert_has(message, "another one may be connected")
    far:close()
  end))

  it("refuses what is no monitor", run(function()
    for _, line in ipairs { "SSH-2.0-x\r\n", '{"return": {}}\n', '{"QMP": 1}\n' } do
      local near, far = support.pair()
      far:write(line)
      assert.equal("EPROTO", code(vmctl.qmp.connect(function() return near end)))
      assert.is_true(near:closed())
      far:close()
    end
  end))

  it("says ERESET when the connection ends before the greeting", run(function()
    local near, far = support.pair()
    far:close()
    assert.equal("ERESET", code(vmctl.qmp.connect(function() return near end)))
  end))

  it("raises at the caller's line for an unknown option", run(function()
    local ok, message = pcall(vmctl.qmp.connect, "unix:/none", { time_out = 1 })
    assert.is_false(ok)
    assert_has(message, "timeout")
  end))
end)

describe("vmctl.QmpClient", function()
  it("brings answers to who waits for them, in whatever order they come", run(function()
    local client, far = connected()
    local one, two = execute_later(client, "a"), execute_later(client, "b", { n = 1 })
    support.settle()
    assert.equal('{"execute":"a","id":2}\n{"execute":"b","arguments":{"n":1},"id":3}\n', far:read(4096, 30))
    far:write '{"return": "second", "id": 3}\r\n{"return": "first", "id": 2}\r\n'
    assert.equal("first", one:join())
    assert.equal("second", two:join())
    client:close()
    far:close()
  end))

  it("takes a message that comes byte by byte", run(function()
    local client, far = connected()
    local call = execute_later(client, "a")
    local text = '{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 0}}\r\n\r\n{"return": [1], "id": 2}\r\n'
    for i = 1, #text do
      far:write(text:sub(i, i))
      vmctl.yield()
    end
    assert.same({ 1 }, call:join())
    assert.equal("STOP", client:wait_event("STOP", 0).event)
    client:close()
    far:close()
  end))

  it("gives no late answer to the next caller", run(function()
    local client, far = connected()
    assert.equal("ETIMEDOUT", code(client:execute("slow", nil, 0.02)))
    local call = execute_later(client, "quick")
    support.settle()
    far:write '{"return": "late", "id": 2}\r\n{"return": "mine", "id": 3}\r\n'
    assert.equal("mine", call:join())
    client:close()
    far:close()
  end))

  it("tells all callers at once that the connection was lost, with ERESET", run(function()
    local client, far = connected()
    local calls = { execute_later(client, "a"), execute_later(client, "b") }
    local waiting = vmctl.spawn(function() return client:wait_event("X", 30) end)
    support.settle()
    far:close()
    for _, call in ipairs(calls) do assert.equal("ERESET", code(call:join())) end
    assert.equal("ERESET", code(waiting:join()))
    assert.equal("ERESET", code(client:execute "later"))
    assert.is_true((client:closed()))
    client:close()
  end))

  it("ends with EPROTO at what is no answer of its own", run(function()
    for _, line in ipairs { "garbage", '{"return": {}}', '{"return": {}, "id": 99}', '{"return": {}, "id": "x"}', GREETING:sub(1, -3),
      '{"error": {"class": "GenericError", "desc": "JSON parse error"}}' } do
      local client, far = connected()
      local call = execute_later(client, "a")
      support.settle()
      far:write(line .. "\r\n")
      assert.equal("EPROTO", code(call:join()))
      assert.equal("EPROTO", code(client:execute "b"))
      client:close()
      far:close()
    end
  end))

  it("refuses a line over the limit, and what comes in the middle of one", run(function()
    local client, far = connected { max_line = 200 }
    local call = execute_later(client, "a")
    far:write(('{"return": "%s", "id": 2}\r\n'):format(("x"):rep(300)))
    assert.equal("ETOOBIG", code(call:join()))
    client:close()
    far:close()
    client, far = connected()
    call = execute_later(client, "a")
    far:write '{"return": '
    far:close()
    assert.equal("ERESET", code(call:join()))
    client:close()
  end))

  it("wakes callers with ECLOSED when it is closed, any number of times", run(function()
    local client, far = connected()
    local call = execute_later(client, "a")
    support.settle()
    assert.is_true(client:close())
    assert.is_true(client:close())
    assert.equal("ECLOSED", code(call:join()))
    assert.equal("ECLOSED", code(client:execute "b"))
    assert.equal("ECLOSED", code(client:wait_event("X", 1)))
    far:close()
  end))

  it("leaves a call that is cancelled, and serves the others", run(function()
    local client, far = connected()
    local call = execute_later(client, "a")
    support.settle()
    call:cancel()
    assert.equal("ECANCELED", code(call:join()))
    call = execute_later(client, "b")
    far:write '{"return": 1, "id": 2}\r\n{"return": 2, "id": 3}\r\n'
    assert.equal(2, call:join())
    client:close()
    far:close()
  end))

  it("finds an event that came before the wait, each one once, by name or by a function", run(function()
    local client, far = connected()
    far:write '{"event": "A", "data": {"n": 1}}\r\n{"event": "B"}\r\n{"event": "A", "data": {"n": 2}}\r\n'
    assert.equal(2, client:wait_event(function(event) return event.data.n == 2 end, 1).data.n)
    assert.equal("B", client:wait_event("B", 1).event)
    assert.equal(1, client:wait_event("A", 0).data.n)
    assert.equal("ETIMEDOUT", code(client:wait_event("A", 0)))
    far:write '{"event": "A"}\r\n'
    support.settle()
    client:clear_events()
    assert.equal("ETIMEDOUT", code(client:wait_event("A", 0)))
    client:close()
    far:close()
  end))

  it("keeps a bounded number of events for who listens slowly, and says how many it dropped", run(function()
    local client, far = connected { events = 4 }
    local following = client:events { timeout = 0.05 }
    for i = 1, 10 do far:write(('{"event": "E", "data": {"n": %d}}\r\n'):format(i)) end
    support.settle()
    local first = following()
    assert.same({ 7, 6 }, { first.data.n, first.lost })
    assert.is_nil(following().lost)
    following()
    assert.equal(10, following().data.n)
    assert.equal("ETIMEDOUT", code(following()))
    far:close()
    assert.equal("ERESET", code(following()))
    client:close()
  end))

  it("calls on_event's function for each event, and survives its errors", run(function()
    local client, far = connected()
    local seen = {}
    local cancel = client:on_event(function(event) seen[#seen + 1] = event.event end)
    far:write '{"event": "A"}\r\n{"event": "B"}\r\n'
    support.eventually(function() return #seen == 2 end)
    cancel()
    far:write '{"event": "C"}\r\n'
    support.settle()
    assert.same({ "A", "B" }, seen)
    client:close()
    far:close()
  end))
end)

describe("a real QEMU", function()
  local function start()
    local ours, theirs = support.pair()
    local child = assert(vmctl.process.spawn {
      "qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-S", "-chardev", "socket,id=q,fd=3",
      "-mon", "chardev=q,mode=control", fds = { theirs:fileno() }, stderr = "inherit", death_signal = "KILL",
    })
    theirs:close()
    local client, err = vmctl.qmp.connect(function() return ours end, { greeting_timeout = QEMU_LIMIT })
    if not client then child:close() end
    return assert(client, err), child
  end

  it("answers, refuses, tells its events, and leaves", run(function()
    local client, child = start()
    assert.same({ status = "prelaunch", running = false },
      { status = client:execute "query-status".status, running = client:execute "query-status".running })
    assert.equal("ENOTSUP", code(client:execute "no-such-command"))
    local _, message, name, problem = client:execute("device_del", { id = "nothing" })
    assert.equal("ENODEV", name)
    assert.equal("DeviceNotFound", problem.class)
    assert_has(message, "device_del on QMP at function")
    assert.equal("EREMOTE", code(client:execute("query-status", { odd = true })))
    assert.is_true(client:supports "query-qmp-schema")
    assert.is_false(client:supports "no-such-command")
    assert.is_true(#client:execute "query-qmp-schema" > 500) -- 0.2 MB in one line
    local statuses = vmctl.map({ 1, 2, 3, 4 }, function() return client:execute "query-status".status end)
    assert.same({ "prelaunch", "prelaunch", "prelaunch", "prelaunch" }, table.move(statuses, 1, 4, 1, {}))
    assert(client:execute "cont")
    assert.equal("RESUME", client:wait_event("RESUME", 5).event)
    assert(client:execute "quit")
    assert.equal("host-qmp-quit", client:wait_event("SHUTDOWN", 5).data.reason)
    assert.equal("ERESET", code(client:wait_event("NEVER", 5)))
    assert.same({ exit_code = 0 }, child:wait(30))
    client:close()
    child:close()
  end, QEMU_LIMIT))

  it("gets descriptors with commands", run(function()
    local client, child = start()
    local folder = support.tmpdir()
    for i = 1, 2 do
      local file <close> = assert(require "vmctl.core".fs.private(folder .. "/" .. i))
      assert(client:execute("getfd", { fdname = "file" }, { fd = file:fileno() })) -- the second takes the place of the first
      assert.equal(i - 1, assert(client:execute("add-fd", nil, { fd = file:fileno() }))["fdset-id"])
    end
    local opened = {}
    for name in require "lfs".dir(("/proc/%d/fd"):format(child.pid)) do
      local target = require "lfs".symlinkattributes(("/proc/%d/fd/%s"):format(child.pid, name), "target")
      if target and target:sub(1, #folder) == folder then table.insert(opened, (target:sub(#folder + 2))) end
    end
    table.sort(opened)
    assert.same({ "1", "2", "2" }, opened)
    assert.equal("EREMOTE", code(client:execute("getfd", { fdname = "none" }))) -- none came with it
    assert.equal("EBADF", code(client:execute("getfd", { fdname = "none" }, { fd = 999 })))
    assert(client:execute "query-status")
    client:close()
    child:kill "KILL"
    child:wait(30)
    child:close()
  end, QEMU_LIMIT))

  it("that is killed fails calls at once", run(function()
    local client, child = start()
    child:kill "KILL"
    assert.equal("ERESET", code(client:wait_event("NEVER", 10)))
    assert.equal("ERESET", code(client:execute "query-status"))
    child:wait(30)
    client:close()
    child:close()
  end, QEMU_LIMIT))
end)
