-- Addresses inside a guest: exec's connections to its ports and, with agents of ours, to its Unix sockets.
local agent = require "spec.support.agent"
local forwarding = require "spec.support.forward"
local reference = require "spec.support.reference"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local code, run = support.code, support.run
local T = wire.types

local function with_agent(fn)
  return run(function() agent.serve(fn) end)
end

describe("target:inside", function()
  it("shows the target and what it is there", function()
    local client = assert(vmctl.exec.client "vsock:3:5000")
    assert.equal("vsock:3:5000!unix:/run/docker.sock", tostring(client:inside "unix:/run/docker.sock"))
    assert.equal("host!tcp:[::1]:80", tostring(vmctl.host:inside { kind = "tcp", host = "::1", port = 80 }))
    local at = client:inside "tcp:127.0.0.1:80"
    assert.same({ "inside", client, 80 }, { at.kind, at.target, at.at.port })
    assert.is_true(vmctl.address.is_address(at))
    assert.equal(at, vmctl.address.parse(at))
  end)

  it("returns EINVAL or ENAMETOOLONG for what is neither a port nor a socket", function()
    for where, want in pairs {
      ["vsock:3:80"] = "EINVAL", ["exec:true"] = "EINVAL", ["nonsense"] = "EINVAL", ["tcp:127.0.0.1:65536"] = "EINVAL",
      ["unix:" .. ("x"):rep(108)] = "ENAMETOOLONG",
    } do
      local at, message, name = vmctl.host:inside(where)
      assert.is_nil(at)
      assert.equal(want, name, message)
    end
    assert.has_error(function() vmctl.host:inside(5) end)
    assert.equal("EINVAL", code(vmctl.host:inside(vmctl.host:inside "unix:/a")))
  end)

  it("can be dialled: a socket, one in the abstract namespace, a port", with_agent(function(client)
    local abstract = "unix:@" .. forwarding.path():sub(2):gsub("/", "-")
    for _, where in ipairs { "unix:" .. forwarding.path(), abstract, "tcp:127.0.0.1:0" } do
      local server <close> = forwarding.serve(where, forwarding.shout)
      local at = assert(client:inside(server.address))
      assert.equal("ASKED", forwarding.ask(at, "asked"))
      local stream <close> = assert(at:dial(2))
      assert.truthy(stream:label():find(server.address:match "[^:]+$", 1, true))
    end
  end))

  it("is a place for a client of another protocol", with_agent(function(client)
    agent.serve(function(_, address)
      local inner = assert(vmctl.exec.client(client:inside(address)))
      assert.equal("through\n", assert(inner:run { "echo", "through" }).stdout)
    end)
  end))

  it("says why the agent could not reach it", with_agent(function(client)
    local path = forwarding.path()
    local stream, message, name, said = vmctl.dial(client:inside("unix:" .. path))
    assert.is_nil(stream)
    assert.equal("EREMOTE", name)
    assert.truthy(message:find(path, 1, true))
    assert.is_nil(said)
    assert.truthy(select(4, client:connect("unix:" .. path)):find "No such file")
  end))

  it("waits no longer than it was told to", run(function()
    local listener <close> = assert(vmctl.listen("unix:" .. forwarding.path()))
    local client = assert(vmctl.exec.client(listener:address(), { revision = "vmctl" }))
    local seconds, _, _, why = support.passed(vmctl.dial, client:inside "unix:/x", 10)
    assert.equal("ETIMEDOUT", why)
    assert.is_true(seconds >= 10 and seconds < 25, seconds)
  end))
end)

describe("an agent without sockets", function()
  it("of the reference is not asked", run(function()
    for _, revision in ipairs { "0.2", "0.1.9" } do
      reference.serve(revision, function(address)
        local client = assert(vmctl.exec.client(address, { revision = revision }))
        local stream, message, name = client:connect "unix:/run/x.sock"
        assert.is_nil(stream)
        assert.equal("ENOTSUP", name)
        assert.truthy(message:find("unix:/run/x.sock", 1, true))
      end)
    end
  end))

  it("of ours, an older one, refuses", run(function()
    local near, far = support.pair { format = wire.format }
    local client = assert(vmctl.exec.client(function() return near end, { revision = "vmctl" }))
    vmctl.spawn(function()
      local asked = far:read_frame()
      assert.equal(T.PORT_FORWARD, asked)
      far:write_frame(T.STDERR, "bad port forward request\n")
      far:close()
    end)
    assert.equal("EREMOTE", code(client:connect "unix:/run/x.sock"))
  end))
end)

describe("an agent that is asked for a connection", function()
  local function ask(address, body)
    local stream <close> = assert(vmctl.dial(address, { format = wire.format }))
    assert(stream:write_frame(T.PORT_FORWARD, body))
    local type, text = stream:read_frame(30)
    return type, text
  end

  it("refuses what makes no sense with a text", with_agent(function(_, address)
    for _, body in ipairs {
      '{"path":7}', '{"path":""}', '{"path":"a\\u0000b"}', '{"path":"@"}', '{"path":null,"port":0}', '{"path":["/x"]}',
      '{"path":"' .. ("x"):rep(108) .. '"}', '{"host":"no host","port":80}', '{"host":"","port":80}', "[]", "",
    } do
      local type, text = ask(address, body)
      assert.equal(T.STDERR, type, body)
      assert.equal("bad port forward request\n", text)
    end
  end))

  it("takes a path before a port", with_agent(function(_, address)
    local server <close> = forwarding.serve("unix:" .. forwarding.path(), forwarding.echo)
    local path = server.address:sub(6)
    assert.equal(T.READY, (ask(address, ('{"path":"%s","host":"127.0.0.1","port":1}'):format(path))))
  end))

  it("for a path that JSON cannot carry is not asked", with_agent(function(client)
    local stream, message, name = client:connect { kind = "unix", path = "/\xff" }
    assert.is_nil(stream)
    assert.equal("EINVAL", name)
    assert.is_string(message)
  end))
end)
