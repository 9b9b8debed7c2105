-- Datagram ports of a switch: QEMU's -netdev dgram, and peers as vfkit and krunkit are.
local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, frame, texts = support.code, l2s.frame, l2s.texts
local LIMIT = 60

local function run(fn) return support.run(fn, LIMIT) end

-- The text of the next frame at a port. It is of the specs' type: QEMU sends nothing of its own.
local function next_text(port) return assert(port:recv(LIMIT)):sub(15) end

-- QEMU as a hub of a dgram backend and a stream backend to `far`.
local function with_hub(dgram, path, fn)
  local child = assert(vmctl.process.spawn { "qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none",
    "-netdev", dgram, "-netdev", "hubport,id=h1,hubid=0,netdev=d", "-netdev",
    "stream,id=s,server=on,addr.type=unix,addr.path=" .. path, "-netdev", "hubport,id=h2,hubid=0,netdev=s",
    death_signal = "KILL", stdout = "null", stderr = "inherit", stdin = "null" })
  local far
  support.eventually(function()
    far = vmctl.l2.dial("unix:" .. path)
    return far
  end, LIMIT)
  local ok, err = xpcall(fn, debug.traceback, far)
  far:close()
  child:kill "KILL"
  child:wait(LIMIT)
  child:close()
  if not ok then error(err, 0) end
end

local function has_qemu()
  return vmctl.host:run({ "sh", "-c", "command -v qemu-system-x86_64" }).exit_code == 0
end

-- Frames go both ways between a guest of the switch and what is behind the hub.
local function assert_joined(far, behind)
  repeat -- the peer may not be there yet
    assert(behind:send(frame { to = 1, from = 9, text = "out" }))
    local got = far.a:recv(0.2)
  until got and got:sub(15) == "out"
  assert(far.a:send(frame { to = 9, from = 1, text = "in", size = 1514 }))
  assert.equal("in", (next_text(behind):gsub("%z+$", "")))
  texts(far.a)
end

for _, thread in ipairs { false, true } do
  describe(("a datagram port of vmctl.L2Switch%s"):format(thread and " with a thread" or ""), function()
    local function switch(names) return l2s.switch(names, { thread = thread }) end

    if has_qemu() then
      it("joins QEMU's -netdev dgram by Unix sockets, and another QEMU in its place", run(function()
        local folder = support.tmpdir()
        local sw, far = switch { "a" }
        local near, remote = folder .. "/near", folder .. "/far"
        local port = assert(sw:datagrams("unixgram:" .. near, { remote = "unixgram:" .. remote, name = "vm" }))
        assert.equal("connected", (port:state()))
        local dgram = ("dgram,id=d,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s"):format(remote, near)
        for i = 1, 2 do
          with_hub(dgram, ("%s/hub%d"):format(folder, i), function(behind) assert_joined(far, behind) end)
        end
        sw:close()
        assert.is_nil(io.open(near))
      end))

      it("joins it by UDP", run(function()
        local folder = support.tmpdir()
        local sw, far = switch { "a" }
        local ports = {}
        for i = 1, 2 do -- two ports that are free at the moment
          local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
          ports[i] = listener:address().port
          listener:close()
        end
        local function udp(i) return ("udp:127.0.0.1:%d"):format(ports[i]) end
        assert(sw:datagrams(udp(1), { remote = udp(2) }))
        local dgram = "dgram,id=d,local.type=inet,local.host=127.0.0.1,local.port=%d," ..
          "remote.type=inet,remote.host=127.0.0.1,remote.port=%d"
        with_hub(dgram:format(ports[2], ports[1]), folder .. "/hub", function(behind) assert_joined(far, behind) end)
        sw:close()
      end))
    end

    -- A second switch stands for vfkit: it binds a path, and sends to that of the first one.
    it("learns its peer by what it sends first, and the next one when that is gone", run(function()
      local folder = support.tmpdir()
      local sw, far = switch { "a" }
      local port = assert(sw:datagrams("unixgram:" .. folder .. "/net", { name = "vm" }))
      assert(far.a:send(frame { from = 1, text = "to nobody" }))
      support.eventually(function() return port:counts().dropped_full == 1 end, LIMIT)
      for _, name in ipairs { "one", "two" } do
        local guest, guest_far = switch { "g" }
        assert(guest:datagrams(("unixgram:%s/%s"):format(folder, name), { remote = "unixgram:" .. folder .. "/net" }))
        repeat assert(guest_far.g:send(frame { from = 9, text = name })) until texts(far.a, 0.2)[1] == name
        assert(far.a:send(frame { to = 9, from = 1, text = "answer" }))
        assert.equal("answer", next_text(guest_far.g))
        guest:close()
        texts(far.a)
      end
      assert.equal(0, port:counts().invalid)
      sw:close()
    end))

    it("loses nothing to a peer that is slow for a while", run(function()
      local folder = support.tmpdir()
      local sw, far = switch { "a" }
      assert(sw:datagrams("unixgram:" .. folder .. "/net", { name = "vm" }))
      local guest, guest_far = switch { "g" }
      assert(guest:datagrams("unixgram:" .. folder .. "/g", { remote = "unixgram:" .. folder .. "/net", name = "net" }))
      repeat assert(guest_far.g:send(frame { from = 9, text = "here" })) until texts(far.a, 0.2)[1]
      texts(far.a)
      local batch = {}
      for i = 1, 300 do batch[i] = frame { to = 9, from = 1, text = ("%03d"):format(i), size = 600 } end
      assert(far.a:send_many(batch, LIMIT))
      for i = 1, 300 do assert.equal(("%03d"):format(i), next_text(guest_far.g):sub(1, 3)) end
      guest:close()
      sw:close()
    end))

    it("takes no others' datagrams, and no socket that is in use", run(function()
      local folder = support.tmpdir()
      local sw = switch {}
      local where = "unixgram:" .. folder .. "/net"
      local port = assert(sw:datagrams(where, { remote = "unixgram:" .. folder .. "/friend" }))
      assert.equal("rw-------", assert(require("lfs").attributes(folder .. "/net", "permissions")))
      local other, other_far = switch { "x" }
      assert(other:datagrams("unixgram:" .. folder .. "/stranger", { remote = where }))
      assert(other_far.x:send(frame { from = 5 }))
      support.eventually(function() return other:counts().ports.x.frames_in == 1 end, LIMIT)
      assert.equal("EADDRINUSE", code(sw:datagrams(where)))
      assert.equal(1, #sw:ports())
      assert.equal(0, port:counts().frames_in)
      for _, wrong in ipairs { "unix:/x", "udp:localhost:1", "udp:1.2.3.4", "unixgram:" .. ("x"):rep(200) } do
        assert.is_truthy(code(sw:datagrams(wrong)), wrong)
      end
      assert.equal("EINVAL", code(sw:datagrams "udp:127.0.0.1:7"))
      assert.equal("EINVAL", code(sw:datagrams("unixgram:" .. folder .. "/y", { remote = "udp:127.0.0.1:7" })))
      assert.equal("ENOENT", code(sw:datagrams "unixgram:/no/such/folder/x"))
      other:close()
      port:remove()
      assert(sw:datagrams(where)):disconnect()
      sw:close()
    end))
  end)
end
