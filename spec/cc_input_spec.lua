-- A server's answers to bytes that no client should send: each row of docs/wire/cc-ipc.md#framing, and worse.
local cc = require "vmctl.cc"
local ends = require "spec.support.cc"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local run = support.run
local types = cc.types

local all = vectors.load "cc-ipc"

local handlers = {
  INSTANCE_ID = function() return cc.response():success():string "id" end,
  FS_OPEN = function(d)
    local path, err, why = d:string()
    if not path then return nil, err, why end
    return cc.response():success():uint64(#path)
  end,
}

local function with_server(fn, opts)
  ends.with_server(handlers, fn, opts)
end

local function still_serves(peer)
  assert.same({ types.RESPONSE, "\0\0\0\0\2id" }, { peer:ask(types.INSTANCE_ID) })
end

describe("a cc server's input", function()
  it("that ends between messages ends the connection without a word", run(function()
    with_server(function(peer, _, task)
      still_serves(peer)
      peer.stream:shutdown()
      peer:ended()
      assert(task:join(30))
    end)
  end))

  it("that ends inside a message is answered as the document says", run(function()
    local request = all["msg.0200.FsOpen.req"].bytes
    for cut = 1, #request - 1 do
      with_server(function(peer, _, task)
        assert(peer.stream:write(request:sub(1, cut)))
        peer.stream:shutdown()
        local expected = cut < 6 and "read header: unexpected EOF" or cut == 6 and "read payload: EOF"
          or "read payload: unexpected EOF"
        assert.same({ 7, expected, "", "" }, { peer:refusal() })
        peer:ended()
        assert(task:join(30))
      end)
    end
    assert.equal(all["error.frame.read-header"].bytes:sub(7),
      cc.encoder():error({ code = 7, message = "read header: unexpected EOF" }):bytes())
  end))

  it("of a payload over the limit is refused before it has come, also of 4 GiB", run(function()
    for _, size in ipairs { 1001, 1 << 20, 0xffffffff } do
      with_server(function(peer, _, task)
        still_serves(peer)
        assert(peer.stream:write((">I2I4"):pack(types.FS_OPEN, size)))
        assert.same({ 2, "payload too large", "", "" }, { peer:refusal() })
        peer.stream:close()
        assert(task:join(30))
      end, { max_payload = 1000 })
    end
  end, 8))

  it("of a payload over the limit is thrown away, and the next one is answered", run(function()
    with_server(function(peer)
      for _, size in ipairs { 1001, 1 << 20, 3 << 20 } do
        local writing = vmctl.spawn(function() assert(peer.stream:write((">I2s4"):pack(types.FS_OPEN, ("x"):rep(size)))) end)
        assert.same({ 2, "payload too large", "", "" }, { peer:refusal(30) })
        writing:join()
        still_serves(peer)
      end
    end, { max_payload = 1000 })
  end, 8))

  it("that goes on after a length over the limit does not lose the answer", run(function()
    with_server(function(peer, _, task)
      local piece = ("x"):rep(1 << 16)
      assert(peer.stream:write((">I2I4"):pack(types.FS_OPEN, 8 << 20)))
      local writing = vmctl.spawn(function()
        for _ = 1, 128 do
          if not peer.stream:write(piece, 2) then return end
        end
      end)
      assert.same({ 2, "payload too large", "", "" }, { peer:refusal() })
      writing:join()
      peer.stream:close()
      assert(task:join(30))
    end, { max_payload = 1 << 16 })
  end, 8))

  it("of just the limit passes", run(function()
    with_server(function(peer)
      local path = ("p"):rep(996)
      assert.equal((">BI8"):pack(0, 996), select(2, peer:ask(types.FS_OPEN, (">s4"):pack(path))))
    end, { max_payload = 1000 })
  end))

  it("with bytes behind the fields is taken", run(function()
    with_server(function(peer)
      assert.equal((">BI8"):pack(0, 1), select(2, peer:ask(types.FS_OPEN, "\0\0\0\1xmore")))
      assert.equal(types.RESPONSE, (peer:ask(types.INSTANCE_ID, "a payload that nobody reads")))
    end)
  end))

  it("in pieces of one byte is taken", run(function()
    with_server(function(peer)
      for byte in all["msg.0200.FsOpen.req"].bytes:gmatch "." do
        assert(peer.stream:write(byte))
        vmctl.sleep(0)
      end
      assert.equal((">BI8"):pack(0, 10), select(2, peer:recv()))
    end)
  end))

  it("of every vector that must fail is answered, and the server stays up", run(function()
    with_server(function(peer)
      local tried = 0
      for _, vector in ipairs(all) do
        if vector.name:find "^short" and not vector.name:find "strs%-item" then -- which is a string, after all
          tried = tried + 1
          local kind, payload = peer:ask(types.FS_OPEN, vector.bytes)
          assert.same({ types.ERROR, all["error.frame.short-payload"].bytes:sub(7) }, { kind, payload })
        end
      end
      assert.is_true(tried >= 7)
      still_serves(peer)
    end)
  end))

  it("of every request is answered, be its fields there or cut at any byte", run(function()
    ends.with_server(function() return nil, "no instance", 1 end, function(peer)
      for _, vector in ipairs(all) do
        if vector.name:find "%.req$" then
          local kind, payload = ends.frame(vector)
          for cut = 0, #payload do
            peer:send(kind, payload:sub(1, cut))
            assert.same({ 1, "no instance", "", "" }, { peer:refusal() })
          end
        end
      end
    end)
  end, 5))

  it("of random bytes ends its own connection at worst", run(function()
    math.randomseed(11)
    local path = support.tmpdir() .. "/s"
    local server <close> = assert(cc.server(path, ends.mux(handlers), { max_payload = 256 }))
    local serving = vmctl.spawn(server.serve, server)
    local good = assert(cc.connect(path))
    for _ = 1, 60 do
      local bad = assert(vmctl.dial("unix:" .. path))
      local bytes = {}
      for i = 1, math.random(1, 300) do bytes[i] = string.char(math.random(3) == 1 and math.random(0, 255) or 0) end
      bad:write(table.concat(bytes))
      bad:shutdown()
      while bad:read(nil, 30) do end
      bad:close()
      assert.equal("id", good:call(types.INSTANCE_ID):string())
    end
    good:close()
    server:close()
    serving:join(30)
  end, 10))

  it("of a client that is gone in the middle of a message disturbs nobody", run(function()
    local path = support.tmpdir() .. "/s"
    local server <close> = assert(cc.server(path, ends.mux(handlers)))
    vmctl.spawn(server.serve, server)
    local good = assert(cc.connect(path))
    for _, bytes in ipairs { "", "\2", "\2\0\0\0\1\0", "\2\0\0\0\1\0half", (">I2s4"):pack(types.INSTANCE_ID, "") } do
      local bad = assert(vmctl.dial("unix:" .. path))
      bad:write(bytes)
      bad:close()
      assert.equal("id", good:call(types.INSTANCE_ID):string())
    end
    good:close()
    server:close()
  end))

  it("from a client that reads no answers is not read for ever", run(function()
    ends.with_server(function() return ("\0"):rep(1 << 20) end, function(peer, _, task)
      for _ = 1, 8 do peer:send(7) end
      support.settle()
      assert.equal("waiting", task:status()) -- for room: nothing gathers
      peer.stream:close()
      assert(task:join(30))
    end)
  end))
end)
