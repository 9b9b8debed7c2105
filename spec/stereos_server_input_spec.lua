-- A stereos server gets invalid input: the sender gets an error, and other clients notice nothing.
local cjson = require "cjson"
local host = require "spec.support.stereos_host"
local server = require "vmctl.stereos.server"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local MIB = 1 << 20
local PING = '{"type":"ping"}\n'

-- One request of `bytes` (its JSON alone; the line feed comes on top).
local function config_of(bytes)
  local frame = '{"type":"set_config","payload":{"content":""}}'
  return frame:sub(1, -4) .. ("x"):rep(bytes - #frame) .. frame:sub(-3)
end

-- Serves a listener while `fn(address, server, listener)` runs.
local function serving(handlers, opts, fn)
  local address = "unix:" .. support.tmpdir() .. "/s"
  local listener = assert(vmctl.listen(address))
  local guest = server.new(handlers, opts)
  local task = vmctl.spawn(guest.serve, guest, listener)
  fn(address, guest, listener)
  listener:close()
  assert.is_true(task:join(30))
end

describe("stereos server: a line", function()
  -- docs/wire/stereos.md#ack-rules: reply_to, the beginning of the error, code.
  local refused = {
    { "{oops}", "", "malformed JSON: ", "EPROTO" },
    { '{"type":"ping"}{"type":"ping"}', "", "malformed JSON: ", "EPROTO" },
    { '{"type":"ping"', "", "malformed JSON: ", "EPROTO" },
    { "[]", "", "malformed JSON: not an object", "EPROTO" },
    { '"ping"', "", "malformed JSON: not an object", "EPROTO" },
    { "7", "", "malformed JSON: not an object", "EPROTO" },
    { '{"type":7}', "", "malformed JSON: 'type' is no string", "EPROTO" },
    { '{"type":["ping"]}', "", "malformed JSON: 'type' is no string", "EPROTO" },
    { '{"type":"\xff"}', "", "malformed JSON: not valid UTF-8", "EPROTO" },
    { "\0", "", "malformed JSON: ", "EPROTO" },
    { ("["):rep(2000), "", "malformed JSON: ", "EPROTO" },
    { "{}", "", "unknown message type: ", "ENOSYS" },
    { "null", "", "unknown message type: ", "ENOSYS" },
    { '{"type":null}', "", "unknown message type: ", "ENOSYS" },
    { '{"type":"nope","payload":{"a":1}}', "nope", "unknown message type: nope", "ENOSYS" },
    { '{"type":"Ping"}', "Ping", "unknown message type: Ping", "ENOSYS" },
    { '{"type":"ack"}', "ack", "unknown message type: ack", "ENOSYS" },
    { '{"TYPE":"ping"}', "", "unknown message type: ", "ENOSYS" },
    { '{"type":"set_config"}', "set_config", "decode config payload: envelope set_config has no payload", "EPROTO" },
    { '{"type":"set_config","payload":null}', "set_config", "decode config payload: envelope set_config has no payload",
      "EPROTO" },
    { '{"type":"set_config","payload":[]}', "set_config", "decode config payload: json: ", "EPROTO" },
    { '{"type":"set_config","payload":"x"}', "set_config", "decode config payload: json: ", "EPROTO" },
    { '{"type":"set_config","payload":{}}', "set_config", "decode config payload: ", "EPROTO" },
    { '{"type":"set_config","payload":{"content":7}}', "set_config", "decode config payload: json: ", "EPROTO" },
    { '{"type":"inject_secret","payload":{"name":"A","value":"b","mode":"0600"}}', "inject_secret",
      "decode secret payload: json: ", "EPROTO" },
    { '{"type":"inject_secret","payload":{"name":"A","value":"b","mode":-1}}', "inject_secret",
      "decode secret payload: json: ", "EPROTO" },
    { '{"type":"inject_ssh_key","payload":{"user":"u"}}', "inject_ssh_key", "decode SSH key payload: ", "EPROTO" },
    { '{"type":"mount","payload":{"tag":"t","guest_path":"/p","fs_type":"9p","read_only":"yes"}}', "mount",
      "decode mount payload: json: ", "EPROTO" },
    { '{"type":"shutdown","payload":7}', "shutdown", "decode shutdown payload: json: ", "EPROTO" },
  }

  it("that is none of ours is refused as the document says, and the connection stays usable", run(function()
    local handlers, calls = host.recorder()
    local near = host.connect(handlers)
    for _, case in ipairs(refused) do
      local line, reply_to, text, why = table.unpack(case)
      near:write(line .. "\n" .. PING)
      local ack = assert(host.receive(near)).payload
      assert.same({ false, reply_to, why }, { ack.ok, ack.reply_to, ack.code }, line)
      assert.equal(text, ack.error:sub(1, #text), line)
      assert.equal("pong", assert(host.receive(near)).type, line)
    end
    assert.same({}, calls)
    near:close()
  end))

  it("with a type longer than an answer may be is refused without all of it", run(function()
    local near = host.connect {}
    near:write('{"type":"' .. ("\\u0001"):rep(100000) .. '"}\n')
    local line = near:read_line()
    assert.is_true(#line < 10000)
    local ack = cjson.decode(line).payload
    assert.same({ false, "", "ENOSYS" }, { ack.ok, ack.reply_to, ack.code })
    near:close()
  end))

  it("may have a CR at its end; empty ones are nothing", run(function()
    local near = host.connect {}
    near:write '\n\r\n\n{"type":"ping"}\r\n\r\n'
    assert.equal("pong", host.receive(near).type)
    assert.equal("ETIMEDOUT", code(near:read_line(100, 0.01)))
    near:close()
  end))

  it("of 1 MiB with its line feed passes, and one byte more does not", run(function()
    local handlers, calls = host.recorder()
    local near, task = host.connect(handlers)
    local writer = vmctl.spawn(function() near:write(config_of(MIB - 1) .. "\n") end)
    assert.is_true(host.receive(near).payload.ok)
    writer:join()
    assert.is_true(#calls[1][2].content > MIB - 100)
    writer = vmctl.spawn(function() near:write(config_of(MIB) .. "\n" .. PING) end)
    assert.same({ type = "ack", payload = { reply_to = "set_config", ok = false, code = "ETOOBIG",
      error = "line over the limit of 1048576 bytes" } }, host.receive(near))
    writer:join()
    host.ended(near)
    task:join()
    assert.equal(1, #calls)
  end, 5))

  it("that is too long is answered with the type that stands at its start", run(function()
    local starts = { ['{"type":"inject_secret","payload":{"value":"'] = "inject_secret", ['{ "type" : "mount" , '] = "mount",
      ['{"payload":{"type":"mount","x":"'] = "", ['x{"type":"mount","x":"'] = "", [""] = "", ['{"type":"'] = "" }
    for start, kind in pairs(starts) do
      local near, task = host.connect({}, { max_line = 1000 })
      local writer = vmctl.spawn(function() near:write(start .. ("x"):rep(100000) .. "\n") end)
      assert.same({ reply_to = kind, ok = false, error = "line over the limit of 1000 bytes", code = "ETOOBIG" },
        host.receive(near).payload, start)
      writer:join()
      host.ended(near)
      task:join()
    end
  end))

  it("that is far too long still gets its answer, on TCP as well", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local guest = server.new({}, { max_line = 1000 })
    local task = vmctl.spawn(guest.serve, guest, listener)
    local near, other = assert(vmctl.dial(listener:address())), assert(vmctl.dial(listener:address()))
    near:write(PING .. ("x"):rep(8 * MIB) .. "\n")
    near:shutdown()
    assert.equal("pong", host.receive(near).type)
    assert.equal("line over the limit of 1000 bytes", host.receive(near).payload.error)
    host.ended(near)
    assert.equal("pong", host.ask(other, PING).type)
    other:close()
    listener:close()
    task:join()
  end, 5))

  it("that never ends ends its connection, and takes no memory", run(function()
    local near, task = host.connect({}, { max_line = 1 << 16 })
    local sent = 0
    local writer = vmctl.spawn(function()
      local piece = ("x"):rep(1 << 16)
      while near:write(piece, 5) do sent = sent + #piece end
    end)
    assert.equal("ETOOBIG", host.receive(near).payload.code)
    task:join(30)
    assert.equal("done", task:status())
    near:close()
    writer:join()
    assert.is_true(sent < 100 * MIB, sent)
  end, 6))

  it("without its line feed at the end counts when it is a whole message", run(function()
    local handlers, calls = host.recorder()
    local whole = '{"type":"set_config","payload":{"content":"ab"}}'
    for at = 1, #whole do
      local near, task = host.connect(handlers)
      near:write(PING .. whole:sub(1, at))
      near:shutdown()
      assert.equal("pong", host.receive(near).type)
      local ack = host.receive(near).payload
      assert.same({ at == #whole, at == #whole and "set_config" or "" }, { ack.ok, ack.reply_to })
      host.ended(near)
      task:join()
    end
    assert.equal(1, #calls)
    local near = host.connect {}
    near:write '{"type":"ping"}\r'
    near:shutdown()
    assert.equal("pong", host.receive(near).type)
    host.ended(near)
  end))

  it("that was cut by a host which has gone takes no effect, and disturbs nobody", run(function()
    local handlers, calls = host.recorder()
    local guest = server.new(handlers)
    local other = host.connect(guest)
    for _, bytes in ipairs { '{"type":"set_config","payl', "", "\n", PING .. PING .. '{"ty' } do
      local near, task = host.connect(guest)
      near:write(bytes)
      near:close()
      task:join()
    end
    assert.same({}, calls)
    assert.equal("pong", host.ask(other, PING).type)
    other:close()
  end))
end)

describe("stereos server: connections", function()
  it("that ask for nothing are ended with a word; one that has asked may then be idle", run(function()
    local guest = server.new({}, { first_line_timeout = 0.05 })
    local idle = host.connect(guest)
    assert.equal("pong", host.ask(idle, PING).type)
    for _, bytes in ipairs { "", "\n\r\n", '{"type":"pi' } do
      local near = host.connect(guest)
      near:write(bytes)
      assert.same({ reply_to = "", ok = false, error = "no request within 0.05 s", code = "ETIMEDOUT" },
        host.receive(near).payload)
      host.ended(near)
    end
    local dripping, task = host.connect(guest)
    while dripping:write("\n", 1) and task:status() ~= "done" do vmctl.sleep(0.01) end
    dripping:close()
    host.hear(idle)
    guest:lifecycle "healthy"
    assert.equal("healthy", host.receive(idle).payload.state)
    idle:close()
  end))

  it("over the limit push out the one that has been silent for longest; if all speak, the newcomer goes", run(function()
    serving({}, { connections = 3 }, function(address)
      local hosts = {}
      for i = 1, 4 do
        hosts[i] = assert(vmctl.dial(address))
        if i == 2 then assert.equal("pong", host.ask(hosts[2], PING).type) end
      end
      assert.same({ reply_to = "", ok = false, error = "too many connections", code = "EBUSY" },
        host.receive(hosts[1]).payload)
      host.ended(hosts[1])
      assert.equal("pong", host.ask(hosts[3], PING).type)
      assert.equal("pong", host.ask(hosts[4], PING).type)
      local late = assert(vmctl.dial(address))
      assert.equal("EBUSY", host.receive(late).payload.code)
      host.ended(late)
      hosts[2]:close()
      support.eventually(function()
        local again <close> = assert(vmctl.dial(address))
        return again:write(PING) and host.receive(again).type == "pong"
      end)
      hosts[3]:close()
      hosts[4]:close()
    end)
  end))

  it("share the limit over all listeners of a server", run(function()
    local folder = support.tmpdir()
    local guest = server.new({}, { connections = 1 })
    local listeners, tasks = {}, {}
    for i = 1, 2 do
      listeners[i] = assert(vmctl.listen(("unix:%s/%d"):format(folder, i)))
      tasks[i] = vmctl.spawn(guest.serve, guest, listeners[i])
    end
    local first, second = assert(vmctl.dial(listeners[1]:address())), assert(vmctl.dial(listeners[2]:address()))
    assert.equal("EBUSY", host.receive(first).payload.code)
    assert.equal("pong", host.ask(second, PING).type)
    first:close()
    second:close()
    for i = 1, 2 do
      listeners[i]:close()
      assert.is_true(tasks[i]:join())
    end
  end))

  -- The server keeps few of them, so that their own ends are nearly all descriptors that this takes.
  it("may be ten thousand that never send a line: another client is served all the while", run(function()
    local limit = tonumber(io.open("/proc/self/limits"):read("a"):match "Max open files%s+(%d+)") or 1024
    local count = math.min(10000, limit - 1024 - 200)
    serving({}, nil, function(address, guest)
      local good = assert(vmctl.dial(address))
      assert.equal("pong", host.ask(good, PING).type)
      local silent = {}
      for i = 1, count do
        silent[i] = assert(vmctl.dial(address))
        if i % 100 == 0 then assert.equal("pong", host.ask(good, PING).type) end
      end
      host.hear(silent[count]) -- all of them were accepted
      host.hear(good)
      guest:lifecycle "healthy"
      assert.equal("healthy", host.receive(good).payload.state)
      assert.equal("EBUSY", host.receive(silent[1]).payload.code)
      assert.equal("healthy", host.receive(silent[count]).payload.state)
      for i = 1, count do silent[i]:close() end
      good:close()
    end)
  end, 30))

  it("are asked who they are; a policy may be any function", run(function()
    local asked = 0
    serving({}, { allow = function()
      asked = asked + 1
      return asked > 1 or nil, "not the first"
    end }, function(address)
      local near = assert(vmctl.dial(address))
      host.ended(near)
      near = assert(vmctl.dial(address))
      assert.equal("pong", host.ask(near, PING).type)
      near:close()
    end)
  end))

  it("end with their server, and what was answered still arrives", run(function()
    local near
    local idle = 0
    serving({ set_config = function()
      vmctl.sleep(60)
      return nil, "stopped", "ECANCELED"
    end }, { on_idle = function() idle = idle + 1 end }, function(address)
      near = assert(vmctl.dial(address))
      near:write(PING .. '{"type":"set_config","payload":{"content":""}}\n')
      assert.equal("pong", host.receive(near).type)
    end)
    assert.equal("ECANCELED", host.receive(near).payload.code)
    host.ended(near)
    assert.equal(1, idle)
  end))

  it("leave no memory behind", run(function()
    local guest = server.new {}
    local function visit()
      for _ = 1, 300 do
        local near, task = host.connect(guest)
        host.ask(near, PING)
        near:close()
        task:join()
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    visit()
    local before = visit()
    assert.is_true(visit() - before < 32)
  end, 5))
end)
