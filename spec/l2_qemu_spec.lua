-- QEMU itself at the other end: without a guest, as a hub of two network backends.
local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local run = support.run
local frame = l2s.frame
local l2 = vmctl.l2

local START = 5 -- seconds

local function has_qemu()
  return vmctl.host:run({ "qemu-system-x86_64", "--version" }).exit_code == 0
end

-- A QEMU whose hub joins two backends. It ends with the scope of `fn`.
local function with_hub(backends, opts, fn)
  local argv = { "qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none" }
  for i, backend in ipairs(backends) do
    for _, word in ipairs { "-netdev", backend, "-netdev", ("hubport,id=h%d,hubid=0,netdev=n%d"):format(i, i) } do
      argv[#argv + 1] = word
    end
  end
  for name, value in pairs(opts) do argv[name] = value end
  argv.death_signal = "KILL"
  argv.stderr = "pipe"
  argv.stdout = "null"
  argv.stdin = argv.stdin or "null"
  local child = assert(vmctl.process.spawn(argv))
  local ok, err = xpcall(fn, debug.traceback, child)
  child:kill "KILL"
  child:wait(30)
  local said = child.stderr:read(nil, 30)
  child:close()
  if not ok then error(("%s\nQEMU said: %s"):format(err, said or "nothing"), 0) end
end

local function server(i, path)
  return ("stream,id=n%d,server=on,addr.type=unix,addr.path=%s"):format(i, path)
end

local function client(i, path)
  return ("stream,id=n%d,server=off,addr.type=unix,addr.path=%s"):format(i, path)
end

-- Dials until QEMU listens.
local function dial(address)
  local deadline = vmctl.now() + START
  while true do
    local port, err = l2.dial(address, 1)
    if port then return port end
    if vmctl.now() > deadline then error(err, 0) end
    vmctl.sleep(0.02)
  end
end

-- All frames of the vectors, and some of our own, from each to the other; to all, and from the one that sends, so that a switch
-- on the way lets each through.
local function exchange(a, b)
  local frames = { frame { size = 14 }, frame { size = 9014 }, frame { size = 65535 } }
  for _, name in ipairs { "dhcp_discover", "icmp6_router_solicit", "arp_42", "min_14", "padded_60", "mtu_1514", "vlan_1518" } do
    frames[#frames + 1] = vectors.load("qemu-l2")[name].bytes:sub(5)
  end
  for way, ways in ipairs { { a, b }, { b, a } } do
    for _, vector in ipairs(frames) do
      local bytes = l2s.mac(l2s.BROADCAST) .. ("\2\0\0\0\0%c"):format(way) .. vector:sub(13)
      local sender = vmctl.spawn(function() assert(ways[1]:send(bytes, 2)) end)
      assert.equal(bytes, ways[2]:recv(30))
      sender:join()
    end
  end
end

describe("QEMU as a hub", function()
  if not has_qemu() then
    pending "needs qemu-system-x86_64"
    return
  end

  it("as a server has frames pass between two ports of ours", run(function()
    local dir = support.tmpdir()
    with_hub({ server(1, dir .. "/a"), server(2, dir .. "/b") }, {}, function()
      local a, b = dial("unix:" .. dir .. "/a"), dial("unix:" .. dir .. "/b")
      exchange(a, b)
      local batch = {}
      for i = 1, 100 do batch[i] = frame { text = (">I4"):pack(i), size = 600 } end
      local sender = vmctl.spawn(function() assert(a:send_many(batch, 5)) end)
      for i = 1, 100 do assert.equal(batch[i], b:recv(30)) end
      sender:join()
      a:close()
      b:close()
    end)
  end, 15))

  it("as a client connects to listeners of ours, and to a switch", run(function()
    local dir = support.tmpdir()
    local sw, far = l2s.switch { "near" }
    local listener = assert(l2.listen("unix:" .. dir .. "/a"))
    assert(sw:listen("unix:" .. dir .. "/b", { name = "qemu", ports = 1 }))
    with_hub({ client(1, dir .. "/a"), client(2, dir .. "/b") }, {}, function()
      local a = assert(listener:accept(START))
      support.eventually(function() return sw:port "qemu" end):wait_connected(START)
      exchange(a, far.near)
      assert.equal(10, sw:port("qemu"):counts().frames_in)
      a:close()
    end)
    listener:close()
    sw:close()
  end, 15))

  it("takes a socket's descriptor, and a TCP port with -netdev socket", run(function()
    local finder = assert(vmctl.listen "tcp:127.0.0.1:0")
    local number = finder:address().port
    finder:close()
    local ours, theirs = support.pair()
    local a = l2.port(ours)
    local backends = { "socket,id=n1,fd=0", ("socket,id=n2,listen=127.0.0.1:%d"):format(number) }
    with_hub(backends, { stdin = theirs:fileno() }, function()
      theirs:close()
      local b = dial("tcp4:127.0.0.1:" .. number)
      exchange(a, b)
      b:close()
      b = dial("tcp4:127.0.0.1:" .. number) -- it listens again
      exchange(a, b)
      b:close()
    end)
    assert.equal("EOF", (a:done(2)))
    a:close()
  end, 15))

  it("is dialled again by a switch when it was killed and starts anew", run(function()
    local dir = support.tmpdir()
    local sw, far = l2s.switch { "near" }
    local port = assert(sw:dial("unix:" .. dir .. "/a", { name = "qemu" }))
    for epoch = 1, 2 do
      with_hub({ server(1, dir .. "/a"), server(2, dir .. "/b") }, {}, function()
        assert.equal(epoch, port:wait_connected(START))
        local b = dial("unix:" .. dir .. "/b")
        exchange(far.near, b)
        b:close()
      end)
      support.eventually(function() return port:state() ~= "connected" end)
    end
    sw:close()
  end, 20))

  it("never gets a frame from a switch that would stop a guest's network", run(function()
    local dir = support.tmpdir()
    local sw = l2.switch()
    assert(sw:dial("unix:" .. dir .. "/a", { name = "qemu" }))
    local near, raw = support.pair()
    local bad = assert(sw:add(near, { name = "bad" }))
    with_hub({ server(1, dir .. "/a"), server(2, dir .. "/b") }, {}, function()
      assert(sw:port("qemu"):wait_connected(START))
      local b = dial("unix:" .. dir .. "/b")
      for length = 0, 13 do raw:write((">s4"):pack(("x"):rep(length))) end
      raw:write((">s4"):pack(frame { text = "good" }))
      assert.equal(frame { text = "good" }, b:recv(30))
      assert.same({ 1, 0 }, { b:stats().frames_in, b:stats().invalid })
      assert.equal(14, bad:counts().invalid)
      b:close()
    end)
    sw:close()
  end, 15))
end)
