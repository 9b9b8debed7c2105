-- Waiting for readiness, and lifecycle messages.
local vmctl = require "vmctl"
local stereos = require "vmctl.stereos"
local support = require "spec.support"
local guests = require "spec.support.stereos_guest"

local code, with = support.code, guests.with

local function in_state(state)
  return function(conn)
    while conn:request() do conn:health(state) end
  end
end

describe("wait_for_ready", function()
  it("asks until the guest is ready", with({ function(conn)
    for _, state in ipairs { "booting", "booting", "degraded", "ready" } do
      conn:request()
      conn:health(state)
    end
    conn:request()
  end }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    local seen = {}
    local health = assert(c:wait_for_ready { interval = 0.01, on_attempt = function(n, state) seen[n] = state end })
    assert.equal("ready", health.state)
    assert.same({ "booting", "booting", "degraded", "ready" }, seen)
    assert.equal(1, guest.connections)
  end))

  it("takes healthy, and health without a payload for not yet", with({ function(conn)
    conn:request()
    conn:say '{"type":"health"}'
    conn:request()
    conn:health "healthy"
  end }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    assert.equal("healthy", assert(c:wait_for_ready { interval = 0.01 }).state)
  end))

  it("connects again when the guest drops the connection, resets it, or says nothing", with({
    function() end,
    function(conn) conn:request() end,
    function(conn) conn:request() conn.stream:write '{"type":"hea' end,
    function(conn) conn:request() conn:request() end, -- silent
    function(conn) conn:request() conn:say "HTTP/1.1 400 Bad Request" conn:request() end,
    in_state "ready",
  }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    local errors = {}
    local health = assert(c:wait_for_ready { timeout = 5, attempt_timeout = 0.1,
      on_attempt = function(n, _, err) errors[n] = err or "none" end })
    assert.equal("ready", health.state)
    assert.equal(6, guest.connections)
    assert.equal("none", errors[6])
    assert.truthy(errors[4]:find "no reply within")
  end, 6))

  it("waits for a guest that is not there yet", support.run(function()
    local path = support.tmpdir() .. "/late.sock"
    local c <close> = assert(stereos.client("unix:" .. path))
    vmctl.scope(function(scope)
      local waiter = vmctl.spawn_in(scope, function() return c:wait_for_ready { timeout = 3 } end)
      support.passed(vmctl.sleep, 0.1)
      local guest
      vmctl.spawn_in(scope, function() guest = guests.start({ in_state "ready" }, "unix:" .. path) end)
      assert.equal("ready", assert(waiter:join()).state)
      c:close()
      guest.listener:close()
    end)
  end, 4))

  it("tells the attempts, the last state and the last error when it is over", with({ function(conn)
    conn:request()
    conn:health "booting"
    conn:request()
  end, function() end }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    local _, err, name, seen = c:wait_for_ready { timeout = 0.3, interval = 0.01 }
    assert.equal("ETIMEDOUT", name)
    assert.truthy(err:find("not ready within 0.3 s", 1, true))
    assert.truthy(err:find(("%d attempts"):format(seen.attempts), 1, true))
    assert.truthy(err:find("last state 'booting'", 1, true))
    assert.truthy(err:find("ended before the reply", 1, true))
    assert.is_true(seen.attempts >= 3)
  end))

  it("gives up at once on a guest that shuts down, unless it is to come back", with({
    in_state "shutdown", function(conn) conn:request() conn:health "shutdown" end, in_state "ready",
  }, function(guest)
    local first <close> = assert(stereos.client(guest.address))
    assert.equal("ESHUTDOWN", code(first:wait_for_ready()))
    local second <close> = assert(stereos.client(guest.address))
    assert.equal("ready", assert(second:wait_for_ready { reboot = true, interval = 0.01 }).state)
  end))

  it("asks at once when a lifecycle message says ready", with({ function(conn)
    conn:request()
    conn:health "booting"
    support.settle()
    conn:lifecycle "ready"
    conn:request()
    conn:health "ready"
  end }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    assert(c:wait_for_ready { interval = 100, timeout = 1 })
  end))

  it("spreads those who wait: their pauses differ", support.run(function()
    local path, times = support.tmpdir() .. "/none.sock", {}
    support.passed(vmctl.map, { 1, 2, 3, 4 }, function(i)
      local c <close> = assert(stereos.client("unix:" .. path))
      c:wait_for_ready { timeout = 20, on_attempt = function(n) if n == 4 then times[i] = vmctl.now() end end }
    end)
    table.sort(times)
    assert.equal(4, #times)
    assert.is_true(times[4] - times[1] > 0.0005)
  end))

  it("ends when it is cancelled, and when the client is closed", with({ in_state "booting" }, function(guest)
    local c = assert(stereos.client(guest.address))
    local one = vmctl.spawn(function() return c:wait_for_ready() end)
    local two = vmctl.spawn(function() return c:wait_for_ready() end)
    support.settle()
    one:cancel()
    assert.equal("ECANCELED", code(one:join()))
    c:close()
    assert.equal("ECLOSED", code(two:join()))
  end))
end)

describe("lifecycle messages", function()
  it("come through an iterator, in order", with({ function(conn)
    for _, state in ipairs { "booting", "ready", "healthy" } do conn:lifecycle(state) end
    conn:request()
  end }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    local states = {}
    for event in c:events() do
      states[#states + 1] = event.state
      if event.state == "healthy" then break end
    end
    assert.same({ "booting", "ready", "healthy" }, states)
  end))

  it("go on after the guest has rebooted", with({
    function(conn) conn:lifecycle "shutdown" end,
    function(conn) conn:lifecycle "booting" conn:lifecycle "ready" conn:request() end,
  }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    local states, next_event = {}, c:events { timeout = 2 }
    for i = 1, 3 do states[i] = assert(next_event()).state end
    assert.same({ "shutdown", "booting", "ready" }, states)
  end, 3))

  it("that do not come: the iterator says ETIMEDOUT, and a closed client ECLOSED", with({ in_state "ready" }, function(guest)
    local c = assert(stereos.client(guest.address))
    assert.equal("ETIMEDOUT", code(c:events(0.05)()))
    c:close()
    assert.equal("ECLOSED", code(c:events(0.05)()))
  end))

  it("call functions, whose failure stops nobody", with({ function(conn)
    conn:lifecycle "booting"
    conn:lifecycle "ready"
    conn:answer_all()
  end }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    local heard, deaf = {}, 0
    c:on_lifecycle(function() error "of the user's own" end)
    c:on_lifecycle(function(event)
      vmctl.sleep(0.01)
      heard[#heard + 1] = event.state
    end)
    local stop = c:on_lifecycle(function() deaf = deaf + 1 end)
    stop()
    support.eventually(function() return #heard == 2 end)
    assert.same({ "booting", "ready" }, heard)
    assert.equal(0, deaf)
    assert.is_true(c:ping())
  end))

  it("that nobody fetches are kept up to a number, the newest", with({ function(conn)
    for i = 1, 1000 do conn:lifecycle("s" .. i) end
    conn:answer_all()
  end }, function(guest)
    local c <close> = assert(stereos.client(guest.address))
    local next_event = c:events(1)
    assert.is_true(c:ping())
    assert.equal("s745", next_event().state)
    assert.equal("s1000", c:lifecycle_state())
  end))
end)
