-- A server's answers to frames that no client should send: each row of the tables in
-- docs/wire/ttrpc.md#types-and-flags, docs/wire/ttrpc.md#stream-ids, docs/wire/ttrpc.md#length-limit,
-- docs/wire/ttrpc.md#state-machines and docs/wire/ttrpc.md#error-answers.
local ends = require "spec.support.ttrpc"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.ttrpc.wire"

local S = ends.SERVICE

local EVEN = "StreamID must be odd for client initiated streams"
local REUSED = "StreamID cannot be re-used and must increment"
local INACTIVE = "StreamID is no longer active"

-- A service, and what its handlers have seen.
local function service()
  local seen = { gate = vmctl.channel(), messages = {}, ends = {} }
  local function listen(stream)
    local message, err, code
    repeat
      message, err, code = stream:recv()
      table.insert(seen.messages, message)
    until not message
    assert.is_true(message == nil and type(err) == "string")
    table.insert(seen.ends, code)
    return "heard"
  end
  return { [S] = {
    Echo = function(request) return request end,
    Wait = function() return seen.gate:recv() end,
    Listen = { client_stream = true, handler = listen },
    Watch = { server_stream = true, handler = function(stream) return stream:send(seen.gate:recv()) and true end },
    Idle = { client_stream = true, handler = function() return seen.gate:recv() end },
  } }, seen
end

local function run(fn, limit)
  return support.run(function()
    local services, seen = service()
    ends.with_server(services, function(peer) fn(peer, seen) end)
  end, limit)
end

local function still_serves(peer, id)
  peer:request(id, "Echo", { payload = "x" })
  assert.same({ id, 0, "x" }, { peer:answer() })
end

