-- The guest's side of the control plane: what is answered, in which order, and who does the work.
local cjson = require "cjson"
local host = require "spec.support.stereos_host"
local log = require "vmctl.log"
local server = require "vmctl.stereos.server"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local run = support.run

-- The reply of a vector: the types of the lines, and for an ack its `ok`.
local function expected(fields)
  local list = fields.replies or { fields.reply or "ack" }
  local replies = {}
  for i, text in ipairs(list) do
    local ok = text:match "ok=(%a+)"
    if text == "ack" then ok = "true" end
    replies[i] = { type = text:match "^%a+", ok = ok, empty = text:find 'reply_to=""' ~= nil }
  end
  return replies
end

-- As the reference would answer, but for a payload of null: docs/wire/stereos.md#ack-rules says what that costs.
local function check_replies(vector, near)
  local want = expected(vector.fields)
  if vector.name == "payload_null" then want[1].ok = "false" end
  for _, reply in ipairs(want) do
    local got = assert(host.receive(near), vector.name)
    assert.equal(reply.type, got.type, vector.name)
    if reply.type == "ack" then
      assert.equal(reply.ok, tostring(got.payload.ok), vector.name)
      if reply.ok == "true" then assert.equal(vector.fields.type, got.payload.reply_to, vector.name) end
      if reply.empty then assert.equal("", got.payload.reply_to, vector.name) end
    end
  end
end

local function each_request(fn)
  local count = 0
  for _, vector in ipairs(vectors.load "stereos") do
    if vector.fields.direction == "host->guest" then
      fn(vector)
      count = count + 1
    end
  end
  assert.is_true(count >= 18, count .. " vectors")
end

local function without_null(payload)
  return type(payload) == "table" and payload or {}
end

