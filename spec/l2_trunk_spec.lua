-- Trunks between switches: of this process, and of two.
local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local trunks = require "spec.support.trunks"
local vmctl = require "vmctl"

local code, frame, texts = support.code, l2s.frame, l2s.texts
local join, LIMIT = trunks.join, trunks.LIMIT

local made -- switches of the present test

local function switch(...)
  made[#made + 1] = vmctl.l2.switch(...)
  return made[#made]
end

-- A test, whose switches are closed at its end.
local function run(fn)
  return support.run(function()
    made = {}
    fn()
    for _, each in ipairs(made) do each:close() end
  end, LIMIT)
end

-- A switch with a guest, and its wire.
local function with_guest(name)
  local sw, far = l2s.switch({ "guest" }, { name = name })
  made[#made + 1] = sw
  return sw, far.guest
end

-- Two switches with a guest each, called "lan".
local function two()
  local a, here = with_guest "lan"
  local b, there = with_guest "lan"
  return a, b, here, there
end

-- The codes and messages with which both ends do not join.
local function refused(...)
  local near, far, codes, messages = join(...)
  assert.same({}, { near, far })
  return codes, messages
end

describe("vmctl.L2Switch:trunk", function()
  it("carries frames both ways, in order, and counts them at its ports", run(function()
    local a, b, here, there = two()
    local near, far = join(a, b)
    trunks.send_numbers(here, 2000, 1)
    trunks.send_numbers(there, 2000, 2)
    assert.is_nil(trunks.first_out_of_order(there, 2000))
    assert.is_nil(trunks.first_out_of_order(here, 2000))
    for _, trunk in ipairs { near, far } do
      local counts = assert(trunk:port():counts())
      assert.same({ 2000, 2000, 0 }, { counts.frames_in, counts.frames_out, counts.dropped_full })
    end
    assert.same({ "joined", "trunk-1", { "lan" } }, { near:state(), near:port().name, near:networks() })
    assert(here:send(frame { to = 2, from = 1, text = "learnt" }))
    assert.equal("learnt", assert(there:recv(LIMIT)):sub(15))
  end))

  it("keeps the networks that it carries apart", run(function()
    local a, b, here, there = two()
    local dmz, wire = with_guest "dmz"
    local other, other_wire = with_guest "as it likes"
    local trunk = join(a, b, { with = { dmz = dmz } }, { with = { dmz = other } })
    assert.same({ "dmz", "lan" }, trunk:networks())
    trunks.send_numbers(here, 300, 1) -- the same address in both
    trunks.send_numbers(wire, 200, 1)
    assert.is_nil(trunks.first_out_of_order(there, 300))
    assert.is_nil(trunks.first_out_of_order(other_wire, 200))
    assert.same({ {}, {}, {}, {} }, { texts(here), texts(there), texts(wire), texts(other_wire) })
    assert.same({ 300, 200 }, { trunk:port():counts().frames_out, trunk:port("dmz"):counts().frames_out })
    assert.same({ "trunk-1" }, { other:addresses()[1].port })
  end))

  it("holds up no network for one whose guest does not read", run(function()
    local a, b, here, there = two()
    local dmz, wire = with_guest "dmz"
    local slow = with_guest "slow"
    join(a, b, { with = { dmz = dmz } }, { with = { dmz = slow } })
    for _ = 1, 8 do -- more than the queues of both switches and the window have room for
      local large = {}
      for i = 1, 64 do large[i] = frame { from = 1, size = 60000 } end
      assert(wire:send_many(large, LIMIT))
    end
    trunks.send_numbers(here, 1000, 1)
    assert.is_nil(trunks.first_out_of_order(there, 1000))
  end))

  it("breaks at either end what its port's faults say", run(function()
    local a, b, here, there = two()
    local near, far = join(a, b)
    for _, broken in ipairs { { near, "to" }, { far, "from" } } do
      assert(broken[1]:port():faults({ loss = 1 }, { direction = broken[2] }))
      assert(here:send(frame { from = 1, text = "lost" }))
      assert.same({}, texts(there))
      assert(broken[1]:port():faults(nil))
    end
    assert(a:cut "trunk-1")
    assert(there:send(frame { from = 2, text = "cut" }))
    assert.same({}, texts(here))
    a:heal()
    b:partition { { "guest" } }
    assert(here:send(frame { from = 1, text = "apart" }))
    assert.same({}, texts(there))
    b:heal()
    assert(here:send(frame { from = 1, text = "whole" }))
    assert.same({ "whole" }, texts(there))
    assert.same({ 1, 1 }, { a:counts().ports["guest"].dropped_loss, far:port():counts().dropped_loss })
  end))

  it("refuses what would close a ring, and says which, until the ring is open again", run(function()
    local a, b, c = switch { name = "anna" }, switch { name = "ben" }, switch { name = "cora" }
    local named = { network = "lan" }
    assert(join(a, b, named))
    local opened = assert(join(b, c, named))
    local sentence = "trunk trunk-2: a loop in network 'lan': switch %s over there is reached by trunk trunk-1 of switch %s already"
    local codes, messages = refused(c, a, named)
    assert.same({ "ELOOP", "ELOOP" }, codes)
    assert.same({ sentence:format("anna", "cora"), sentence:format("cora", "anna") }, messages)
    assert.same({ "ELOOP", "ELOOP" }, (refused(a, b, named)))
    codes, messages = refused(a, a, named, { network = "lan", name = "other" })
    assert.same({ "ELOOP", "ELOOP" }, codes)
    assert.matches("it joins switch anna with itself", messages[1])
    assert.same({ 1, 2, 1 }, { #a:ports(), #b:ports(), #c:ports() })
    opened:close()
    support.eventually(function() return select(3, join(c, a, named))[1] == nil end)
    assert.same({ 2, 1, 2 }, { #a:ports(), #b:ports(), #c:ports() })
  end))

  it("finds a ring whose switches joined each other before they met", run(function()
    local s = {}
    for i = 1, 4 do s[i] = switch { name = "switch " .. i } end
    local named = { network = "lan" }
    assert(join(s[1], s[2], named))
    assert(join(s[3], s[4], named))
    assert(join(s[2], s[3], named))
    support.settle()
    local codes, messages = refused(s[4], s[1], named)
    assert.same({ "ELOOP", "ELOOP" }, codes)
    assert.matches("switch 1 over there is reached by trunk trunk%-1 of switch switch 4 already", messages[1])
  end))

  it("refuses a network that one end alone has", run(function()
    local a, b = two()
    local dmz = switch { name = "dmz" }
    local codes, messages = refused(a, b, { with = { dmz = dmz } }, {})
    assert.same({ "ENOENT", "ENOENT" }, codes)
    assert.same({ "trunk trunk-1: switch lan over there has no network 'dmz'",
      "trunk trunk-1: there is no network 'dmz' at this end, which switch lan over there has" }, messages)
    assert.same({ 1, 1, 0 }, { #a:ports(), #b:ports(), #dmz:ports() })
    assert.has_error(function() a:trunk("unix:/x", { with = { dmz = a } }) end)
    assert.has_error(function() a:trunk("unix:/x", { with = { lan = dmz } }) end)
    assert.has_error(function() a:trunk("unix:/x", { network = "" }) end)
    assert.equal("EEXIST", code(a:trunk(assert(vmctl.pair()), { name = "guest" })))
  end))

  it("ends at both ends when one closes it, and forgets the addresses that were learnt there", run(function()
    local a, b, here, there = two()
    local told
    local near, far = join(a, b, { on_end = function(trunk, message, why) told = { trunk, message, why } end }, {})
    assert(there:send(frame { from = 2, text = "x" }))
    assert(here:recv(LIMIT))
    assert(here:send(frame { from = 1, text = "x" }))
    assert(there:recv(LIMIT))
    assert.same({ 2, 2 }, { #a:addresses(), #b:addresses() })
    far:close()
    assert.equal("EOF", near:wait_end(LIMIT))
    assert.same({ near, "EOF" }, { told[1], told[3] })
    assert.same({ "ended", "EOF", 1 }, { near:port():state() })
    assert.same({ "guest", "guest" }, { a:addresses()[1].port, b:addresses()[1].port })
    assert.same({ 1, 1, 2, 1 }, { #a:addresses(), #b:addresses(), #a:ports(), #b:ports() })
    near:close()
    near:close()
    assert.equal(1, #a:ports())
    assert.equal("ECLOSED", far:wait_end(LIMIT))
  end))

  it("ends when its port is removed, disconnected, or its switch is closed", run(function()
    for _, finish in ipairs {
      function(_, trunk) trunk:port():remove() end, function(_, trunk) trunk:port():disconnect() end, function(a) a:close() end,
    } do
      local a, b = two()
      local near, far = join(a, b)
      finish(a, near)
      assert.equal("EOF", far:wait_end(LIMIT))
      assert.equal("ended", (support.eventually(function() return near:state() == "ended" and "ended" end)))
      near:close()
      assert.equal("ECLOSED", code(near:port():counts()))
    end
  end))
end)

describe("a trunk between two processes", function()
  it("carries frames there and back, and ends by name when the other one is killed", run(function()
    local where = "unix:" .. support.tmpdir() .. "/trunks"
    local peer, stderr = trunks.peer(where)
    local sw, far = l2s.switch({ "guest", "neighbour" }, { name = "lan" })
    made[1] = sw
    local ended
    local trunk = assert(sw:trunk(where, { name = "east", key = trunks.KEY, on_end = function(each) ended = each.name end }))
    trunks.send_numbers(far.guest, 1000, 1)
    assert.is_nil(trunks.first_out_of_order(far.neighbour, 1000)) -- flooded
    assert.is_nil(trunks.first_out_of_order(far.guest, 1000))     -- the answers
    local counts = trunk:port():counts()
    assert.same({ 1000, 1000 }, { counts.frames_in, counts.frames_out })
    local function knows_it()
      for _, entry in ipairs(sw:addresses()) do
        if entry.mac == "02:00:00:00:00:63" then return entry.port end
      end
    end
    assert.equal("east", knows_it())
    peer:kill(9)
    assert.equal("EOF", trunk:wait_end(LIMIT))
    assert.same({ "east", nil }, { ended, knows_it() })
    assert(far.guest:send(frame { from = 1, text = "among us" }))
    assert.same({ "among us" }, texts(far.neighbour))
    assert(peer:wait())
    stderr:close()
    peer:close()
  end))

  it("ends when the other one is stopped", run(function()
    local where = "unix:" .. support.tmpdir() .. "/trunks"
    local peer, stderr = trunks.peer(where)
    local sw = switch { name = "lan" }
    local trunk = assert(sw:trunk(where, { key = trunks.KEY, keepalive = 0.5 }))
    peer:kill(19)
    assert.same({ "ETIMEDOUT", "the other end does not answer" }, { trunk:wait_end(LIMIT) })
    peer:kill(9)
    assert(peer:wait())
    stderr:close()
    peer:close()
  end))
end)
