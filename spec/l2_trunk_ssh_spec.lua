-- Trunks over a real ssh, to hosts in namespaces of their own (make test-ssh).
local assert = require "luassert"
local l2s = require "spec.support.l2"
local ssh_hosts = require "spec.support.ssh_hosts"
local support = require "spec.support"
local trunks = require "spec.support.trunks"
local vmctl = require "vmctl"

local LIMIT, SWITCH = 120, "vmctl switch --listen unix:/run/net --trunk -"

local function run(fn) return support.run(fn, LIMIT) end

local function as_task(fn) return support.shared(fn, LIMIT) end

-- A guest of a host's switch: it answers each frame to whom it came from, as 02:00:00:00:00:NN.
local GUEST = [[
local vmctl = require "vmctl"
local wire
for _ = 1, 600 do
  wire = vmctl.l2.dial "unix:/run/net"
  if wire then break end
  vmctl.sleep(0.05)
end
assert(wire:send(("\255"):rep(6) .. "\2\0\0\0\0" .. string.char(%d) .. "\136\181here"))
while true do
  local frame = wire:recv(math.huge)
  if not frame then return end
  assert(wire:send(frame:sub(7, 12) .. "\2\0\0\0\0" .. string.char(%d) .. frame:sub(13)))
end
]]

describe("a trunk over ssh #ssh", function()
  local hosts
  lazy_setup(function() hosts = ssh_hosts.start(2) end)
  lazy_teardown(function() if hosts then hosts:close() end end)

  -- A trunk to the switch that ssh starts on a host.
  local function join(sw, name, opts)
    opts.name, opts.network, opts.timeout = name, "net", LIMIT
    return assert(sw:trunk(("exec:%s/bin/ssh %s %s 2>/dev/null"):format(hosts.folder, name, SWITCH), opts))
  end

  -- Its end is the end of ssh.
  local function guest(name, last)
    local words = { hosts.folder .. "/bin/ssh", name, "lua5.4", "-", stdin = "pipe", stdout = "null", stderr = "null" }
    local child = assert(vmctl.process.spawn(words))
    assert(child.stdin:write(GUEST:format(last, last), LIMIT))
    child.stdin:shutdown(LIMIT)
    return child
  end

  it("joins hosts through a switch in the middle, breaks what it is told, and leaves nothing behind", run(function()
    local sw <close>, far = l2s.switch({ "here" }, { name = "middle" }) -- luacheck: ignore
    local first, second = join(sw, "h1", {}), join(sw, "h2", {})
    local guests = { guest("h1", 11), guest("h2", 12) }
    local seen = {}
    while not (seen[11] and seen[12]) do seen[assert(far.here:recv(LIMIT)):byte(12)] = true end
    l2s.texts(far.here, 0.2) -- they have greeted each other as well
    for _, to in ipairs { 11, 12 } do
      for i = 1, 200 do assert(far.here:send(l2s.frame { to = to, from = 1, text = tostring(i) })) end
      assert.is_nil(trunks.first_out_of_order(far.here, 200))
    end
    assert(first:port():faults({ loss = 1 }, { direction = "to" }))
    assert(far.here:send(l2s.frame { to = 11, from = 1, text = "lost" }))
    assert(far.here:send(l2s.frame { to = 12, from = 1, text = "kept" }))
    assert.equal("kept", assert(far.here:recv(LIMIT)):sub(15))
    assert.equal(1, first:port():counts().dropped_loss + sw:port("here"):counts().dropped_loss)
    second:close()
    first:close()
    for i, each in ipairs(guests) do
      assert(each:wait(LIMIT))
      each:close()
      support.eventually(function() return #hosts[i]:processes() == 0 end)
    end
  end))

  it("ends by name when its host no longer answers, and when it dies", as_task(function()
    local sw <close> = vmctl.l2.switch { name = "middle" } -- luacheck: ignore
    local ends = {}
    local function on_end(trunk, _, code) ends[trunk.name] = code end
    local silent, dead = join(sw, "h1", { keepalive = 2, on_end = on_end }), join(sw, "h2", { keepalive = 6, on_end = on_end })
    hosts[1]:cut()
    assert.equal("ETIMEDOUT", silent:wait_end(LIMIT))
    assert.equal("joined", (dead:state()))
    hosts[1]:cut(true)
    hosts[2]:kill()
    local code = dead:wait_end(LIMIT)
    assert.same({ h1 = "ETIMEDOUT", h2 = code }, ends)
    silent:close()
    dead:close()
    hosts[2]:start()
    support.eventually(function() return #hosts[1]:processes() == 0 end, "something is left on a host")
  end))
end)