describe("stereos server", function()
  it("answers the vectors' requests", run(function()
    local handlers, calls = host.recorder()
    local guest = server.new(handlers)
    each_request(function(vector)
      local near, task = host.connect(guest)
      near:write(vector.bytes)
      if vector.fields.eof then near:shutdown() end
      local before = #calls
      check_replies(vector, near)
      local call = calls[before + 1]
      if call then
        assert.equal(vector.fields.type, call[1])
        for name, value in pairs(without_null(vector.fields.payload)) do assert.equal(value, call[2][name], vector.name) end
      end
      near:close()
      task:join()
    end)
  end))

  it("answers them when they are cut at any byte", run(function()
    local guest = server.new((host.recorder()))
    each_request(function(vector)
      local near, task = host.connect(guest)
      for at = 1, #vector.bytes - 1 do
        near:write(vector.bytes:sub(1, at))
        vmctl.yield()
        near:write(vector.bytes:sub(at + 1))
        if vector.fields.eof then break end -- one message a connection
        check_replies(vector, near)
      end
      if vector.fields.eof then
        near:shutdown()
        check_replies(vector, near)
      end
      near:close()
      task:join()
    end)
  end, 10))

  it("gives handlers checked payloads, with what was left out filled in", run(function()
    local handlers, calls = host.recorder()
    local near = host.connect(handlers)
    host.request(near, "inject_secret", { name = "A", value = "b", other = 1 })
    host.request(near, "mount", { tag = "t", guest_path = "/p", fs_type = "9p" })
    host.request(near, "shutdown")
    assert.same({
      { "inject_secret", { name = "A", value = "b", mode = 0 } },
      { "mount", { tag = "t", guest_path = "/p", fs_type = "9p", read_only = false } },
      { "shutdown", { reason = "" } },
    }, calls)
    near:close()
  end))

  it("tells who asks, and passes what the handler says", run(function()
    local asked
    local near = host.connect {
      set_config = function(_, request)
        asked = request
        return true, { changed = false }
      end,
      mount = function() return nil, "no such tag", "ENODEV" end,
      inject_ssh_key = function() return nil end,
      custom = function(payload) return true, { changed = payload.list[1] == 1 } end,
    }
    assert.same({ reply_to = "set_config", ok = true, changed = false },
      host.request(near, "set_config", { content = "x" }))
    assert.same({ "set_config", "x", "pair" }, { asked.type, asked.payload.content, asked.peer })
    assert.same({ reply_to = "mount", ok = false, error = "no such tag", code = "ENODEV" },
      host.request(near, "mount", { tag = "t", guest_path = "/p", fs_type = "9p" }))
    assert.same({ reply_to = "inject_ssh_key", ok = false, error = "inject_ssh_key: failed" },
      host.request(near, "inject_ssh_key", { user = "u", public_key = "k" }))
    assert.same({ reply_to = "custom", ok = true, changed = true }, host.request(near, "custom", { list = { 1 } }))
    near:close()
  end))

  it("knows no type without a handler, and none that only a guest may send", run(function()
    local near = host.connect { pong = function() return true end, after = {} }
    for _, kind in ipairs { "set_config", "pong", "ack", "health", "lifecycle", "after", "nope" } do
      assert.same({ reply_to = kind, ok = false, error = "unknown message type: " .. kind, code = "ENOSYS" },
        host.request(near, kind, { content = "", state = "ready", ok = true, reply_to = "ping" }))
    end
    assert.equal("pong", host.ask(near, '{"type":"ping"}\n').type)
    near:close()
  end))

  it("answers many requests of one write in one piece, in their order", run(function()
    local near = host.connect((host.recorder()))
    local config = '{"type":"set_config","payload":{"content":""}}\n'
    near:write(('{"type":"ping"}\n' .. config .. '{"type":"get_health"}\n'):rep(20))
    local bytes = near:read()
    local types = {}
    for kind in bytes:gmatch '{"type":"(%a+)"' do types[#types + 1] = kind end
    assert.equal(("pong ack health "):rep(20), table.concat(types, " ") .. " ")
    near:close()
  end))

  it("answers all requests of a host that ends its side at once", run(function()
    local near, task = host.connect {}
    local pings = 20000 -- the answers are more than the kernel takes at once
    local writer = vmctl.spawn(function()
      near:write(('{"type":"ping"}\n'):rep(pings))
      near:shutdown()
    end)
    for _ = 1, pings do assert.equal('{"type":"pong"}', (near:read_line())) end
    host.ended(near)
    writer:join()
    task:join()
  end, 5))

  it("reports its state and its age, as far as no handler knows better", run(function()
    local near, _, guest = host.connect {}
    assert.same({ type = "health", payload = { state = "ready", uptime_seconds = 0 } },
      host.ask(near, '{"type":"get_health"}\n'))
    host.hear(near)
    guest:lifecycle "degraded"
    assert.equal("degraded", guest:state())
    assert.equal("lifecycle", host.receive(near).type)
    assert.equal("degraded", host.ask(near, '{"type":"get_health"}\n').payload.state)
    near:close()
    near = host.connect { get_health = function() return { agents = { { name = "a", running = true } } } end }
    assert.same({ state = "ready", uptime_seconds = 0, agents = { { name = "a", running = true, restarts = 0 } } },
      host.ask(near, '{"type":"get_health","payload":null}\n').payload)
    near:close()
    near = host.connect { get_health = function() return { state = "healthy", uptime_seconds = 61 } end }
    assert.same({ state = "healthy", uptime_seconds = 61 }, host.ask(near, '{"type":"get_health"}\n').payload)
    near:close()
  end))

  it("says no when its health cannot be told", run(function()
    local answers = { { nil, "no poller", "ENOENT" }, { { uptime_seconds = "long" } }, { 7 } }
    local at = 0
    local near = host.connect { get_health = function()
      at = at + 1
      return table.unpack(answers[at], 1, 3)
    end }
    for _, code in ipairs { "ENOENT", "EINVAL", "none" } do
      local ack = host.request(near, "get_health")
      assert.same({ false, "get_health", code }, { ack.ok, ack.reply_to, ack.code or "none" })
    end
    near:close()
  end))

  it("calls `after` when the ack is out, and serves on meanwhile", run(function()
    local order, near, may_go_off = {}, nil, vmctl.channel()
    near = host.connect {
      shutdown = function() return true end,
      set_config = function() return nil, "full" end,
      after = {
        shutdown = function(payload)
          order[#order + 1] = payload.reason
          order[#order + 1] = near:read_line(1024, 0) and "acked"
          may_go_off:recv()
          order[#order + 1] = "off"
        end,
        set_config = function() error "after a failure" end,
      },
    }
    host.request(near, "set_config", { content = "" })
    near:write '{"type":"shutdown","payload":{"reason":"mb down"}}\n'
    support.eventually(function() return order[2] end)
    assert.equal("pong", host.ask(near, '{"type":"ping"}\n').type)
    assert.same({ "mb down", "acked" }, order)
    may_go_off:send(true)
    support.eventually(function() return order[3] end)
    near:close()
  end))

  it("calls `after` even when the host does not wait for its ack", run(function()
    local off = false
    local near, task = host.connect {
      shutdown = function() return true end, after = { shutdown = function() off = true end },
    }
    near:write '{"type":"shutdown"}\n'
    near:close()
    task:join()
    support.eventually(function() return off end)
  end))

  it("refuses options and handlers that are none, at the caller's line", function()
    local line = debug.getinfo(1, "l").currentline
    local ok, err = pcall(function() server.new({}, { conections = 1 }) end)
    assert.is_false(ok)
    local expect = ("stereos_server_spec.lua:%d: stereos.server: unknown option 'conections'"):format(line + 1)
    assert.is_truthy(err:find(expect, 1, true), err)
    for _, handlers in ipairs { 1, { 1 }, { mount = true }, { ping = print }, { after = print } } do
      assert.has_error(function() server.new(handlers) end)
    end
    local _, where = pcall(function() server.new { mount = true } end)
    expect = "stereos_server_spec.lua:%d+: stereos.server: handler 'mount': function expected"
    assert.is_truthy(where:find(expect), where)
    assert.has_error(function() server.new {}:lifecycle "asleep" end)
    assert.has_error(function() server.new {}:lifecycle("ready", 1) end)
  end)
end)

describe("stereos server: handlers", function()
  it("that change the guest take turns over all connections; ping and get_health do not wait", run(function()
    local working, most, order, may_end = 0, 0, {}, vmctl.channel()
    local guest = server.new {
      set_config = function(payload)
        working = working + 1
        most = math.max(most, working)
        may_end:recv()
        working = working - 1
        order[#order + 1] = payload.content
        return true
      end,
      get_health = function() return { state = working > 0 and "degraded" or "ready" } end,
    }
    local hosts = {}
    for i = 1, 5 do
      hosts[i] = host.connect(guest)
      hosts[i]:write(('{"type":"set_config","payload":{"content":"%d"}}\n'):format(i))
    end
    local other = host.connect(guest)
    support.settle()
    assert.equal("pong", host.ask(other, '{"type":"ping"}\n').type)
    assert.equal("degraded", host.ask(other, '{"type":"get_health"}\n').payload.state)
    assert.same({}, order)
    for i = 1, 5 do
      may_end:send(true)
      assert.is_true(host.receive(hosts[i]).payload.ok)
    end
    assert.equal("1 2 3 4 5", table.concat(order, " "))
    assert.equal(1, most)
    for i = 1, 5 do hosts[i]:close() end
    other:close()
  end))

  it("that raise are a plain refusal; the traceback is in the log alone", run(function()
    local near = host.connect { mount = function() error "boom" end, get_health = function() error { "no text" } end }
    local text = host.logged("error", function()
      local ack = host.request(near, "mount", { tag = "t", guest_path = "/p", fs_type = "9p" })
      assert.same({ reply_to = "mount", ok = false, code = "EIO",
        error = "mount: the handler failed; the guest's log says more" }, ack)
      assert.equal("EIO", host.request(near, "get_health").code)
    end)
    assert.equal("pong", host.ask(near, '{"type":"ping"}\n').type)
    near:close()
    assert.is_truthy(text:find("boom", 1, true) and text:find("stack traceback", 1, true))
  end))

  it("that wait too long are told so, and the next one gets its turn", run(function()
    local guest = server.new({
      set_config = function()
        local ok, err, code = vmctl.sleep(60)
        return ok, err, code
      end,
      shutdown = function() return true end,
    }, { handler_timeout = 10 })
    local slow, next_one = host.connect(guest), host.connect(guest)
    slow:write '{"type":"set_config","payload":{"content":""}}\n'
    local ack
    support.passed(function()
      vmctl.sleep(5)
      assert.is_true(host.request(next_one, "shutdown").ok)
      ack = host.receive(slow).payload
    end)
    assert.same({ false, "set_config", "ETIMEDOUT" }, { ack.ok, ack.reply_to, ack.code })
    assert.equal("pong", host.ask(slow, '{"type":"ping"}\n').type)
    slow:close()
    next_one:close()
  end))

  it("that will not hear that their time is over are ended", run(function()
    local waits = 0
    local near = host.connect({ set_config = function()
      while true do
        vmctl.sleep(0.3)
        waits = waits + 1
      end
    end }, { handler_timeout = 0.05 })
    near:write '{"type":"set_config","payload":{"content":""}}\n'
    local ack = host.receive(near).payload
    assert.same({ false, "set_config", "EIO" }, { ack.ok, ack.reply_to, ack.code })
    local before = waits
    assert.equal("pong", host.ask(near, '{"type":"ping"}\n').type)
    assert.equal(before, waits)
    near:close()
  end, 5))

  it("that are behind one which does not end are refused in time", run(function()
    local guest = server.new({
      set_config = function()
        vmctl.sleep(60)
        local over = vmctl.now() + 0.1
        repeat pcall(vmctl.yield) until vmctl.now() > over
        return true
      end,
    }, { handler_timeout = 0.05 })
    local first, second = host.connect(guest), host.connect(guest)
    first:write '{"type":"set_config","payload":{"content":""}}\n'
    support.settle()
    local ack = host.request(second, "set_config", { content = "" })
    assert.same({ false, "EBUSY", "another request has been at work for 0.05 s" }, { ack.ok, ack.code, ack.error })
    first:close()
    second:close()
  end))

  it("finish their work when the host goes meanwhile", run(function()
    local done, gone = false, vmctl.channel()
    local near, task = host.connect { set_config = function()
      gone:recv()
      done = true
      return true
    end }
    near:write '{"type":"set_config","payload":{"content":""}}\n'
    support.settle()
    near:close()
    gone:send(true)
    task:join()
    assert.is_true(done)
  end))

  it("never show a secret: not in the log, not in an error", run(function()
    local near = host.connect {
      inject_secret = function(payload)
        log.info("writing %s", payload.value)
        if payload.name == "BAD" then error("cannot write " .. payload.value) end
        return nil, "no room for " .. payload.value
      end,
      set_config = function() return true end,
    }
    local all = host.logged("debug", function()
      assert.equal("no room for ***", host.request(near, "inject_secret", { name = "A", value = "s3cr3t/\"" }).error)
      host.request(near, "inject_secret", { name = "BAD", value = "s3cr3t/\"" })
      host.request(near, "set_config", { content = "[secrets]\nA = 's3cr3t'" })
      for _, line in ipairs {
        '{"type":"inject_secret","payload":{"name":"A","value":"s3cr3t","mode":"0600"}}',
        '{"type":"inject_secret","payload":{"name":"A","value":"s3cr3t"', 's3cr3t',
        '{"type":"inject_sekret","payload":{"name":"A","value":"s3cr3t"}}',
        '{"type":"mount","payload":{"tag":"shown","guest_path":"/p","fs_type":"9p"}}',
      } do
        local reply = host.ask(near, line .. "\n").payload
        assert.is_nil(reply.error:find("s3cr3t", 1, true), reply.error)
      end
    end)
    near:close()
    assert.is_nil(all:find("s3cr3t", 1, true), all)
    for _, part in ipairs { "writing ***", "< inject_secret (", "< malformed (", '"tag":"shown"', '> {"type":"ack"' } do
      assert.is_truthy(all:find(part, 1, true), part .. " in " .. all)
    end
  end))
end)

describe("stereos server: lifecycle", function()
  it("is told to every client that asked, in order, and to none that comes later", run(function()
    local guest = server.new {}
    local hosts = {}
    for i = 1, 20 do
      hosts[i] = host.connect(guest)
      host.hear(hosts[i])
    end
    guest:lifecycle("ready", "all subsystems started")
    guest:lifecycle "healthy"
    for i = 1, 20 do
      assert.same({ type = "lifecycle", payload = { state = "ready", message = "all subsystems started" } },
        host.receive(hosts[i]))
      assert.same({ type = "lifecycle", payload = { state = "healthy" } }, host.receive(hosts[i]))
    end
    local late = host.connect(guest)
    assert.equal("pong", host.ask(late, '{"type":"ping"}\n').type)
    late:close()
    for i = 1, 20 do hosts[i]:close() end
  end))

  it("comes from a handler, from a task that was cancelled and from one whose time is over", run(function()
    local guest
    guest = server.new { set_config = function()
      guest:lifecycle "degraded"
      return true
    end }
    local near = host.connect(guest)
    near:write '{"type":"set_config","payload":{"content":""},"lifecycle":true}\n'
    local seen = { [host.receive(near).type] = true, [host.receive(near).type] = true }
    assert.same({ ack = true, lifecycle = true }, seen)
    local task = vmctl.spawn(function()
      vmctl.sleep(1)
      guest:lifecycle("shutdown", "cancelled")
    end)
    vmctl.yield()
    task:cancel()
    assert.equal("cancelled", host.receive(near).payload.message)
    vmctl.timeout(0, guest.lifecycle, guest, "shutdown", "late")
    assert.equal("late", host.receive(near).payload.message)
    near:close()
  end))

  it("never comes inside a reply, however slowly that is taken", run(function()
    local agents = {}
    for i = 1, 4000 do agents[i] = { name = ("agent number %d"):format(i), running = true, error = ("x"):rep(80) } end
    local guest = server.new { get_health = function() return { agents = agents } end }
    local near = host.connect(guest)
    near:write('{"type":"get_health","lifecycle":true}\n')
    support.settle() -- the reply is under way, and does not fit into the socket
    for i = 1, 10 do guest:lifecycle("degraded", tostring(i)) end
    support.settle()
    assert.equal(4000, #host.receive(near).payload.agents)
    for i = 1, 10 do assert.equal(tostring(i), host.receive(near).payload.message) end
    assert.equal("pong", host.ask(near, '{"type":"ping"}\n').type)
    near:close()
  end, 5))

  it("does not wait for a client that reads nothing: it is closed, and the log says so", run(function()
    local guest = server.new {}
    local deaf, task = host.connect(guest)
    local good = host.connect(guest)
    host.hear(deaf)
    host.hear(good)
    local text = ("x"):rep(10000)
    local log_text = host.logged("info", function()
      for i = 1, 100 do
        guest:lifecycle("ready", text .. i)
        assert.equal(text .. i, host.receive(good).payload.message)
      end
      task:join(30)
    end)
    assert.equal("done", task:status())
    assert.is_true(deaf:hung_up())
    assert.is_truthy(log_text:find("does not read what it is sent: closed", 1, true))
    deaf:close()
    good:close()
  end, 5))

  it("closes a client in whose unread replies it would get stuck", run(function()
    local guest = server.new {}
    local deaf, task = host.connect(guest)
    host.hear(deaf)
    local writer = vmctl.spawn(function()
      while deaf:write(('{"type":"nope"}\n'):rep(1000), 1) do end
    end)
    support.settle() -- now the guest reads no more, being stuck in its replies
    for _ = 1, 20 do guest:lifecycle "ready" end
    task:join(30)
    assert.equal("done", task:status())
    deaf:close()
    writer:join()
  end, 5))

  -- It takes the next line for its reply, whatever it is. Were it told of the states, it would take the ack of set_config for
  -- that of the secret.
  it("is not told to the reference's client, which learns what was refused", run(function()
    local guest
    guest = server.new {
      set_config = function()
        guest:lifecycle "degraded"
        return true
      end,
      inject_secret = function() return nil, "the folder is read-only", "EROFS" end,
    }
    local near = host.connect(guest)
    local function next_line(request, payload)
      assert(near:write(cjson.encode { type = request, payload = payload } .. "\n"))
      return cjson.decode((assert(near:read_line(1 << 20, 30))))
    end
    guest:lifecycle "booting"
    assert.equal("pong", next_line("ping").type)
    guest:lifecycle "ready"
    assert.equal("health", next_line("get_health").type)
    assert.same({ reply_to = "set_config", ok = true }, next_line("set_config", { content = "" }).payload)
    assert.same({ reply_to = "inject_secret", ok = false, error = "the folder is read-only", code = "EROFS" },
      next_line("inject_secret", { name = "a", value = "b" }).payload)
    guest:lifecycle "shutdown"
    vmctl.yield()
    assert.equal("ETIMEDOUT", support.code(near:read_line(1 << 20, 0)))
    near:close()
  end))

  it("is told to our client, which asks with its first request, or without one when it only listens", run(function()
    local guest = server.new {}
    local folder = support.tmpdir()
    local listener = assert(vmctl.listen(("unix:%s/guest"):format(folder)))
    local serving = vmctl.spawn(guest.serve, guest, listener)
    local talker <close> = assert(vmctl.stereos.connect(listener:address()))
    assert.is_true(talker:ping())
    local hearer <close> = assert(vmctl.stereos.client(listener:address()))
    local heard = {}
    hearer:on_lifecycle(function(event) heard[#heard + 1] = event.state end)
    support.eventually(function()
      guest:lifecycle "degraded"
      vmctl.sleep(0.01)
      return heard[1]
    end)
    assert.equal("degraded", heard[1])
    assert.is_true(talker:ping())
    assert.equal("degraded", talker:lifecycle_state())
    listener:close()
    talker:close()
    hearer:close()
    assert.is_true(serving:join(30))
  end))

  it("refuses a message that no line can carry", run(function()
    assert.equal("EINVAL", support.code(server.new {}:lifecycle("ready", "\xff")))
  end))
end)
