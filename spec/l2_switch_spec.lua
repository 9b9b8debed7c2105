local assert = require "luassert"
local lfs = require "lfs"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local frame, texts = l2s.frame, l2s.texts
local l2 = vmctl.l2

-- The blocks of a pcapng file: interface names in order, and { interface, bytes } of each packet.
local function read_pcapng(path)
  local file = assert(io.open(path, "rb"))
  local data = file:read "a"
  file:close()
  local names, packets, at = {}, {}, 1
  while at <= #data do
    local type, total = ("<I4I4"):unpack(data, at)
    assert.equal(0, total % 4)
    assert.equal(total, (("<I4"):unpack(data, at + total - 4)))
    if type == 1 then
      local link, _, snap, option, length = ("<I2I2I4I2I2"):unpack(data, at + 8)
      assert.same({ 1, 69632, 2 }, { link, snap, option })
      names[#names + 1] = data:sub(at + 20, at + 19 + length)
    elseif type == 6 then
      local interface, high, low, captured, length = ("<I4I4I4I4I4"):unpack(data, at + 8)
      assert.equal(captured, length)
      packets[#packets + 1] = {
        names[interface + 1], data:sub(at + 28, at + 27 + captured), (high << 32 | low) / 1e9,
      }
    else
      assert.equal(0x0a0d0d0a, type)
    end
    at = at + total
  end
  return names, packets
end

describe("vmctl.L2Switch", function()
  it("floods what it does not know, and learns where addresses are", run(function()
    local sw, far = l2s.switch { "a", "b", "c" }
    far.a:send(frame { to = 2, from = 1, text = "who" })
    assert.same({ "who" }, texts(far.b))
    assert.same({ "who" }, texts(far.c))
    far.b:send(frame { to = 1, from = 2, text = "me" })
    assert.same({ "me" }, texts(far.a))
    far.a:send(frame { to = 2, from = 1, text = "you" })
    assert.same({ "you" }, texts(far.b))
    assert.same({}, texts(far.c))
    assert.same({}, texts(far.a))
    far.a:send(frame { from = 1, text = "all" })
    assert.same({ "all" }, texts(far.b))
    assert.same({ "all" }, texts(far.c))
    local seen = {}
    for _, entry in ipairs(sw:addresses()) do seen[entry.mac] = entry.port end
    assert.same({ ["02:00:00:00:00:01"] = "a", ["02:00:00:00:00:02"] = "b" }, seen)
    assert.equal(2, sw:port("a"):counts().flooded)
    sw:close()
  end))

  it("follows an address that moves, and forgets those of a port that ends", run(function()
    local sw, far = l2s.switch { "a", "b", "c" }
    far.a:send(frame { from = 1 })
    far.b:send(frame { from = 2 })
    texts(far.c)
    far.c:send(frame { from = 2, text = "moved" })
    texts(far.a)
    texts(far.b)
    far.a:send(frame { to = 2, from = 1, text = "there" })
    assert.same({ "there" }, texts(far.c))
    assert.same({}, texts(far.b))
    far.c:close()
    support.eventually(function() return sw:port("c"):state() == "ended" end)
    far.a:send(frame { to = 2, from = 1, text = "flooded" })
    assert.same({ "flooded" }, texts(far.b))
    sw:forget()
    assert.same({}, sw:addresses())
    sw:close()
  end))

  it("does not send a frame back to where it came from", run(function()
    local sw, far = l2s.switch { "a", "b" }
    far.a:send(frame { from = 1 })
    far.a:send(frame { from = 2 })
    far.a:send(frame { to = 2, from = 1, text = "same wire" })
    assert.same({ "", "" }, texts(far.b))
    assert.same({}, texts(far.a))
    sw:close()
  end))

  it("learns nothing from a group's address, and with age 0 nothing at all", run(function()
    local sw, far = l2s.switch({ "a", "b", "c" }, { age = 0 })
    far.a:send(frame { from = "01:00:5e:00:00:01" })
    far.a:send(frame { from = 1 })
    far.b:send(frame { to = 1, from = 2, text = "x" })
    assert.equal(2, #texts(far.c)) -- in whatever order the two ports were read
    assert.same({}, sw:addresses())
    sw:close()
  end))

  it("forgets an address that was not heard for longer than its age", run(function()
    local sw, far = l2s.switch({ "a", "b", "c" }, { age = 1 })
    far.a:send(frame { from = 1 })
    texts(far.b)
    texts(far.c)
    far.b:send(frame { to = 1, from = 2, text = "1" })
    assert.same({}, texts(far.c))
    support.passed(vmctl.sleep, 2.1)
    far.b:send(frame { to = 1, from = 2, text = "2" })
    assert.same({ "2" }, texts(far.c))
    sw:close()
  end, 5))

  it("leaves VLAN tags alone, and learns each VLAN's addresses for itself", run(function()
    local sw, far = l2s.switch { "a", "b", "c" }
    far.a:send(frame { from = 7, vlan = 5 })
    far.b:send(frame { from = 7, vlan = 6 })
    texts(far.a) texts(far.b) texts(far.c)
    local tagged = frame { to = 7, from = 3, vlan = 5, text = "five" }
    far.c:send(tagged)
    assert.equal(tagged, far.a:recv(30))
    assert.same({}, texts(far.b))
    far.c:send(frame { to = 7, from = 3, vlan = 6, text = "six" })
    assert.same({ "six" }, texts(far.b))
    assert.same({}, texts(far.a))
    sw:close()
  end))

  it("has ports that come and go while it runs", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local near, d = l2.socketpair()
    local port = assert(sw:add(near))
    assert.equal("port-1", port.name)
    far.a:send(frame { text = "hello" })
    assert.same({ "hello" }, texts(d))
    assert.equal("EEXIST", code(sw:add(l2.socketpair(), { name = "a" })))
    assert.equal(port, sw:port "port-1")
    assert.equal(3, #sw:ports())
    port:remove()
    port:remove()
    assert.equal("EOF", code(d:recv(30)))
    assert.is_nil(sw:port "port-1")
    assert.same({ "gone", nil, 1 }, { port:state() })
    for _, call in ipairs { "counts", "cut", "heal", "faults", "disconnect", "wait_connected" } do
      assert.equal("ECLOSED", code(port[call](port)), call)
    end
    assert.equal("ECLOSED", code(sw:inject(port, frame {})))
    local counts = sw:counts()
    assert.equal(1, counts.total.frames_in)
    assert.equal(2, counts.total.frames_out) -- one of them of the port that is gone
    sw:close()
  end))

  it("takes over what a port or a stream had received", run(function()
    local sw, far = l2s.switch { "a" }
    local near, b = l2.socketpair()
    b:send_many { frame { text = "1" }, frame { text = "2" } }
    assert.equal(frame { text = "1" }, near:recv(30)) -- with it the second was read
    sw:add(near, { name = "b" })
    local left, right = support.pair()
    right:write((">s4"):pack(frame { text = "3" }):sub(1, 9))
    left:set_format { max = 100 }
    assert.equal("ETIMEDOUT", code(left:read_frame(0.01)))
    sw:add(left, { name = "c" })
    right:write((">s4"):pack(frame { text = "3" }):sub(10))
    assert.same({ "2", "3" }, texts(far.a))
    assert.equal("ECLOSED", code(near:recv(0)))
    sw:close()
  end))

  it("leaves to its owner what is in use", run(function()
    local sw = l2.switch()
    local near, far = l2.socketpair()
    local reader = vmctl.spawn(function() return near:recv(30) end)
    vmctl.yield()
    assert.equal("EBUSY", code(sw:add(near)))
    assert.same({}, sw:ports())
    far:send(frame {})
    assert.equal(frame {}, reader:join())
    near:set_handler(function() end)
    assert.equal("EBUSY", code(sw:add(near)))
    near:set_handler(nil)
    assert.has_error(function() sw:add "x" end)
    assert.has_error(function() sw:add(near, { name = "" }) end)
    assert.has_error(function() sw:add(near, { name = ("n"):rep(64) }) end)
    near:close()
    sw:close()
  end))

  it("has at most 256 ports", run(function()
    local sw, ends = l2.switch(), {}
    for i = 1, 256 do
      local near, far = l2.socketpair()
      ends[i] = far
      assert(sw:add(near, { name = "p" .. i }))
    end
    local near, last = l2.socketpair()
    assert.equal("ENOSPC", code(sw:add(near)))
    ends[1]:send(frame { text = "to all" })
    for i = 2, 256 do assert.equal(frame { text = "to all" }, ends[i]:recv(30)) end
    ends[256]:send(frame { to = 1, from = 2 })
    assert.equal(frame { to = 1, from = 2 }, ends[1]:recv(30))
    sw:port("p7"):remove()
    local added = assert(sw:add(near))
    assert.equal(added, sw:ports()[7]) -- it has the place of the one that was removed
    for i = 1, 256 do ends[i]:close() end
    last:close()
    sw:close()
  end))

  it("is not held up by a port that never reads, and counts what it loses", run(function()
    local queue = 600000
    local sw, far = l2s.switch({ "a", "b", "stuck" }, { queue = queue })
    local got = 0
    far.b:set_handler(function() got = got + 1 end)
    for i = 1, 40 do
      local batch = {}
      for j = 1, 100 do batch[j] = frame { text = ("%d"):format(i * 100 + j), size = 1514 } end
      assert(far.a:send_many(batch, 1))
    end
    support.eventually(function() return got == 4000 end)
    local stuck, b = sw:port("stuck"):counts(), sw:port("b"):counts()
    assert.equal(0, b.dropped_full)
    assert.is_true(stuck.dropped_full > 2000, stuck.dropped_full)
    assert.is_true(stuck.queued <= queue)
    assert.equal(4000, stuck.dropped_full + stuck.frames_out)
    assert.equal(stuck.frames_out, #texts(far.stuck)) -- what was not dropped comes, whole
    far.b:close()
    sw:close()
  end, 5))

  it("makes senders wait for a port that is merely slow, and drops nothing", run(function()
    local sw, far = l2s.switch { "a", "slow" }
    local total, got = 8000, 0
    local sender = vmctl.spawn(function()
      for i = 1, total // 100 do
        local batch = {}
        for j = 1, 100 do batch[j] = frame { text = (">I4"):pack(i * 100 + j), size = 1514 } end
        assert(far.a:send_many(batch, 30))
      end
    end)
    while got < total do
      got = got + #assert(far.slow:recv_many(256, 30))
      vmctl.sleep(0.002)
    end
    sender:join()
    assert.equal(0, sw:port("slow"):counts().dropped_full)
    sw:close()
  end, 60))

  it("shows each frame once to a tap, with its port", run(function()
    local sw, far = l2s.switch { "a", "b", "c" }
    local seen = {}
    local tap = sw:tap(function(bytes, port) seen[#seen + 1] = port.name .. ":" .. bytes:sub(15) end)
    far.a:send_many { frame { text = "1" }, frame { text = "2" } }
    support.eventually(function() return #seen == 2 end)
    far.c:send(frame { text = "3" })
    support.eventually(function() return #seen == 3 end)
    assert.same({ "a:1", "a:2", "c:3" }, seen)
    assert.equal(0, tap:lost())
    tap:close()
    far.a:send(frame { text = "4" })
    assert.same({ "1", "2", "3", "4" }, texts(far.b))
    assert.equal(3, #seen)
    sw:close()
  end))

  it("logs an error of a tap's function and goes on", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local seen = 0
    local lines = l2s.logged(function()
      sw:tap(function()
        seen = seen + 1
        error "a mistake in a tap"
      end)
      far.a:send_many { frame {}, frame {}, frame {} }
      support.eventually(function() return seen == 3 end)
    end)
    assert.is_true(#l2s.about(lines, "a mistake in a tap") >= 1)
    assert.equal(3, #texts(far.b))
    sw:close()
  end))

  it("waits for a tap that is slow, or leaves frames out and counts them if it is lossy", run(function()
    for _, lossy in ipairs { true, false } do
      local sw, far = l2s.switch { "a", "b" }
      local seen, open = 0, false
      local tap = sw:tap(function()
        while not open do vmctl.sleep(0.01) end
        seen = seen + 1
      end, { lossy = lossy, queue = 20000 })
      local sender = vmctl.spawn(function()
        for _ = 1, 30 do
          local batch = {}
          for j = 1, 100 do batch[j] = frame { size = 1000 } end
          assert(far.a:send_many(batch, 3))
        end
      end)
      local got = 0
      local function all()
        got = got + #texts(far.b, 0.1)
        return got == 3000
      end
      if lossy then support.eventually(all) else assert.is_false(all()) end
      open = true
      if not lossy then support.eventually(all) end
      sender:join()
      assert.equal(3000, got)
      assert.same({}, texts(far.b, 0.1))
      support.eventually(function() return seen + tap:lost() == 3000 end)
      assert.equal(lossy, tap:lost() > 0)
      sw:close()
    end
  end, 5))

  it("captures each frame once, as pcapng", run(function()
    local sw, far = l2s.switch { "a", "b" }
    local path = support.tmpdir() .. "/wire.pcapng"
    local capture = assert(sw:capture(path))
    local sent = { frame { text = "1" }, frame { text = "twenty-two", size = 1514 }, frame { from = 2, size = 60001 } }
    local before = os.time()
    far.a:send(sent[1])
    far.a:send(sent[2])
    texts(far.b)
    far.b:send(sent[3])
    texts(far.a)
    assert.equal(3, capture:close())
    assert.equal(3, capture:close())
    local names, packets = read_pcapng(path)
    assert.same({ "a", "b" }, names)
    for i, packet in ipairs(packets) do
      assert.equal(i < 3 and "a" or "b", packet[1])
      assert.equal(sent[i], packet[2])
      assert.is_true(packet[3] >= before - 1 and packet[3] < before + 60)
    end
    assert.equal(3, #packets)
    assert.equal("rw-------", lfs.attributes(path, "permissions"))
    assert.equal("ENOENT", code(sw:capture "/none/such"))
    sw:close()
  end))

  it("captures what tshark reads", run(function()
    local found = vmctl.host:run { "tshark", "--version" }
    if found.exit_code ~= 0 then return end -- the spec above reads captures by itself
    local sw, far = l2s.switch { "anna", "ben" }
    local path = support.tmpdir() .. "/wire.pcapng"
    local capture = assert(sw:capture(path))
    far.anna:send(frame { from = 1, size = 1514 })
    texts(far.ben)
    far.ben:send(frame { to = 1, from = 2, vlan = 5, text = "x" })
    texts(far.anna)
    assert(capture:close())
    sw:close()
    local fields = { "frame.interface_name", "frame.len", "eth.src", "vlan.id" }
    local command = { "tshark", "-n", "-r", path, "-T", "fields", timeout = 20 }
    for _, field in ipairs(fields) do
      command[#command + 1] = "-e"
      command[#command + 1] = field
    end
    assert.equal("anna\t1514\t02:00:00:00:00:01\t\nben\t19\t02:00:00:00:00:02\t5\n", vmctl.host:run(command).stdout)
  end, 30))

  it("lets frames in by inject", run(function()
    local sw, far = l2s.switch { "a", "b" }
    assert(sw:inject("a", frame { text = "x" }))
    assert.same({ "x" }, texts(far.b))
    assert.same({}, texts(far.a))
    for _, size in ipairs { 0, 1, 13, 69633 } do
      assert.equal("EINVAL", code(sw:inject("a", ("x"):rep(size))))
    end
    assert(sw:inject("a", frame { size = 65536 })) -- longer than the port takes
    assert.equal(1, sw:port("b"):counts().dropped_long)
    local longest = frame { size = 65535 }
    local task = vmctl.spawn(function() return far.b:recv(30) end)
    assert(sw:inject(sw:port "a", longest))
    assert.equal(longest, task:join())
    assert.has_error(function() sw:inject("none", frame {}) end, "switch has no port 'none'")
    sw:close()
  end))

  it("drops what is longer than a port takes, and passes more if it is told to", run(function()
    local sw, far = l2s.switch({ "a", "b" }, { longest = 69632 })
    local longest = frame { size = 69632 }
    local task = vmctl.spawn(function() return far.b:recv(30) end)
    assert(sw:inject("a", longest))
    assert.equal(longest, task:join())
    sw:close()
    sw, far = l2s.switch({ "a", "b" }, { longest = 100 })
    far.a:send_many { frame { size = 101 }, frame { size = 100 } }
    assert.equal(frame { size = 100 }, far.b:recv(30))
    assert.equal(1, sw:port("b"):counts().dropped_long)
    assert.same({ frames = 1, bytes = 100, dropped = 1 }, sw:counts().pairs.a.b)
    sw:close()
    assert.has_error(function() vmctl.l2.switch { longest = 69633 } end)
  end))

  it("forwards no frame to the groups of one link alone, and none from a group's address", run(function()
    local sw, far = l2s.switch { "a", "b" }
    for _, last in ipairs { "00", "02", "0e", "0f" } do far.a:send(frame { to = "01:80:c2:00:00:" .. last }) end
    far.a:send(frame { from = "01:00:5e:00:00:01" })
    far.a:send(frame { from = "ff:ff:ff:ff:ff:ff" })
    far.a:send(frame { to = "01:80:c2:00:00:10", text = "passes" })
    far.a:send(frame { to = "01:80:c2:00:01:00", text = "as well" })
    assert.same({ "passes", "as well" }, texts(far.b))
    assert.equal(6, sw:port("a"):counts().dropped_link)
    sw:close()
  end))

  it("gives a mirror each frame once, before any fault, and nothing else", run(function()
    local sw, far = l2s.switch { "a", "b", "m" }
    assert(sw:mirror "m")
    far.a:send(frame { from = 1, text = "1" })
    assert.same({ "1" }, texts(far.b))
    far.b:send(frame { to = 1, from = 2, text = "2" })
    assert.same({ "2" }, texts(far.a))
    sw:cut("a", "b")
    far.a:send(frame { to = 2, from = 1, text = "3" })
    assert.same({ "1", "2", "3" }, texts(far.m))
    assert.same({}, texts(far.b))
    sw:heal()
    sw:mirror(nil)
    far.a:send(frame { to = 2, from = 1, text = "4" })
    assert.same({ "4" }, texts(far.b))
    assert.same({}, texts(far.m))
    sw:mirror "m"
    sw:port("m"):remove()
    far.a:send(frame { to = 2, from = 1, text = "5" })
    assert.same({ "5" }, texts(far.b))
    sw:close()
  end))

  it("counts what goes between each two ports", run(function()
    local sw, far = l2s.switch { "a", "b", "c" }
    far.a:send(frame { size = 100 })
    texts(far.b) texts(far.c)
    far.b:send(frame { to = 1, from = 2, size = 50 })
    texts(far.a)
    assert.same({
      a = { b = { frames = 1, bytes = 100, dropped = 0 }, c = { frames = 1, bytes = 100, dropped = 0 } },
      b = { a = { frames = 1, bytes = 50, dropped = 0 } }, c = {},
    }, sw:counts().pairs)
    assert.equal(150, sw:counts().total.bytes_in)
    assert.equal(250, sw:counts().total.bytes_out)
    sw:close()
  end))

  it("is closed once and for all", run(function()
    local sw, far = l2s.switch { "a" }
    local port, tap = sw:port "a", sw:tap(function() end)
    local capture = sw:capture(support.tmpdir() .. "/x.pcapng")
    sw:close()
    sw:close()
    assert.equal("EOF", code(far.a:recv(30)))
    assert.equal("gone", (port:state()))
    assert.equal(0, capture:close())
    tap:close()
    local calls = {
      add = { (l2.socketpair()) }, listen = { "unix:/none" }, dial = { "unix:/none" }, inject = { "a", "x" }, counts = {},
      addresses = {}, forget = {}, capture = { "/none" }, tap = { print }, heal = {}, partition = { {} }, cut = { "a" },
      seed = { 1 }, faults = { "a", "b" },
    }
    for name, args in pairs(calls) do assert.equal("ECLOSED", code(sw[name](sw, table.unpack(args))), name) end
    assert.equal("vmctl.L2Switch(switch, closed)", tostring(sw))
  end))
end)
