-- The host's side against guests that say what the spec wants; the wire is stereos.md's.
local vmctl = require "vmctl"
local stereos = require "vmctl.stereos"
local support = require "spec.support"
local guests = require "spec.support.stereos_guest"
local vectors = require "spec.support.vectors"

local code, with = support.code, guests.with

local function plain(conn) conn:answer_all() end

local function client_of(guest, opts)
  return assert(stereos.connect(guest.address, opts))
end

describe("a StereOS client", function()
  it("has the names and defaults of the reference", function()
    assert.equal(1024, stereos.PORT)
    assert.equal(3, stereos.GUEST_CID)
    assert.equal(10, stereos.DEFAULT_TIMEOUT)
    assert.same({ BOOTING = "booting", READY = "ready", HEALTHY = "healthy", DEGRADED = "degraded", SHUTDOWN = "shutdown" },
      stereos.states)
    assert.equal("inject_ssh_key", stereos.types.INJECT_SSH_KEY)
  end)

  it("shows transports as the reference does", function()
    assert.equal("vmctl.StereosClient(vsock:CID=3,port=1024)", tostring(stereos.client()))
    assert.equal("vmctl.StereosClient(vsock:CID=7,port=1024)", tostring(stereos.client(7)))
    assert.equal("vmctl.StereosClient(tcp:127.0.0.1:1024)", tostring(stereos.client "tcp:127.0.0.1:1024"))
    local fn = vmctl.address.func(function() end, "Apple Virt postBoot")
    assert.equal("vmctl.StereosClient(Apple Virt postBoot)", tostring(stereos.client(fn)))
  end)

  it("sends what the reference client was seen to send", with({ function(conn)
    while true do
      local line = conn.stream:read_line()
      if not line then return end
      conn.stream:write(line .. "\n")
    end
  end }, function(guest)
    local raw = assert(vmctl.dial(guest.address))
    for _, vector in ipairs(vectors.load "stereos") do
      if vector.fields.source == "observed: reference client" then
        local payload = vmctl.json.decode(require "cjson".encode(vector.fields)).payload -- with its integers
        local ours = assert(stereos.envelope(vector.fields.type, payload))
        raw:write(ours .. "\n")
        assert.same(stereos.decode(vector.bytes:sub(1, -2)), stereos.decode(assert(raw:read_line())))
      end
    end
    raw:close()
  end))

  it("makes each request with its reply", with({ function(conn)
    local seen = {}
    for request in function() return conn:request() end do
      seen[#seen + 1] = request
      if request.type == "ping" then
        conn:say '{"type":"pong"}'
      elseif request.type == "get_health" then
        conn:say '{"type":"health","payload":{"state":"healthy","agents":[{"name":"a","running":true,"restarts":2}]}}'
      else
        assert.is_table(request.payload)
        conn:ack(request.type, request.type == "mount" and { changed = false } or nil)
      end
    end
    assert.same({ "ping", "get_health", "set_config", "inject_secret", "inject_ssh_key", "mount", "shutdown", "own" },
      { seen[1].type, seen[2].type, seen[3].type, seen[4].type, seen[5].type, seen[6].type, seen[7].type, seen[8].type })
    assert.equal(384, seen[4].payload.mode)
    assert.is_nil(seen[6].payload.read_only)
  end }, function(guest)
    local c <close> = client_of(guest)
    assert.is_true(c:ping())
    local health = assert(c:get_health())
    assert.equal("healthy", health.state)
    assert.same({ name = "a", running = true, restarts = 2, session = "", error = "" }, health.agents[1])
    assert.equal(0, health.uptime_seconds)
    assert.is_true(c:set_config "mixtape = 'base'\n")
    assert.same({ true }, { c:inject_secret("KEY", "value", 384) })
    assert.is_true(c:inject_ssh_key("admin", "ssh-ed25519 AAAA test"))
    assert.same({ true, false }, { c:mount { tag = "share0", guest_path = "/w", fs_type = "9p" } })
    assert.is_true(c:shutdown "done")
    assert.is_true(c:request("own", { some = "thing" }))
  end))

  it("answers with EREMOTE, the guest's words and the ack when the guest refuses, and goes on", with({ function(conn)
    conn:request()
    conn:say '{"type":"ack","payload":{"reply_to":"mount","ok":false,"error":"unsupported \\u001b[31mfilesystem"}}'
    conn:request()
    conn:say '{"type":"ack","payload":{"reply_to":"","ok":false,"error":"malformed JSON: x"}}'
    conn:request()
    conn:say '{"type":"ack","payload":{"reply_to":"get_health","ok":false,"error":"unknown message type: get_health"}}'
    plain(conn)
  end }, function(guest)
    local c <close> = client_of(guest)
    local ok, err, name, ack = c:mount { tag = "a", guest_path = "/a", fs_type = "ext4" }
    assert.is_nil(ok)
    assert.equal("EREMOTE", name)
    assert.truthy(err:find("mount on unix:", 1, true))
    assert.truthy(err:find("unsupported", 1, true))
    assert.is_nil(err:find "\27")
    assert.equal("mount", ack.reply_to)
    assert.equal("EREMOTE", code(c:set_config "x"))
    assert.equal("EREMOTE", code(c:get_health()))
    assert.is_true(c:ping())
    assert.equal(1, guest.connections)
  end))

  it("never takes a lifecycle message for a reply", with({ function(conn)
    conn:lifecycle "booting"
    while true do
      local request = conn:request()
      if not request then return end
      conn:lifecycle "ready"
      if request.type == "ping" then conn:say '{"type":"pong"}' else conn:health "ready" end
      conn:lifecycle "healthy"
    end
  end }, function(guest)
    local c <close> = client_of(guest)
    for _ = 1, 20 do
      assert.is_true(c:ping())
      assert.equal("ready", assert(c:get_health()).state)
    end
    c:on_lifecycle(function() end)
    support.eventually(function() return c:lifecycle_state() == "healthy" end)
    assert.equal(1, guest.connections)
  end))

  it("answers many tasks on one connection, each with its own reply", with({ function(conn)
    local waiting = {}
    for request in function() return conn:request() end do
      waiting[#waiting + 1] = request
      if #waiting == 50 then -- all at once, in order
        for _, each in ipairs(waiting) do conn:ack(each.type, { error = each.payload.n }) end
        waiting = {}
      end
    end
  end }, function(guest)
    local c <close> = client_of(guest)
    local numbers = {}
    for n = 1, 200 do numbers[n] = tostring(n) end
    local results = vmctl.map(numbers, function(n) return (select(1, c:request("type" .. n, { n = n }))) end)
    for n = 1, 200 do assert.is_true(results[n]) end
    assert.equal(1, guest.connections)
  end))

  it("keeps lines whole and in order when the guest reads slowly", with({ function(conn)
    support.settle()
    for request in function() return conn:request() end do
      assert.equal(request.payload.n, #request.payload.text)
      conn:ack(request.type)
    end
  end }, function(guest)
    local c <close> = client_of(guest)
    local sizes = { 900000, 10, 800000, 500, 700000, 3, 999000 }
    local results = vmctl.map(sizes, function(n) return (c:request("t" .. n, { n = n, text = ("x"):rep(n) })) end)
    for i = 1, #sizes do assert.is_true(results[i]) end
  end, 10))

  local late -- the call of the running test has ended without its reply

  it("does not take a reply after a time-out for the next call's", with({ function(conn)
    late = false
    conn:request()
    support.eventually(function() return late end)
    pcall(conn.health, conn, "booting") -- too late; the client may have closed the connection by now
    plain(conn)
  end, plain }, function(guest)
    local c <close> = client_of(guest)
    local _, err, name = c:get_health(0.05)
    late = true
    assert.equal("ETIMEDOUT", name)
    assert.truthy(err:find("get_health on unix:.*no reply within 0.05 s"))
    assert.equal("ready", assert(c:get_health()).state)
    assert.is_true(c:ping())
    assert.equal(2, guest.connections)
  end))

  it("says how long it has waited, also when a limit around the call ends it", with({ function(conn) conn:request() vmctl.sleep(30) end },
    function(guest)
      local c <close> = client_of(guest)
      local _, err, name = vmctl.timeout(0.05, function() return c:get_health() end)
      assert.equal("ETIMEDOUT", name)
      assert.matches("no reply within 0%.%d+ s %(a limit around it; its own is 10 s%)$", err)
    end))

  it("sends any request by its name, also those that are answered otherwise", with({ plain }, function(guest)
    local c <close> = client_of(guest)
    assert.same({ true }, { c:request "ping" })
    assert.equal("ready", c:request("get_health").state)
    assert.is_true((c:request("set_config", { content = "" })))
  end))

  it("lets the calls before and after one that gave up have their replies", with({ function(conn)
    late = false
    local requests = {}
    for i = 1, 3 do requests[i] = conn:request() end
    support.eventually(function() return late end)
    for _, request in ipairs(requests) do conn:ack(request.type) end
    plain(conn)
  end, plain }, function(guest)
    local c <close> = client_of(guest)
    local before = vmctl.spawn(function() return c:set_config "a" end)
    local hasty = vmctl.spawn(function() return c:shutdown("b", { timeout = 0.03 }) end)
    local after = vmctl.spawn(function() return c:inject_ssh_key("u", "ssh-rsa AAAA") end)
    assert.equal("ETIMEDOUT", code(hasty:join()))
    late = true
    assert.is_true(c:ping()) -- on a connection of its own
    assert.is_true(before:join())
    assert.is_true(after:join())
    assert.equal(2, guest.connections)
  end))

  it("keeps nothing of a call whose task was cancelled", with({ function(conn)
    conn:request()
    late = false
    support.eventually(function() return late end)
    conn.stream:write '{"type":"health","payload":{"state":"degraded","uptime_seconds":5}}\n' -- the client may have gone
    plain(conn)
  end, plain }, function(guest)
    local c <close> = client_of(guest)
    late = nil
    local task = vmctl.spawn(function() return c:get_health() end)
    support.eventually(function() return late == false end) -- the guest has the request
    task:cancel()
    assert.equal("ECANCELED", code(task:join()))
    late = true
    assert.equal("ready", assert(c:get_health()).state)
  end))

  it("says ERESET when the connection ends before the reply, and connects again at the next call", with({ function(conn)
    conn:request()
  end, plain }, function(guest)
    local c <close> = client_of(guest)
    local _, err, name = c:set_config "x"
    assert.equal("ERESET", name)
    assert.truthy(err:find("ended before the reply", 1, true))
    assert.is_true(c:ping())
    assert.equal(2, guest.connections)
  end))

  for title, line in pairs {
    ["text that is no JSON"] = "nonsense", ["a list"] = "[1]", ["another reply"] = '{"type":"health"}',
    ["an ack of something else"] = '{"type":"ack","payload":{"reply_to":"mount","ok":true}}',
    ["an ack that is ok but names nothing"] = '{"type":"ack","payload":{"reply_to":"","ok":true}}',
    ["names in other case"] = '{"TYPE":"pong"}', ["an ack with no ok"] = '{"type":"ack","payload":{"reply_to":"ping"}}',
    ["a type of its own"] = '{"type":"surprise"}', ["two objects"] = '{"type":"pong"}{"type":"pong"}',
  } do
    it("takes " .. title .. " for a protocol error: that connection ends, the next call has another", with({ function(conn)
      conn:request()
      conn:say(line)
      conn:request()
    end, plain }, function(guest)
      local c <close> = client_of(guest)
      assert.equal("EPROTO", code(c:ping()))
      assert.is_true(c:ping())
      assert.equal(2, guest.connections)
    end))
  end

  it("refuses a message that nobody asked for, and empty lines do no harm", with({ function(conn)
    conn:say ""
    conn:say "\r"
    conn:request()
    conn:say '{"type":"pong"}\r'
    conn:say '{"type":"pong"}'
    conn:request()
  end, plain }, function(guest)
    local c <close> = client_of(guest)
    assert.is_true(c:ping())
    support.passed(vmctl.sleep, 0.02) -- it looks at what came meanwhile before it sends the next request
    assert.is_true(c:ping())
    assert.equal(2, guest.connections)
  end))

  it("takes a line at the limit and ends the connection of one over it", with({ function(conn)
    for request in function() return conn:request() end do
      local head = '{"type":"ack","payload":{"reply_to":"set_config","ok":true,"error":"'
      local total = request.payload.content == "fits" and 1000 or 1001
      conn:say(head .. ("x"):rep(total - #head - 4) .. '"}}')
    end
  end }, function(guest)
    local c <close> = client_of(guest, { max_line = 1000 })
    assert.is_true(c:set_config "fits")
    local _, err, name = c:set_config "no"
    assert.equal("ETOOBIG", name)
    assert.truthy(err:find("1000 bytes", 1, true))
  end))

  it("sends nothing that is over the limit, not text, or lacks a member", with({ plain }, function(guest)
    local c <close> = client_of(guest)
    local frame = #'{"type":"set_config","payload":{"content":""}}\n'
    assert.is_true(c:set_config(("x"):rep((1 << 20) - frame)))
    assert.equal("ETOOBIG", code(c:set_config(("x"):rep((1 << 20) - frame + 1))))
    assert.equal("EINVAL", code(c:inject_secret("A", "\xff\xfe")))
    assert.equal("EINVAL", code(c:inject_secret("A", nil)))
    assert.equal("EINVAL", code(c:inject_secret("A", "b", -1)))
    assert.has_error(function() c:inject_secret("A", "b", "0600") end)
    assert.has_error(function() c:mount { tagg = "x" } end)
    assert.is_true(c:ping())
    assert.equal(1, guest.connections)
  end))

  it("says what could not be reached", support.run(function()
    local path = support.tmpdir() .. "/nobody.sock"
    local _, err, name = stereos.connect("unix:" .. path)
    assert.equal("ENOENT", name)
    assert.truthy(err:find("connect to the StereOS guest at unix:" .. path, 1, true))
    local c = assert(stereos.client("unix:" .. path))
    assert.equal("ENOENT", code(c:ping()))
    c:close()
    assert.equal("ECLOSED", code(c:ping()))
    assert.equal("EINVAL", code(stereos.client "nowhere"))
    assert.has_error(function() stereos.client("unix:x", { time_out = 3 }) end)
  end))

  it("ends waiting calls with ECLOSED when it is closed", with({ function(conn) conn:request() conn:request() end },
    function(guest)
      local c = client_of(guest)
      local task = vmctl.spawn(function() return c:ping() end)
      support.settle()
      c:close()
      assert.equal("ECLOSED", code(task:join()))
      assert.equal("ECLOSED", code(c:ping()))
      assert.is_true(c:close())
    end))

  it("connects once for many first calls", with({ plain }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    vmctl.map({ 1, 2, 3, 4, 5, 6 }, function() assert(c:ping()) end)
    assert.equal(1, guest.connections)
  end))

  it("works in a plain script, without a task", function()
    local near, far = assert(vmctl.pair())
    local c <close> = assert(stereos.client(vmctl.address.func(function() return near end, "pair")))
    far:write '{"type":"pong"}\n' -- buffered: replies are matched to what is sent by the time that they are read
    assert.is_true(c:ping())
    far:close()
  end)

  it("is collected, connection and all, when nobody has it any more", with({ plain }, function(guest)
    do assert(client_of(guest):ping()) end
    collectgarbage()
    collectgarbage()
    support.eventually(function() return guest.connections == 1 end)
  end))
end)
