-- The control socket of a switch.
local assert = require "luassert"
local l2 = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code
local LIMIT = 60

local function run(fn) return support.run(fn, LIMIT) end

-- A switch with ports a, b and c, a client of its control socket, and the far ends.
local function controlled()
  local sw, far = l2.switch({ "a", "b", "c" }, { seed = 1 })
  local where = "unix:" .. support.tmpdir() .. "/control"
  assert(sw:control(where))
  return sw, far, assert(vmctl.l2.control(where)), where
end

describe("vmctl.L2Control", function()
  it("changes faults and cuts, and tells counters", run(function()
    local sw <close>, far, client = controlled() -- luacheck: ignore
    local guard <close> = client -- luacheck: ignore
    assert.is_true(client:call("faults", { port = "a", to = "b", faults = { loss = 1 }, direction = "one" }))
    assert(far.a:send(l2.frame { from = 1, text = "lost for b" }))
    assert.same({ {}, { "lost for b" } }, { l2.texts(far.b), l2.texts(far.c) })
    assert.is_true(client:call("faults", { port = "a", to = "b" }))
    assert.is_true(client:call("cut", { port = "c" }))
    assert(far.a:send(l2.frame { from = 1, text = "cut for c" }))
    assert.same({ { "cut for c" }, {} }, { l2.texts(far.b), l2.texts(far.c) })
    local counts = assert(client:call "counts")
    assert.same({ 2, 1, 1 }, { counts.ports.a.frames_in, counts.pairs.a.b.dropped, counts.total.dropped_loss })
    assert.is_true(client:call("heal", {}))
    assert.is_true(client:call("partition", { groups = { { "a", "b" }, { "c" } } }))
    assert(far.c:send(l2.frame { from = 3, text = "alone" }))
    assert.same({}, l2.texts(far.a))
    assert.same({ "a", "c" }, { sw:addresses()[1].port, assert(client:call "addresses")[2].port })
    assert.is_true(client:call "forget")
    assert.same({}, sw:addresses())
  end))

  it("lists the ports with their states", run(function()
    local sw <close>, far, client = controlled() -- luacheck: ignore
    local guard <close> = client -- luacheck: ignore
    far.b:close()
    assert(client:call("faults", { port = "c", faults = { delay = 0.01 }, direction = "from" }))
    local ports
    repeat ports = assert(client:call "ports") until ports[2].state == "ended"
    assert.equal(sw:port("b"):state(), "ended")
    assert.same({ name = "a", state = "connected", connections = 1, faulty = false }, ports[1])
    assert.same({ name = "b", state = "ended", reason = "EOF", connections = 1, faulty = false }, ports[2])
    assert.is_true(ports[3].faulty)
  end))

  it("begins and ends captures", run(function()
    local sw <close>, far, client = controlled() -- luacheck: ignore
    local guard <close> = client -- luacheck: ignore
    local path = support.tmpdir() .. "/net.pcapng"
    assert.is_true(client:call("capture", { path = path, options = { snaplen = 20 } }))
    assert.equal("EEXIST", code(client:call("capture", { path = path })))
    assert(far.a:send(l2.frame { from = 1, text = "seen" }))
    assert.same({ "seen" }, l2.texts(far.b))
    assert.equal(1, client:call("capture_end", { path = path }))
    assert.equal("ENOENT", code(client:call("capture_end", { path = path })))
    assert.equal(1, sw:counts().ports.a.frames_in)
  end))

  it("takes links down, and tells who can be told", run(function()
    local sw <close>, far, client = controlled() -- luacheck: ignore
    local guard <close> = client -- luacheck: ignore
    local told = {}
    sw:port("b"):on_link(function(up)
      told[#told + 1] = up
      if up then return nil, "the guest has gone", "ECLOSED" end
      return true
    end)
    assert.is_true(client:call("link", { port = "b", up = false }))
    assert.is_true(client:call("link", { port = "c", up = false }))
    assert(far.a:send(l2.frame { from = 1, text = "nobody" }))
    assert.same({ {}, {} }, { l2.texts(far.b), l2.texts(far.c) })
    assert.equal("ECLOSED", code(client:call("link", { port = "b", up = true })))
    assert.is_true(client:call("link", { port = "c", up = true }))
    assert.same({ false, true }, told)
    assert(far.a:send(l2.frame { from = 1, text = "both" }))
    assert.same({ { "both" }, { "both" } }, { l2.texts(far.b), l2.texts(far.c) })
  end))

  it("refuses what it does not understand, and goes on", run(function()
    local sw <close>, _, client, where = controlled() -- luacheck: ignore
    local guard <close> = client -- luacheck: ignore
    for _, request in ipairs { { "nothing" }, { "cut" }, { "cut", { port = "x" } }, { "faults", { port = "a", faults = { los = 1 } } },
      { "faults", { port = "a", faults = { loss = 2 } } }, { "link", { port = "a" } }, { "capture", { path = 1 } },
      { "partition", { groups = { "a" } } }, { "seed", { seed = 1.5 } }, { "faults", { port = "a", faults = true } } } do
      assert.equal("EINVAL", code(client:call(request[1], request[2])), request[1])
    end
    assert.matches("^switch has no port 'x'$", (select(2, client:call("cut", { port = "x" }))))
    local raw <close> = assert(vmctl.dial(where)) -- luacheck: ignore
    for _, line in ipairs { "", "x", "[]", "null", "{}", '{"op":1}', '{"op":"cut","port":[]}', '{"op":"counts"} x' } do
      assert(raw:write(line .. "\n"))
      assert.matches('^{"error":', assert(raw:read_line(10000, LIMIT)), line)
    end
    assert.equal(5, client:call("seed", { seed = 5 }))
    assert.equal(5, sw:seed())
  end))

  it("ends with its switch, and its socket with it", run(function()
    local sw, _, client, where = controlled()
    local guard <close> = client -- luacheck: ignore
    sw:close()
    assert.is_nil(client:call "counts")
    assert.equal("ENOENT", code(vmctl.l2.control(where)))
    assert.equal("ECLOSED", code(sw:control(where)))
  end))
end)
