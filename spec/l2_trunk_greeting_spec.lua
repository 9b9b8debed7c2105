-- The peers that may make a trunk: the key, the hello, and peers that are no trunk.
local assert = require "luassert"
local greeting = require "vmctl.l2.trunk_greeting"
local hmac = require "vmctl.base.hmac"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local talk = require "vmctl.l2.trunk_talk"
local trunks = require "spec.support.trunks"
local vmctl = require "vmctl"

local code, passed = support.code, support.passed
local KEY, LIMIT = trunks.KEY, trunks.LIMIT
local OTHER_KEY = KEY:sub(1, -2) .. "x"
local NONCE = ("n"):rep(32)

local function run(fn) return support.run(fn, LIMIT) end

local function hex(text) return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end)) end

-- Offers a trunk to a peer that says `bytes` and ends: the refusal's code and message, and the seconds that passed.
local function refuses(bytes, opts)
  local sw = vmctl.l2.switch { name = "lan" }
  local near, far = assert(vmctl.pair())
  assert(far:write(bytes, LIMIT))
  if not opts.stays then far:shutdown(LIMIT) end
  local seconds, trunk, message, why = passed(sw.trunk, sw, near, { key = opts.key, timeout = opts.timeout })
  assert.is_nil(trunk)
  assert.equal(0, #sw:ports())
  far:close()
  sw:close()
  return why, message, seconds
end

describe("hmac.sha256", function()
  it("gives the codes of RFC 4231", function()
    for key, case in pairs {
      [("\x0b"):rep(20)] = { "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
      Jefe = { "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
      [("\xaa"):rep(20)] = { ("\xdd"):rep(50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
      [("\xaa"):rep(131)] = { "Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
    } do
      assert.equal(hex(case[2]), hmac.sha256(key, case[1]))
    end
  end)

  it("tells codes that differ in any byte apart", function()
    local sum = hmac.sha256("key", "text")
    assert.is_true(hmac.equal(sum, hmac.sha256("key", "text")))
    for i = 1, #sum do
      assert.is_false(hmac.equal(sum, sum:sub(1, i - 1) .. string.char(sum:byte(i) ~ 1) .. sum:sub(i + 1)))
    end
    assert.is_false(hmac.equal(sum, sum:sub(1, 31)))
  end)
end)

describe("the greeting of a trunk", function()
  it("joins those who have the same key, and nobody else", run(function()
    for keys, expected in pairs {
      [{ KEY, KEY }] = {}, [{}] = {}, [{ KEY, OTHER_KEY }] = { "EACCES", "EACCES" }, [{ KEY }] = { "EACCES", "EACCES" },
    } do
      local a, b = vmctl.l2.switch(), vmctl.l2.switch()
      local near, far, codes, messages = trunks.join(a, b, { key = keys[1] }, { key = keys[2] })
      assert.same(expected, codes)
      assert.same({ #expected == 0, #expected == 0 }, { near ~= nil, far ~= nil })
      for _, message in ipairs(messages) do assert.is_nil(message:find(KEY, 1, true)) end
      a:close()
      b:close()
    end
  end))

  it("works when it comes byte by byte", run(function()
    local a, far_a = l2s.switch { "guest" }
    local b, far_b = l2s.switch { "guest" }
    local near, middle = assert(vmctl.pair())
    local other, far = assert(vmctl.pair())
    local function dribble(from, to)
      local byte = from:read(1, LIMIT)
      while byte and to:write(byte, LIMIT) do byte = from:read(1, LIMIT) end
      to:shutdown(LIMIT)
    end
    local copies = { vmctl.spawn(dribble, middle, other), vmctl.spawn(dribble, other, middle) }
    local trunk
    vmctl.all { function() trunk = assert(a:trunk(near, { key = KEY })) end, function() assert(b:trunk(far, { key = KEY })) end }
    trunks.send_numbers(far_a.guest, 20, 1)
    assert.is_nil(trunks.first_out_of_order(far_b.guest, 20))
    trunk:close()
    for _, copy in ipairs(copies) do copy:join(LIMIT) end
    for _, each in ipairs { middle, other, a, b } do each:close() end
  end))

  it("has a limit, however the bytes come", run(function()
    for _, bytes in ipairs { "", greeting.hello(NONCE, true):sub(1, 47), greeting.hello(NONCE, true) .. ("p"):rep(31) } do
      local why, _, seconds = refuses(bytes, { key = KEY, stays = true, timeout = 20 })
      assert.same({ "ETIMEDOUT", 20 }, { why, math.floor(seconds + 0.5) })
    end
  end))

  it("ends at once when the other end goes while they join", run(function()
    for _, nonce in ipairs { ("\0"):rep(32), ("\xff"):rep(32) } do -- this end is the first, and the second
      local why, _, seconds = refuses(greeting.hello(nonce, false), { timeout = 50 })
      assert.same({ "EOF", true }, { why, seconds < 5 })
    end
  end))

  it("takes no hello that differs in a byte, and none that ends early", run(function()
    local hello = greeting.hello(NONCE, false)
    for i = 1, 16 do -- magic, version, flags
      local why = refuses(hello:sub(1, i - 1) .. string.char(hello:byte(i) ~ 0x40) .. hello:sub(i + 1), {})
      assert.same({ i, "EPROTO" }, { i, why })
    end
    for _, size in ipairs { 0, 1, 47 } do
      assert.truthy(({ EOF = true, EPROTO = true })[refuses(hello:sub(1, size), {})])
    end
    local _, message = refuses(hello:sub(1, 12) .. "\2" .. hello:sub(14), {})
    assert.matches("speaks version 2, and this one 1", message)
    assert.same("EPROTO", (refuses("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n", {})))
  end))

  it("takes no proof of an earlier meeting", run(function()
    local a, b = vmctl.l2.switch(), vmctl.l2.switch()
    local near, middle = assert(vmctl.pair())
    local other, far = assert(vmctl.pair())
    local said = ""
    local function copy(from, to, note)
      local bytes = from:read(65536, LIMIT)
      while bytes and to:write(bytes, LIMIT) do
        if note then said = said .. bytes end
        bytes = from:read(65536, LIMIT)
      end
      to:shutdown(LIMIT)
    end
    local copies = { vmctl.spawn(copy, middle, other, true), vmctl.spawn(copy, other, middle) }
    local trunk
    vmctl.all { function() trunk = assert(a:trunk(near, { key = KEY })) end, function() assert(b:trunk(far, { key = KEY })) end }
    trunk:close()
    for _, each in ipairs(copies) do each:join(LIMIT) end
    assert.is_true(#said > greeting.HELLO + greeting.PROOF)
    local why, message = refuses(said, { key = KEY })
    assert.same({ "EACCES", "trunk trunk-1: the other end has another key" }, { why, message })
    for _, each in ipairs { middle, other, a, b } do each:close() end
  end))

  it("takes neither its own bytes for a peer, nor its own proof for the peer's", run(function()
    local sw = vmctl.l2.switch()
    local near, far = assert(vmctl.pair())
    local echo = vmctl.spawn(function()
      local bytes = far:read(4096, LIMIT)
      while bytes and far:write(bytes, LIMIT) do bytes = far:read(4096, LIMIT) end
    end)
    assert.equal("EPROTO", code(sw:trunk(near, { key = KEY })))
    echo:join(LIMIT)
    far:close()
    assert.not_equal(greeting.proof(KEY, "first", "a", "b"), greeting.proof(KEY, "second", "a", "b"))
    near, far = assert(vmctl.pair())
    local mirror = vmctl.spawn(function() -- a hello of its own, and our proof
      far:write(greeting.hello(NONCE, true), LIMIT)
      far:read_exact(greeting.HELLO, LIMIT)
      far:write(far:read_exact(greeting.PROOF, LIMIT), LIMIT)
    end)
    assert.equal("EACCES", code(sw:trunk(near, { key = KEY })))
    mirror:join(LIMIT)
    far:close()
    sw:close()
  end))
end)

describe("the key of a trunk", function()
  it("is needed where others may be at the address", run(function()
    local sw = vmctl.l2.switch()
    for _, where in ipairs { "tcp:127.0.0.1:0", "vsock:any:4321" } do assert.equal("EACCES", code(sw:listen_trunks(where))) end
    assert.equal("EACCES", code(sw:trunk "tcp:127.0.0.1:1"))
    assert.equal("EINVAL", code(sw:trunk("tcp:127.0.0.1:1", { key = ("k"):rep(15) })))
    assert.equal("EINVAL", code(sw:trunk("tcp:127.0.0.1:1", { key = ("k"):rep(4097) })))
    assert.has_error(function() sw:trunk("tcp:127.0.0.1:1", { key = KEY, key_file = "/x" }) end)
    sw:close()
  end))

  it("comes from a file as well, and joins over TCP", run(function()
    local path = support.tmpdir() .. "/key"
    local file <close> = assert(io.open(path, "w"))
    file:write(KEY, "\n")
    file:close()
    local a, far_a = l2s.switch { "guest" }
    local b, far_b = l2s.switch { "guest" }
    local came = {}
    local listener = assert(b:listen_trunks("tcp:127.0.0.1:0",
      { key_file = path, name = "from", on_trunk = function(trunk) came[#came + 1] = trunk.name end }))
    local where = tostring(listener:address())
    assert.equal("EACCES", code(a:trunk(where, { key = OTHER_KEY })))
    local trunk = assert(a:trunk(where, { key = KEY }))
    trunks.send_numbers(far_a.guest, 100, 1)
    assert.is_nil(trunks.first_out_of_order(far_b.guest, 100))
    support.eventually(function() return came[1] end)
    assert.same({ "from-1" }, came)
    assert.same({ "from-1" }, { listener:trunks()[1].name, listener:trunks()[2] })
    assert.equal("ENOENT", code(a:trunk(where, { key_file = path .. "s" })))
    listener:close()
    assert.equal("joined", (trunk:state()))
    assert.equal("ECONNREFUSED", code(a:trunk(where, { key = KEY })))
    a:close()
    b:close()
  end))
end)

describe("what the ends of a trunk say", function()
  it("is refused when it has another shape", function()
    local id = ("0a"):rep(16)
    local ids, many = { id }, {}
    for i = 1, 65 do many["network " .. i] = ids end
    local good = { type = "networks", name = "lan", networks = { lan = ids } }
    assert.same(good, talk.parse(vmctl.json.encode(good)))
    for _, bad in ipairs {
      { type = "networks", name = "lan", networks = {} }, { type = "networks", name = "lan", networks = many },
      { type = "networks", name = "lan\n", networks = good.networks }, { type = "networks", name = "lan", networks = { lan = {} } },
      { type = "networks", name = "lan", networks = { lan = id } }, { type = "networks", name = "lan", networks = { lan = { "x" } } },
      { type = "reach", network = "lan", ids = {} }, { type = "reach", network = "lan", ids = { id:upper() .. "g" } },
      { type = "refused" }, { type = "other" }, { 1, 2 }, 7,
    } do
      assert.equal("EPROTO", code(talk.parse(vmctl.json.encode(bad))))
    end
    for _, text in ipairs { "", "{", "[]", "null", "\0", ("["):rep(1000) } do assert.equal("EPROTO", code(talk.parse(text))) end
  end)
end)
