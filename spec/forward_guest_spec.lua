-- A real guest: ports and sockets lead into it and out of it, until it is killed.
-- Also in kvm: the channel is AF_VSOCK.
local assert = require "luassert"
local forwarding = require "spec.support.forward"
local guest = require "spec.support.guest"
local support = require "spec.support"
local template = require "spec.support.template"
local vmctl = require "vmctl"

local code, counts, path, run = support.code, forwarding.counts, forwarding.path, support.run
local LIMIT = 60 * support.scale
local AGENT = guest.agent_inside
local MiB = 1 << 20

-- Programs of the guest. A server at an address, which says when it listens.
local SERVER = [[
local vmctl = require "vmctl"
local where, shout = ...
vmctl.run(function()
  local listener = assert(vmctl.listen(where))
  io.stdout:write("listening\n")
  io.stdout:flush()
  for stream in function() return (listener:accept()) end do
    vmctl.spawn(function()
      for data in function() return (stream:read()) end do stream:write(shout and data:upper() or data) end
      stream:close()
    end)
  end
end)
]]

-- Sends pieces to an echo at an address, on several connections at once, and compares what comes back.
local CLIENT = [[
local vmctl = require "vmctl"
local where, connections, pieces = ...
local piece = ("0123456789abcde\n"):rep(1 << 16)
local numbers = {}
for i = 1, connections do numbers[i] = i end
vmctl.run(function()
  vmctl.map(numbers, function(number)
    local stream <close> = assert(vmctl.dial(where))
    local text = tonumber(pieces) > 0 and piece or ("connection %04d"):format(number)
    local times = math.max(tonumber(pieces), 1)
    local writer = vmctl.spawn(function()
      for _ = 1, times do assert(stream:write(text)) end
      assert(stream:shutdown())
    end)
    for _ = 1, times do assert(assert(stream:read_exact(#text)) == text, "changed on the way") end
    assert(stream:read() == nil)
    writer:join()
  end)
end)
]]

guest.on_each_channel(describe, "vmctl.forward and a real guest", function(channel)
  local vm

  lazy_setup(function() vm = template.start { name = "forward", channel = channel } end)
  lazy_teardown(function() if vm then vm:close() end end)

  -- A program of the guest with a script, which has said its first line.
  local function start(script, ...)
    local program = assert(vm:start { AGENT, "--lua", "-", ... })
    assert(program:write(script))
    assert(program:close_stdin())
    assert.equal("listening\n", (program:read(30)))
    return program
  end

  local function client(where, connections, pieces)
    local command = { AGENT, "--lua", "-", where, tostring(connections), tostring(pieces), stdin = CLIENT, timeout = LIMIT }
    local result = assert(vm:run(command))
    assert.equal("", result.stderr)
    assert.equal(0, result.exit_code)
  end

  it("lead from a port here to a web server inside", run(function()
    assert(vm:write_file("/srv/index.html", "<p>from inside</p>\n"))
    local server <close> = assert(vm:start { "httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/srv", stdin = false })
    local forward <close> = assert(vmctl.forward { from = "tcp:127.0.0.1:0", to = vm:inside "tcp:127.0.0.1:8080" })
    local answer
    support.eventually(function()
      local stream <close> = vmctl.dial(forward:address())
      if not stream or not stream:write "GET /index.html HTTP/1.0\r\n\r\n" then return false end
      answer = stream:read_line(nil, 10)
      if not answer then return false end
      answer = answer .. forwarding.read_all(stream)
      return true
    end)
    assert.matches("^HTTP/1.. 200 OK.*<p>from inside</p>\n$", answer)
    assert(server:kill "KILL")
  end, LIMIT))

  it("lead from a port here to sockets and ports inside, and count what goes there", run(function()
    for _, where in ipairs { "unix:/run/echo.sock", "tcp:127.0.0.1:7000" } do
      local server <close> = start(SERVER, where)
      local forward <close> = assert(vmctl.forward { from = "tcp:127.0.0.1:0", to = vm:inside(where) })
      assert.equal("forward!" .. where, tostring(forward.to))
      local stream <close> = assert(vmctl.dial(forward:address()))
      local piece = ("0123456789abcde\n"):rep(MiB // 16)
      local writer = vmctl.spawn(function()
        for _ = 1, 16 do assert(stream:write(piece, LIMIT)) end
        assert(stream:shutdown(LIMIT))
      end)
      for _ = 1, 16 do assert.is_true(stream:read_exact(MiB, LIMIT) == piece) end
      assert.equal("EOF", code(stream:read(nil, 10)))
      writer:join()
      counts(forward, { connections = 1, open = 0, failed = 0, from_to = 16 * MiB, to_from = 16 * MiB })
      assert(server:kill "KILL")
      assert(server:wait(10))
    end
  end, LIMIT))

  it("lead from a socket inside to a server here, with each byte and each connection counted", run(function()
    local server <close> = forwarding.serve("unix:" .. path(), forwarding.echo) -- luacheck: ignore
    local forward <close> = assert(vmctl.forward { from = vm:inside "unix:/run/socketfwd/host/echo.sock", to = server.address })
    client("unix:/run/socketfwd/host/echo.sock", 1, 64)
    counts(forward, { connections = 1, open = 0, failed = 0, from_to = 64 * MiB, to_from = 64 * MiB })
    client("unix:/run/socketfwd/host/echo.sock", 100, 0)
    counts(forward, { connections = 101, open = 0, failed = 0, from_to = 64 * MiB + 1500, to_from = 64 * MiB + 1500 })
    assert.equal("forward!unix:/run/socketfwd/host/echo.sock", tostring(forward:address()))
    assert.equal("666\n", assert(vm:run { "stat", "-c", "%a", "/run/socketfwd/host/echo.sock" }).stdout)
    forward:close()
    support.eventually(function() return vm:run({ "test", "-e", "/run/socketfwd/host/echo.sock" }).exit_code == 1 end)
  end, LIMIT))

  it("lead from a port inside to a port here", run(function()
    local server <close> = forwarding.serve("tcp:127.0.0.1:0", forwarding.shout) -- luacheck: ignore
    local forward <close> = assert(vmctl.forward { from = vm:inside "tcp:127.0.0.1:0", to = server.address })
    local port = forward:address().at.port
    local result = assert(vm:run { "nc", "127.0.0.1", tostring(port), stdin = "from busybox", timeout = 20 })
    assert.equal("FROM BUSYBOX", result.stdout)
    counts(forward, { connections = 1, open = 0, from_to = 12, to_from = 12 })
  end, LIMIT))

  it("tell a process inside that nobody is here, and find who comes later", run(function()
    local where = "unix:" .. path()
    local forward <close> = assert(vmctl.forward { from = vm:inside "tcp:127.0.0.1:7100", to = where })
    assert.equal("", assert(vm:run { "nc", "127.0.0.1", "7100", stdin = "", timeout = 20 }).stdout)
    counts(forward, { connections = 1, failed = 1, last_code = "ENOENT" })
    local server <close> = forwarding.serve(where, forwarding.shout) -- luacheck: ignore
    assert.equal("NOW", assert(vm:run { "nc", "127.0.0.1", "7100", stdin = "now", timeout = 20 }).stdout)
  end, LIMIT))

  it("lead from one place inside to another, through here", run(function()
    local server <close> = start(SERVER, "unix:/run/inner.sock", "shout")
    local forward <close> = assert(vmctl.forward { from = vm:inside "tcp:127.0.0.1:7200", to = vm:inside "unix:/run/inner.sock" })
    assert.equal("ROUND", assert(vm:run { "nc", "127.0.0.1", "7200", stdin = "round", timeout = 20 }).stdout)
    counts(forward, { connections = 1, open = 0, from_to = 5 })
    assert(server:kill "KILL")
  end, LIMIT))

  it("end without a hang when the guest is killed, and say so", run(function()
    local there = assert(vmctl.forward { from = "tcp:127.0.0.1:0", to = vm:inside "unix:/run/last.sock" })
    local back = assert(vmctl.forward { from = vm:inside "unix:/run/socketfwd/back.sock", to = there:address() })
    local server <close> = start(SERVER, "unix:/run/last.sock")
    local stream <close> = assert(vmctl.dial(there:address()))
    assert(stream:write "x")
    assert.equal("x", stream:read(nil, 10))
    local waiting = vmctl.spawn(function() return back:wait(20) end)
    vmctl.yield()
    assert(vm:kill())
    assert.is_nil(stream:read(nil, 10))
    local ok, message, name = waiting:join()
    assert.is_nil(ok)
    assert.is_string(message)
    assert.not_equal("ETIMEDOUT", name)
    assert.equal("broken", back:status())
    local late <close>, _, refused = vmctl.dial(there:address())
    assert.equal("ECONNRESET", refused or code(late:read(nil, 10)))
    counts(there, { failed = 1, connections = 2 })
    assert.is_string(there:stats().last_error)
    assert.is_true(back:close() and there:close())
    server:close()
  end, LIMIT))
end)
