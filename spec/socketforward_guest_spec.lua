-- A real guest: its processes talk to servers of this host through forwarded sockets.
-- Also in kvm: the listeners are of AF_VSOCK.
local assert = require "luassert"
local agent_ports = require "vmctl.net.agent_ports"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local sf = require "spec.support.socketforward"
local support = require "spec.support"
local template = require "spec.support.template"
local vmctl = require "vmctl"

local MIB = 1 << 20
local SIZE = (math.tointeger(tonumber(os.getenv "VMCTL_FORWARD_MIB")) or 64) * MIB -- each way
local LIMIT = 60 + SIZE // MIB // 2 -- seconds: an emulated guest carries some ten MiB a second each way

-- The program in the guest: a client of a forwarded socket. It prints one line.
local CLIENT = [==[
local vmctl = require "vmctl"
local agent_ports = require "vmctl.net.agent_ports"
local core = require "vmctl.core"
local what, path, n = ...
n = math.tointeger(tonumber(n))

local function connect()
  return assert(vmctl.dial("unix:" .. path, { timeout = 60 }))
end

local function ask(text)
  local s <close> = connect()
  local sent = s:write(text, 60)
  return sent and s:read_exact(#text, 60) == text and "ok" or "refused" -- while it writes, or when it reads
end

local actions = {}

function actions.ask() print(ask "hello") end

function actions.many()
  local list, open, good = {}, 0, 0
  local all = core.queue()
  for i = 1, n do list[i] = i end
  vmctl.map(list, function(i)
    local s <close> = connect()
    local text = ("connection %d;"):format(i)
    assert(s:write(text, 60))
    assert(s:read_exact(#text, 60) == text)
    open = open + 1
    if open == n then all:wake() else all:wait(60) end -- all are open at the same time
    assert(s:write(text, 60))
    if s:read_exact(#text, 60) == text then good = good + 1 end
  end)
  print(good, open)
end

function actions.both_ways()
  local s <close> = connect()
  local piece, sent, got = ("0123456789abcdef"):rep(4096), core.sha256(), core.sha256()
  vmctl.scope(function(scope)
    vmctl.spawn_in(scope, function()
      for _ = 1, n // #piece do
        assert(s:write(piece, 60))
        sent:update(piece)
      end
      assert(s:shutdown(60))
    end)
    local count = 0
    for data in function() return s:read(65536, 60) end do
      got:update(data)
      count = count + #data
    end
    print(count)
  end)
  print(sent:hex(), got:hex())
end

vmctl.run(actions[what])
]==]

guest.on_each_channel(describe, "socket forwarding out of a real guest", function(channel)
  local vm

  lazy_setup(function()
    vm = template.start { name = "forward", channel = channel }
    assert(vm:write_file("/tmp/client.lua", CLIENT))

  end)
  lazy_teardown(function()
    if vm then vm:close() end
  end)

  local function client(...)
    local command = { "/sbin/vmctl-agent", "--lua", "/tmp/client.lua", ... }
    command.timeout = LIMIT
    local result = assert(vm:run(command))
    assert.equal(0, result.exit_code, result.stderr)
    return result.stdout
  end

  -- Runs a body with a server of this host and a forwarder to it.
  local function with(handle, fn, runner)
    return (runner or support.run)(function()
      local path = support.tmpdir() .. "/host.sock"
      vmctl.scope(function(scope)
        local listener
        local function serve()
          listener = assert(vmctl.listen("unix:" .. path))
          vmctl.spawn_in(scope, function()
            for stream in function() return (listener:accept()) end do
              vmctl.spawn_in(scope, function()
                handle(stream)
                stream:close()
              end)
            end
          end)
        end
        serve()
        local f = assert(vm:socketforward { spec = { guest_path = "/run/socketfwd/spec.sock", host_path = path } })
        local ok, err = xpcall(fn, debug.traceback, f, { serve = serve, stop = function() listener:close() end })
        f:unbind()
        f:close()
        listener:close()
        vmctl.sleep(0.1)
        scope:cancel()
        if not ok then error(err, 0) end
      end)
    end, LIMIT)
  end

  -- The machine's connections open here, and stay open.
  it("is had through the machine, with the other services beside it", function()
    local f = assert(vm:socketforward { first = { guest_path = "/run/socketfwd/first.sock", host_path = "/nobody" } })
    assert.equal("serving", f:status().state)
    assert.equal("711 666\n", assert(vm:run { "sh", "-c", "echo $(stat -c %a /run/socketfwd /run/socketfwd/first.sock)" }).stdout)
    local client_of <close> = assert(vmctl.ttrpc.connect(vm:address(agent_ports.FORWARD)))
    local info = assert(client_of:call("containerd.vminitd.services.system.v1.System", "Info"))
    assert.matches("^Linux version", info.kernel_version)
    local bundle = "containerd.vminitd.services.bundle.v1.Bundle"
    assert.equal("/run/bundles/c1", assert(client_of:call(bundle, "Create", { id = "c1", files = { ["config.json"] = "{}" } })).bundle)
    assert.equal("{}", assert(vm:read_file "/run/bundles/c1/config.json"))
    assert.equal("ALREADY_EXISTS", support.code(client_of:call(bundle, "Create", { id = "c1" })))
    assert.equal("INVALID_ARGUMENT", support.code(client_of:call(bundle, "Create", { id = "../x" })))
    assert.equal("INVALID_ARGUMENT", support.code(client_of:call(bundle, "Create", { id = "c2", files = { ["../x"] = "" } })))
    f:close()
  end)

  it("answers, through a server that is killed and started again", with(sf.echo, function(f, host)
    assert.equal("ok\n", client("ask", "/run/socketfwd/spec.sock"))
    host.stop()
    assert.equal("refused\n", client("ask", "/run/socketfwd/spec.sock"))
    assert.equal(1, f:stats().failed)
    host.serve()
    assert.equal("ok\n", client("ask", "/run/socketfwd/spec.sock"))
  end))

  it("goes on when the Accept stream, and then the connection, broke", with(sf.echo, function(f)
    assert.equal("ok\n", client("ask", "/run/socketfwd/spec.sock"))
    f:reopen()
    support.eventually(function() return f:status().reopened == 1 end)
    assert.equal("ok\n", client("ask", "/run/socketfwd/spec.sock"))
    f:client():close()
    assert.equal("ok\n", client("ask", "/run/socketfwd/spec.sock"))
    assert.same({ state = "serving", reopened = 2 }, f:status())
  end, function(fn, limit) -- without the search for what is left open: the machine has another connection afterwards
    return function() vmctl.run(vmctl.timeout, limit, fn) end
  end))

  it("has 500 connections open at once", with(sf.echo, function(f)
    assert.equal("500\t500\n", client("many", "/run/socketfwd/spec.sock", "500"))
    local stats = f:stats()
    assert.same({ 500, 0 }, { stats.total, stats.failed })
    assert.equal(stats.to_host, stats.to_guest)
  end))

  local host_sent, host_got, host_has_ended
  it("carries much both ways at once, every byte", with(function(stream)
    local piece = ("fedcba9876543210"):rep(4096)
    host_sent, host_got = core.sha256(), core.sha256()
    vmctl.scope(function(scope)
      vmctl.spawn_in(scope, function()
        for _ = 1, SIZE // #piece do
          assert(stream:write(piece, 60))
          host_sent:update(piece)
        end
        assert(stream:shutdown(60))
      end)
      for data in function() return stream:read(65536, 60) end do host_got:update(data) end
    end)
    host_has_ended = true
  end, function(f)
    local began = vmctl.now()
    local out = client("both_ways", "/run/socketfwd/spec.sock", tostring(SIZE))
    -- The last bytes are on their way when the client has ended, and the host may have to read them when the forwarder has.
    support.eventually(function() return host_has_ended and f:stats().open == 0 end)
    local took = vmctl.now() - began
    local count, sent, got = out:match "^(%d+)\n(%x+)\t(%x+)\n$"
    assert.equal(tostring(SIZE), count)
    assert.equal(host_got:hex(), sent)
    assert.equal(host_sent:hex(), got)
    assert.same({ SIZE, SIZE }, { f:stats().to_host, f:stats().to_guest })
    if os.getenv "VMCTL_FORWARD_MIB" then print(("%d MiB each way in %.1f s"):format(SIZE // MIB, took)) end
  end))
end)
