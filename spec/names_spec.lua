local assert = require "luassert"
local vmctl = require "vmctl"

describe("vmctl", function()
  local functions = { "run", "spawn", "spawn_in", "scope", "all", "map", "race", "timeout", "sleep", "yield", "now", "wrap",
    "in_task", "format", "channel", "lock", "dial", "listen", "pair", "relay", "pipeline" }
  for _, name in ipairs(functions) do
    it("has the function " .. name, function() assert.equal("function", type(vmctl[name])) end)
  end

  local parts = {
    address = "parse", errors = "fail", json = "encode", log = "sanitize", vsock = "dial", exec = "client", host = "run",
    machine = "launch", process = "spawn", mux = "connect", signals = "number", loop = "step",
    l2 = "switch",
    stereos = "connect", ready = "wait", config = "push",
  }
  for name, member in pairs(parts) do
    it("loads " .. name .. " when it is first used", function()
      assert.equal("function", type(vmctl[name][member]))
    end)
  end

  it("has nothing under any other name", function() assert.is_nil(vmctl.no_such_part) end)
end)

describe("vmctl.stereos", function()
  it("has the names of the reference's package", function()
    local stereos = vmctl.stereos
    assert.same({ 1024, 3, 10 }, { stereos.PORT, stereos.GUEST_CID, stereos.DEFAULT_TIMEOUT })
    assert.same({
      PING = "ping", GET_HEALTH = "get_health", SET_CONFIG = "set_config", INJECT_SECRET = "inject_secret",
      INJECT_SSH_KEY = "inject_ssh_key", MOUNT = "mount", SHUTDOWN = "shutdown", PONG = "pong", HEALTH = "health",
      ACK = "ack", LIFECYCLE = "lifecycle",
    }, stereos.types)
    for _, name in ipairs { "envelope", "decode", "connect", "client", "serve", "server" } do
      assert.equal("function", type(stereos[name]), name)
    end
    local client = assert(stereos.client())
    for _, name in ipairs { "close", "ping", "get_health", "set_config", "inject_secret", "inject_ssh_key", "mount",
      "shutdown", "wait_for_ready", "on_lifecycle", "events" } do
      assert.equal("function", type(client[name]), name)
    end
  end)

  it("has an address for each of the reference's transports", function()
    local address = vmctl.address
    assert.equal("tcp:HOST:7", tostring(address.tcp("HOST", 7)))
    assert.equal("vsock:CID=3,port=1024", address.vsock(3, 1024):label "stereos")
    assert.equal("label", tostring(address.func(function() end, "label")))
    assert.equal("chardev:/a", tostring(address.chardev "/a"))
    assert.equal("serial:/dev/vport0p1", tostring(address.serial "/dev/vport0p1"))
    for _, each in ipairs { address.tcp("HOST", 7), address.chardev "/a" } do assert.equal("function", type(each.dial)) end
  end)
end)

describe("vmctl.l2", function()
  for _, name in ipairs { "dial", "listen", "socketpair", "port", "switch" } do
    it("has the function " .. name, function() assert.equal("function", type(vmctl.l2[name])) end)
  end

  local function has_methods(object, names)
    for _, name in ipairs(names) do assert.equal("function", type(object[name]), name) end
    object:close()
  end

  it("gives ports, listeners and switches with the methods that were promised", function()
    local a, b = vmctl.l2.socketpair()
    b:close()
    has_methods(a, { "send", "send_many", "recv", "recv_many", "set_handler", "hwaddr", "done", "close", "address", "stats" })
    has_methods(assert(vmctl.l2.listen "tcp:127.0.0.1:0"), { "accept", "address", "close" })
    local sw = vmctl.l2.switch()
    for _, name in ipairs { "remove", "counts", "state", "wait_connected", "cut", "heal", "faults" } do
      assert.equal("function", type(sw:dial("unix:/none")[name]), name)
    end
    has_methods(sw, { "listen", "dial", "add", "port", "ports", "faults", "cut", "partition", "heal", "tap", "capture",
      "addresses", "counts", "inject", "close" })
  end)
end)

describe("vmctl.exec", function()
  it("names all message types of both revisions", function()
    assert.same({
      EXEC = 1, EXEC_RESULT = 2, STDOUT = 3, STDERR = 4, SIGNAL = 5, READY = 6, STDIN = 7, RESIZE = 8, EXEC_TTY = 9,
      EXIT = 10, EXEC_STREAM = 11, EXEC_PIPE = 12, PORT_FORWARD = 13, WRITE_FILE = 14, READ_FILE = 15, LIST_FILES = 16,
      FILE_RESULT = 17,
    }, vmctl.exec.types)
  end)
end)
