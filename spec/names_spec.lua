local assert = require "luassert"
local vmctl = require "vmctl"

describe("vmctl", function()
  local functions = { "run", "spawn", "spawn_in", "scope", "all", "map", "race", "timeout", "sleep", "yield", "now", "wrap",
    "in_task", "format", "channel", "lock", "dial", "listen", "pair", "relay", "pipeline", "forward",
    "replay" }
  for _, name in ipairs(functions) do
    it("has the function " .. name, function() assert.equal("function", type(vmctl[name])) end)
  end

  local parts = {
    address = "parse", errors = "fail", json = "encode", log = "sanitize", vsock = "dial", exec = "client", host = "run",
    machine = "launch", process = "spawn", mux = "connect", signals = "number", loop = "step",
    l2 = "switch", qmp = "connect", qga = "connect",
    stereos = "connect", ready = "wait", config = "push", socketforward = "forward", scenario = "machines",
    ttrpc = "connect", protobuf = "encode", trace = "start", clock = "virtual", doctor = "check", cc = "connect", cc_helper = "new",
  }
  for name, member in pairs(parts) do
    it("loads " .. name .. " when it is first used", function()
      assert.equal("function", type(vmctl[name][member]))
    end)
  end

  it("has nothing under any other name", function() assert.is_nil(vmctl.no_such_part) end)
end)

-- All are functions, or callable.
local function functions_of(object, names)
  for name in names:gmatch "%S+" do
    local value = object[name]
    local meta = getmetatable(value)
    assert.is_true(type(value) == "function" or type(meta) == "table" and meta.__call ~= nil, name)
  end
end

describe("vmctl.vsock", function()
  it("has the names of the reference's package", function()
    local vsock = vmctl.vsock
    assert.same({ 40, 0xffffffff, 0, 1, 2, 0xffffffff, 0x7b9 }, { vsock.AF_VSOCK, vsock.CID_ANY, vsock.CID_HYPERVISOR, vsock.CID_LOCAL,
      vsock.CID_HOST, vsock.PORT_ANY, vsock.IOCTL_GET_LOCAL_CID })
    functions_of(vsock, "local_cid address dial listen")
    local at = vsock.address(3, 5000)
    assert.same({ 3, 5000, "vsock", "3:5000" }, { at.cid, at.port, at.network, tostring(at) })
    local near, far = vmctl.pair()
    functions_of(near, "read write close fileno detach address peer set_timeout read_frame write_frame")
    near:close()
    far:close()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    functions_of(listener, "accept address close")
  end)
end)

describe("vmctl.socketforward and vmctl.ttrpc", function()
  it("have the names of the reference's packages", function()
    local socketforward, ttrpc = vmctl.socketforward, vmctl.ttrpc
    functions_of(socketforward, "generate_stream_id forward_id service streams forward")
    functions_of(socketforward.service(), "register bind unbind accept serve_streams stats shutdown close")
    functions_of(socketforward.streams(), "serve claim count close")
    functions_of(ttrpc, "connect client serve server service services")
    if not require("vmctl.protobuf").available then return end
    local near, far = vmctl.pair()
    local client, server = assert(ttrpc.client(near)), assert(ttrpc.server {})
    functions_of(client, "call stream stats closed close")
    functions_of(server, "register serve converse shutdown close")
    client:close()
    far:close()
  end)
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
    assert.same({ BOOTING = "booting", READY = "ready", HEALTHY = "healthy", DEGRADED = "degraded", SHUTDOWN = "shutdown" }, stereos.states)
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
  it("has messages as tables", function()
    functions_of(vmctl.exec, "encode_request decode_request encode_response decode_response client")
    assert.equal("userdata", type(vmctl.exec.format))
  end)

  it("names all message types of both revisions", function()
    assert.same({
      EXEC = 1, EXEC_RESULT = 2, STDOUT = 3, STDERR = 4, SIGNAL = 5, READY = 6, STDIN = 7, RESIZE = 8, EXEC_TTY = 9,
      EXIT = 10, EXEC_STREAM = 11, EXEC_PIPE = 12, PORT_FORWARD = 13, WRITE_FILE = 14, READ_FILE = 15, LIST_FILES = 16,
      FILE_RESULT = 17,
    }, vmctl.exec.types)
  end)
end)

describe("vmctl.cc", function()
  local cc = vmctl.cc

  it("has the names of the reference's package", function()
    functions_of(cc, "encoder decoder response mux server connect client spawn socket_path find_helper use_helper " ..
      "reset_use_helper")
    assert.equal(6, cc.HEADER_SIZE)
    assert.equal("userdata", type(cc.format))
    local structures = "error mount_config instance_options file_info dir_entry dir_entries snapshot_options dockerfile_options"
    local primitives = "bool uint8 uint16 uint32 uint64 int32 int64 string string_slice "
    functions_of(cc.encoder(), primitives .. "write_bytes bytes reset " .. structures)
    functions_of(cc.decoder "", primitives .. "bytes remaining failed " .. structures)
    functions_of(cc.response(), primitives .. "write_bytes file_info success build")
    functions_of(cc.mux(), "handle handler")
    functions_of(assert(cc.server(nil, cc.mux())), "serve serve_one converse close socket_path")
  end)

  it("gives objects with the methods that were promised", function()
    local near, far = vmctl.pair()
    local client = cc.client(near)
    functions_of(client, "call close alive instance current_instance build_dockerfile")
    local vm = client:current_instance()
    functions_of(vm, "id is_running wait close exec set_console set_network command entrypoint listen")
    functions_of(vm.fs, "open create open_file read_file write_file stat lstat remove remove_all mkdir mkdir_all rename " ..
      "symlink readlink read_dir chmod chown chtimes snapshot")
    client:close()
    far:close()
  end)
end)

describe("require 'vmctl'", function()
  it("loads tasks and the log alone: what is not used costs no time, and the collector no work", function()
    require("spec.support.script").check [[
      local vmctl = require "vmctl"
      local function loaded()
        local names = {}
        for name in pairs(package.loaded) do if name:find "^vmctl%." then names[#names + 1] = name:sub(7) end end
        table.sort(names)
        return table.concat(names, " ")
      end
      assert(loaded() == "base.same_version base.task base.version core errors log text", loaded())
      for _, name in ipairs { "dial", "listen", "pair", "relay", "channel", "lock" } do
        assert(type(vmctl[name]) == "function" and rawget(vmctl, name) == vmctl[name], name)
      end
      assert(vmctl.no_such_name == nil)]]
  end)
end)