describe("a ttrpc server's input", function()
  it("refuses even ids, of whatever type", run(function(peer)
    for _, kind in ipairs { 0, wire.REQUEST, wire.RESPONSE, wire.DATA, 77 } do
      for _, id in ipairs { 0, 2, 0xfffffffe } do
        peer:send(kind, id, 0, "x")
        assert.same({ id, 3, EVEN }, { peer:answer() })
      end
    end
    still_serves(peer, 1)
  end))

  it("takes ids in any order where that is asked for, but none that is open", support.run(function()
    local services, seen = service()
    ends.with_server(services, function(peer)
      for _, id in ipairs { 9, 3, 0xffffffff, 1, 3 } do still_serves(peer, id) end
      peer:request(7, "Wait")
      still_serves(peer, 5)
      peer:request(5, "Listen")
      peer:data(5, "x")
      peer:finish(5)
      assert.same({ 5, 0, "heard" }, { peer:answer() })
      assert.same({ { "x" }, { "EOF" } }, { seen.messages, seen.ends })
      peer:data(5, "y")
      assert.same({ 5, 3, INACTIVE }, { peer:answer() })
      peer:request(6, "Echo")
      assert.same({ 6, 3, EVEN }, { peer:answer() })
      peer:request(7, "Echo")
      assert.same({ 7, 3, REUSED }, { peer:answer() })
      still_serves(peer, 7)
    end, { ids = "any" })
  end))

  it("ignores unknown types and answers, of odd ids", run(function(peer)
    for _, kind in ipairs { 0, wire.RESPONSE, 4, 255 } do peer:send(kind, 5, 0, "x") end
    peer:is_quiet()
    still_serves(peer, 1)
  end))

  it("refuses ids that do not rise, and takes gaps", run(function(peer)
    still_serves(peer, 7)
    for _, id in ipairs { 7, 5, 1 } do
      peer:request(id, "Echo")
      assert.same({ id, 3, REUSED }, { peer:answer() })
    end
    still_serves(peer, 0x80000001) -- unsigned
    still_serves(peer, 0xffffffff)
    peer:request(0x7fffffff, "Echo")
    assert.equal(3, select(2, peer:answer()))
  end))

  it("gives up the stream whose id comes again", run(function(peer, seen)
    peer:request(1, "Listen", { flags = wire.REMOTE_OPEN })
    peer:request(1, "Echo")
    assert.same({ 1, 3, REUSED }, { peer:answer() })
    support.eventually(function() return seen.ends[1] end)
    assert.equal("ECANCELED", seen.ends[1])
    peer:data(1, "x")
    assert.same({ 1, 3, INACTIVE }, { peer:answer() })
    peer:is_quiet() -- nothing more is sent on it
  end))

  it("refuses Data of streams that it does not hold", run(function(peer)
    peer:data(43, "x")
    assert.same({ 43, 3, INACTIVE }, { peer:answer() })
    peer:finish(43)
    assert.equal(3, select(2, peer:answer()))
    still_serves(peer, 43) -- the id is not spent
    peer:data(43, "x")
    assert.same({ 43, 3, INACTIVE }, { peer:answer() })
  end))

  it("refuses Data of a unary call at work, which goes on", run(function(peer, seen)
    peer:request(1, "Wait")
    peer:data(1, "x")
    assert.same({ 1, 3, INACTIVE }, { peer:answer() })
    peer:finish(1)
    assert.equal(3, select(2, peer:answer()))
    seen.gate:send "done"
    assert.same({ 1, 0, "done" }, { peer:answer() })
    still_serves(peer, 3)
  end))

  it("refuses a request that is none, and spends its id", run(function(peer)
    peer:send(wire.REQUEST, 5, 0, "\255\255")
    local id, code, text = peer:answer()
    assert.same({ 5, 3 }, { id, code })
    assert.truthy(text:find("unmarshal request error", 1, true))
    peer:send(wire.REQUEST, 7, 0, "\10\2\255\254")
    assert.equal(3, select(2, peer:answer()))
    peer:request(7, "Echo")
    assert.same({ 7, 3, REUSED }, { peer:answer() })
    peer:send(wire.REQUEST, 9) -- an empty one
    assert.same({ 9, 12, "service " }, { peer:answer() })
  end))

  it("skips frames over the limit, answers, and takes the id afterwards", run(function(peer)
    local big = ("x"):rep(wire.MAX + 1)
    for _, case in ipairs { { wire.REQUEST, 67 }, { wire.DATA, 4 }, { 99, 0 } } do
      peer:send(case[1], case[2], 0, big)
      assert.same({ case[2], 8, "message length 4194305 exceed maximum message size of 4194304" }, { peer:answer() })
    end
    still_serves(peer, 67)
  end, 5))

  it("takes a frame of just the limit", run(function(peer)
    local most = wire.MAX - #wire.encode_request { service = S, method = "Echo", payload = ("x"):rep(wire.MAX - 100) } +
      wire.MAX - 100
    peer:request(1, "Echo", { payload = ("x"):rep(most) })
    local _, code, payload = peer:answer()
    assert.same({ 0, most }, { code, #payload })
  end, 5))

  it("gives up a live stream that gets a frame over the limit", run(function(peer, seen)
    peer:request(1, "Listen", { flags = wire.REMOTE_OPEN })
    peer:send(wire.DATA, 1, 0, ("x"):rep(wire.MAX + 1))
    local id, code = peer:answer()
    assert.same({ 1, 8 }, { id, code })
    support.eventually(function() return seen.ends[1] == "ECANCELED" end)
    still_serves(peer, 3)
  end, 5))

  it("answers before the whole of a frame over the limit has come", run(function(peer)
    peer.stream:write(wire.frame(wire.REQUEST, "", 1, 0):gsub("^....", "\0\64\0\1"))
    assert.equal(8, select(2, peer:answer()))
  end))

  it("closes the connection for a length whose first byte is not zero", run(function(peer)
    peer.stream:write "\1\0\0\0\0\0\0\5\1\0"
    assert.equal("EOF", select(3, peer:recv()))
  end))

  it("reads each form of Data", support.run(function()
    local forms = {
      { 0, "x", "x" }, { 0, "", "" }, { 5, "" }, { 1, "", "" }, { 1, "x", "x" }, { 4, "" }, { 5, "ignored" },
    }
    for i, form in ipairs(forms) do
      local services, seen = service()
      ends.with_server(services, function(peer)
        peer:request(1, "Listen", { flags = wire.REMOTE_OPEN })
        peer:send(wire.DATA, 1, form[1], form[2])
        if form[1] & wire.REMOTE_CLOSED == 0 then peer:finish(1) end
        assert.same({ 1, 0, "heard" }, { peer:answer() })
        assert.same({ form[3] }, seen.messages, "form " .. i)
        assert.same({ "EOF" }, seen.ends)
      end)
    end
  end))

  it("refuses Data after the end of input, but not a second end", run(function(peer, seen)
    peer:request(1, "Idle", { flags = wire.REMOTE_OPEN })
    peer:finish(1)
    peer:finish(1)
    peer:is_quiet()
    peer:data(1, "x")
    assert.same({ 1, 3, INACTIVE }, { peer:answer() })
    vmctl.sleep(0)
    assert.equal("ETIMEDOUT", support.code(seen.gate:send("late", 0.02))) -- its handler has been cancelled
    peer:is_quiet()
  end))

  it("takes a request's word that no Data will come", run(function(peer, seen)
    peer:request(1, "Listen", { flags = wire.REMOTE_CLOSED, payload = "only" })
    assert.same({ 1, 0, "heard" }, { peer:answer() })
    assert.same({ "only" }, seen.messages)
  end))

  it("takes no message from a request that says it has none", run(function(peer, seen)
    peer:request(1, "Listen", { flags = wire.REMOTE_OPEN | wire.NO_DATA, payload = "none" })
    peer:data(1, "first")
    peer:finish(1)
    assert.same({ 1, 0, "heard" }, { peer:answer() })
    assert.same({ "first" }, seen.messages)
  end))

  it("goes by the method, not by the request's flags", run(function(peer, seen)
    peer:request(1, "Echo", { flags = wire.REMOTE_OPEN, payload = "x" })
    assert.same({ 1, 0, "x" }, { peer:answer() })
    peer:request(3, "Watch", { flags = 0 })
    seen.gate:send "news"
    assert.same({ kind = wire.DATA, id = 3, flags = 0, payload = "news" }, peer:recv())
    assert.same({ kind = wire.DATA, id = 3, flags = wire.CLOSE, payload = "" }, peer:recv())
  end))

  it("gives up a stream whose handler leaves its messages, and the others go on", run(function(peer, seen)
    peer:request(1, "Idle", { flags = wire.REMOTE_OPEN })
    peer:request(3, "Idle", { flags = wire.REMOTE_OPEN })
    local frame = wire.frame(wire.DATA, ("x"):rep(1000), 1, 0)
    vmctl.spawn(peer.stream.write, peer.stream, frame:rep(10000))
    assert.same({ 1, 8, "data handling error: ttrpc: stream buffer full" }, { peer:answer(3) })
    local refused = 0
    repeat
      local id, code = peer:answer(3)
      assert.same({ 1, 3 }, { id, code })
      refused = refused + 1
    until refused == 10000 - 4096
    seen.gate:send "done"
    assert.same({ 3, 0, "done" }, { peer:answer() })
    still_serves(peer, 5)
  end, 10))

  it("reads on while a handler leaves its messages: a further request is served", run(function(peer)
    peer:request(1, "Idle", { flags = wire.REMOTE_OPEN })
    assert(peer.stream:write(wire.frame(wire.DATA, "message", 1, 0):rep(70)))
    still_serves(peer, 3)
    assert(peer.stream:write(wire.frame(wire.DATA, "message", 1, 0):rep(1000)))
    still_serves(peer, 5)
  end, 10))

  it("notices that a client has gone whose only stream is full", support.run(function()
    local ended = false
    local function hold()
      local guard <close> = setmetatable({}, { __close = function() ended = true end }) -- luacheck: ignore
      vmctl.sleep(1000)
    end
    ends.with_server({ [S] = { Hold = { client_stream = true, handler = hold } } }, function(peer)
      peer:request(1, "Hold", { flags = wire.REMOTE_OPEN })
      assert(peer.stream:write(wire.frame(wire.DATA, ("x"):rep(100), 1, 0):rep(4096)))
      support.settle()
      assert.is_false(ended)
      peer.stream:close()
      support.eventually(function() return ended end)
    end)
  end, 60))

  it("says ended for a connection that is cut anywhere, and leaves nothing behind", support.run(function()
    local services = service()
    local bytes = wire.frame(wire.REQUEST, wire.encode_request { service = S, method = "Wait" }, 1, 0)
    for cut = 0, #bytes do
      ends.with_server(services, function(peer)
        if cut > 0 then peer.stream:write(bytes:sub(1, cut)) end
        peer.stream:shutdown()
        assert.equal("EOF", select(3, peer:recv()))
      end)
    end
  end, 5))
end)
