-- One probe at a time, against real sockets and commands. Many at once: ready_all_spec.lua.
local assert = require "luassert"
local agent = require "spec.support.agent"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local host, ready = vmctl.host, vmctl.ready

-- Waits for a probe; when it has been asked twice in vain, calls `fn`. Gives its value.
local function wait_meanwhile(probe, fn)
  local asked = 0
  local _, value = assert(ready.wait(probe, { on_attempt = function(n, err)
    asked = n
    if n <= 2 then assert.is_string(err) end
    if n == 2 then vmctl.spawn(fn) end
  end }))
  assert.is_true(asked > 2)
  return value
end

local function message(...) return (select(2, ...)) end

-- A machine whose QEMU is this script. Its standard output is the console, both ways.
local function machine(script)
  local path = support.tmpdir() .. "/qemu"
  local file <close> = assert(io.open(path, "w"))
  file:write("#!/bin/sh\n", script, "\n")
  file:close()
  assert(core.fs.chmod(path, 448))
  return assert(vmctl.machine.launch { name = "stub", qemu = path, kernel = path, channel = "mux" })
end

describe("vmctl.ready.wait", function()
  it("gives the seconds and the probe's value", run(function()
    local seconds, value = ready.wait(function() return "here" end)
    assert.equal("here", value)
    assert.is_true(seconds >= 0)
  end))

  it("asks again with growing pauses, up to the interval", run(function()
    local times = {}
    support.passed(ready.wait, function() times[#times + 1] = vmctl.now() end, { timeout = 24, interval = 4 })
    assert.is_true(#times >= 8 and #times <= 30, #times .. " attempts")
    assert.is_true(times[2] - times[1] < 2)
    assert.is_true(times[#times - 1] - times[#times - 2] > 2.8)
  end))

  it("asks at least once, and does not spin with an interval of 0", run(function()
    local count = 0
    assert.equal("ETIMEDOUT", code(ready.wait(function() count = count + 1 end, 0)))
    assert.equal(1, count)
    ready.wait(function() count = count + 1 end, { timeout = 0.1, interval = 0 })
    assert.is_true(count < 150, count .. " attempts")
  end))

  it("says on a time-out what it waited for, how long, how often, and what it saw last", run(function()
    local paint = ready.fn(function() return nil, "the paint is wet" end, "the paint")
    local _, nothing, err, why = support.passed(ready.wait, paint, 0.1)
    assert.is_nil(nothing)
    assert.matches("^wait for the paint: not ready after 0%.1 s, %d+ attempts; the last: the paint is wet$", err)
    assert.equal("ETIMEDOUT", why)
  end))

  it("remembers the last real answer when the last attempt has no time left", run(function()
    local count = 0
    local _, _, err = support.passed(ready.wait, function()
      count = count + 1
      if count < 3 then return nil, "state booting" end
      return vmctl.sleep(5)
    end, 0.2)
    assert.matches("3 attempts; the last: state booting$", err)
  end))

  for _, final in ipairs { "EINVAL", "ECLOSED", "ENOTSUP", "EACCES", "EPERM" } do
    it("ends at once with " .. final .. ", which no waiting mends", run(function()
      local count = 0
      local _, err, why = ready.wait(function()
        count = count + 1
        return nil, "no way", final
      end)
      assert.equal("wait for function: it cannot become ready: no way (0.0 s, 1 attempt)", err)
      assert.equal(final, why)
      assert.equal(1, count)
    end))
  end

  for _, again in ipairs { "ENOENT", "ECONNREFUSED", "ECONNRESET", "EAGAIN", "ENODEV", "EOF", "EPIPE", "ETIMEDOUT", "ERESET" } do
    it("asks again after " .. again, run(function()
      local count = 0
      assert(ready.wait(function()
        count = count + 1
        if count > 2 then return true end
        return nil, "not yet", again
      end))
      assert.equal(3, count)
    end))
  end

  it("bounds each attempt", run(function()
    local count = 0
    assert(ready.wait(function()
      count = count + 1
      return count > 3 or vmctl.sleep(math.huge)
    end, { attempt_timeout = 0.05, timeout = 30 }))
    assert.equal(4, count)
  end))

  it("tells of each attempt", run(function()
    local seen = {}
    ready.wait(function() return #seen == 2 or nil, "not yet", "EAGAIN" end,
      { on_attempt = function(...) seen[#seen + 1] = table.pack(...) end })
    assert.same({ { 1, "not yet", "EAGAIN", n = 3 }, { 2, "not yet", "EAGAIN", n = 3 }, { 3, n = 3 } }, seen)
  end))

  it("lets an error of the function through", run(function()
    assert.matches("a bug", message(pcall(ready.wait, function() error "a bug" end)))
  end))

  it("raises for what is no probe, and for unknown options", run(function()
    assert.matches("ready_spec.lua:%d+: ready: a probe or a function expected, got number",
      message(pcall(function() local x = ready.wait(5) return x end)))
    assert.matches("ready_spec.lua:%d+: ready.wait: unknown option 'time_out'",
      message(pcall(function() local x = ready.wait(print, { time_out = 5 }) return x end)))
    assert.has_error(function() ready.file(5, "/x") end)
    assert.has_error(function() ready.file(host, "") end)
    assert.has_error(function() ready.port(host, 70000) end)
    assert.has_error(function() ready.command(host, 5) end)
    assert.has_error(function() ready.console(host, "x") end)
  end))

  it("ends when its task is cancelled", run(function()
    local result
    local task = vmctl.spawn(function() result = table.pack(ready.wait(function() return nil, "not yet" end)) end)
    support.settle()
    task:cancel()
    task:join()
    assert.equal("ECANCELED", result[3])
    assert.matches("given up after .*the last: not yet$", result[2])
  end))

  it("ends with the limit around it", run(function()
    local _, _, why = vmctl.timeout(0.1, ready.wait, function() return false end)
    assert.equal("ETIMEDOUT", why)
  end))

  it("works in a plain script", function()
    assert.is_true(ready.wait(ready.exec(host)) < 5)
  end)

  it("tells the log that it still waits", run(function()
    local log, lines = vmctl.log, {}
    local write, clock = log.write, core.now
    log.write = function(text) lines[#lines + 1] = text end
    log.set_level "info"
    local ahead = 0
    core.now = function() return clock() + ahead end -- six seconds pass with the second attempt
    local fine, err = pcall(ready.wait, ready.fn(function()
      ahead = ahead + 3
      return ahead > 8 or nil, "not yet"
    end, "the moon"))
    core.now, log.write = clock, write
    log.set_level "off"
    assert.is_true(fine, err)
    assert.equal(1, #lines)
    assert.matches("info: still waiting for the moon %(%d+%.%d s, 2 attempts, last: not yet%)", lines[1])
  end))
end)

describe("vmctl.ready.port", function()
  it("waits for a socket that is not there yet", run(function()
    local path = "unix:" .. support.tmpdir() .. "/sock"
    local listener
    assert.is_true(wait_meanwhile(ready.port(path), function() listener = assert(vmctl.listen(path)) end))
    listener:close()
  end))

  it("waits for bytes where a connect proves nothing", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local server = vmctl.spawn(function()
      assert(listener:accept()):close()                -- as a forwarder whose guest is not up
      local s <close> = assert(listener:accept())
      s:write "SSH-2.0-OpenSSH\r\n"
    end)
    local _, banner = assert(ready.wait(ready.port(listener:address(), { expect = "^SSH%-" })))
    assert.equal("SSH-2.0-OpenSSH\r\n", banner)
    server:join()
    listener:close()
  end))

  it("says something first where it is asked to, and gathers until the pattern is there", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local server = vmctl.spawn(function()
      local s <close> = assert(listener:accept())
      assert.equal("PING", s:read_exact(4))
      s:write "PO"
      support.settle()
      s:write "NG."
    end)
    local probe = ready.port(listener:address(), { send = "PING", expect = "PONG.", plain = true })
    assert.equal("PONG.", select(2, ready.wait(probe)))
    server:join()
    listener:close()
  end))

  it("reads any byte with read", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local err = message(ready.wait(ready.port(listener:address(), { read = true }), { timeout = 0.2, attempt_timeout = 0.1 }))
    assert.matches("not ready after", err)
    listener:close()
  end))

  it("sees a port as the guest does", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local port = listener:address().port
    assert(ready.wait(ready.port(host, port)))
    assert(ready.wait(ready.port(host, port, "127.0.0.1")))
    listener:close()
    local err = message(ready.wait(ready.port(host, port, { read = true }), 0.1))
    assert.matches("^wait for port 127.0.0.1:" .. port .. " of host: not ready .* refused", err)
  end))

  it("does not take a meeting with itself for a listener", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local port = listener:address().port
    local self_made = function()
      local s, err, why = vmctl.dial("tcp:127.0.0.1:" .. port)
      if not s then return nil, err, why end
      return setmetatable({}, { __index = function(_, name)
        return function(_, ...)
          if name == "peer" then return s:address() end
          return s[name](s, ...)
        end
      end, __close = function() s:close() end })
    end
    local client = { run = print, start = print, forward = self_made }
    assert.matches("nobody listens", message(ready.wait(ready.port(client, port), 0.05)))
    listener:close()
  end))

  it("fails at once with a wrong address", run(function()
    assert.equal("EINVAL", code(ready.wait(ready.port "nonsense")))
    assert.equal("ENAMETOOLONG", code(ready.wait(ready.exec("unix:/" .. ("x"):rep(200)))))
    assert.equal("EINVAL", code(ready.wait(ready.stereos "tcp:::")))
  end))
end)

describe("vmctl.ready.exec", function()
  it("waits for an agent", run(function()
    local path = "unix:" .. support.tmpdir() .. "/sock"
    local server
    assert.equal("vmctl", wait_meanwhile(ready.exec(path), function()
      local listener = assert(vmctl.listen(path))
      server = { listener = listener, task = vmctl.spawn(vmctl.exec.serve, listener) }
    end))
    server.listener:close()
    server.task:join()
  end))

  it("asks an agent that it knows already once more", run(function()
    agent.serve(function(client, address)
      assert(client:probe())
      assert(ready.wait(ready.exec(client)))
      assert(os.remove(address:match "^unix:(.*)"))
      assert.matches("No such file", message(ready.wait(ready.exec(client), 0.05)))
    end)
  end))
end)

describe("vmctl.ready.stereos", function()
  local wire = vmctl.stereos

  -- A guest that answers each line with what `answer` makes of the request's type.
  local function guest(fn, answer)
    local path = "unix:" .. support.tmpdir() .. "/sock"
    local listener = assert(vmctl.listen(path))
    local server = vmctl.spawn(function()
      for s in function() return (listener:accept(math.huge)) end do
        for line in function() return (s:read_line()) end do
          local reply = answer(wire.decode(line).type)
          if not reply then break end
          s:write(reply .. "\n")
        end
        s:close()
      end
    end)
    fn(path)
    listener:close()
    server:cancel()
    server:join()
  end

  local function health(state) return wire.envelope("health", { state = state, uptime_seconds = 7 }) end

  it("waits through connections that end, and until the state is ready", run(function()
    local states, count = { false, "booting", "degraded", "ready" }, 0
    guest(function(path)
      local seen = {}
      local _, value = assert(ready.wait(ready.stereos(path), { on_attempt = function(_, err) seen[#seen + 1] = err or "good" end }))
      assert.equal("ready", value.state)
      assert.equal(7, value.uptime_seconds)
      assert.same({ "state booting", "state degraded", "good" }, { table.unpack(seen, 2) })
    end, function()
      count = count + 1
      return states[count] and health(states[count])
    end)
  end))

  it("takes a client, and healthy as well", run(function()
    guest(function(path)
      local client <close> = assert(vmctl.stereos.client(path))
      assert.equal("healthy", select(2, assert(ready.wait(ready.stereos(client)))).state)
    end, function() return health "healthy" end)
  end))

  it("ends when the guest shuts down", run(function()
    guest(function(path)
      local _, err, why = ready.wait(ready.stereos(path))
      assert.equal("ESHUTDOWN", why)
      assert.matches("it cannot become ready: state shutdown", err)
    end, function() return health "shutdown" end)
  end))

  it("is content with a pong of a guest that knows no get_health", run(function()
    guest(function(path)
      assert.same({ state = "unknown", agents = {} }, select(2, assert(ready.wait(ready.stereos(path)))))
    end, function(kind)
      if kind == "ping" then return wire.envelope "pong" end
      return wire.envelope("ack", { reply_to = kind, ok = false, error = "unknown message type: " .. kind })
    end)
  end))

  it("says which state it saw last", run(function()
    guest(function(path)
      assert.matches("^wait for stereos on unix:.*; the last: state booting$", message(ready.wait(ready.stereos(path), 0.1)))
    end, function() return health "booting" end)
  end))

  it("asks the server of this library", run(function()
    local path = "unix:" .. support.tmpdir() .. "/sock"
    local listener = assert(vmctl.listen(path))
    local server = vmctl.stereos.server {}
    local serving = vmctl.spawn(server.serve, server, listener)
    server:lifecycle "booting"
    assert.equal("ready", wait_meanwhile(ready.stereos(path), function() server:lifecycle "ready" end).state)
    listener:close()
    serving:join()
  end))
end)

describe("vmctl.ready.file and command", function()
  it("wait until the file is there", run(function()
    local path = support.tmpdir() .. "/flag"
    local probe = ready.file(host, path)
    assert.equal(("wait for file %s on host: not ready after N s, "):format(path),
      message(ready.wait(probe, 0.1)):match "^.-s, ":gsub("%d+%.%d s", "N s"))
    assert.is_true(wait_meanwhile(probe, function() io.open(path, "w"):close() end))
  end))

  it("wait until the command succeeds, and tell how it failed", run(function()
    local path = support.tmpdir() .. "/flag"
    local probe = ready.command(host, { "sh", "-c", 'test -e "$1" || { echo no flag >&2; exit 3; }; echo up', "sh", path })
    assert.matches("; the last: exit code 3: no flag$", message(ready.wait(probe, 0.1)))
    assert.equal("up\n", wait_meanwhile(probe, function() io.open(path, "w"):close() end).stdout)
  end))

  it("take a command that hangs, or is not there, for not yet", run(function()
    local err = message(ready.wait(ready.command(host, "echo stuck >&2; sleep 60"), { timeout = 0.4, attempt_timeout = 0.15 }))
    assert.matches("not finished in time: stuck$", err)
    assert.matches("No such file", message(ready.wait(ready.command(host, { "/no/such/program" }), 0.1)))
  end))
end)

describe("vmctl.ready.console", function()
  it("waits for a pattern in what has come and in what comes", run(function()
    local vm <close> = machine "echo Linux version 6.1; read line <&1; printf 'login (x):'; exec sleep 1000"
    assert.equal("version 6.1", select(2, assert(ready.wait(ready.console(vm, "version [%d.]+")))))
    vmctl.spawn(vm.console_write, vm, "\n")
    assert.equal("n (x)", select(2, assert(ready.wait(ready.console(vm, "n (x)", { plain = true })))))
    local _, err, why = ready.wait(ready.console(vm, "never"), 0.1)
    assert.equal("ETIMEDOUT", why)
    assert.matches("^stub: wait for 'never' on the console of stub: .*\nthe console's last lines:\nLinux version 6.1\nlogin", err)
  end))

  it("ends at once when the machine ends", run(function()
    local vm <close> = machine "read line <&1; exit 1"
    vmctl.spawn(vm.console_write, vm, "\n")
    local _, err, why = ready.wait(ready.console(vm, "login:"))
    assert.equal("ERESET", why)
    assert.matches("the machine has ended; QEMU ended with exit code 1", err)
    err = message(ready.all { vm = ready.console(vm, "login:"), function() return false end })
    assert.matches("^wait for 2: 2 not ready: vm %('login:' on the console of stub%): the machine has ended; QEMU ended with exit code 1; ",
      err)
  end))
end)
