local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local ME, GATEWAY = "\10\0\2\15", "\10\0\2\2"
local MAC = "\2\0\0\0\0\1"

-- The Internet checksum.
local function checksum(bytes)
  local sum = 0
  if #bytes % 2 == 1 then bytes = bytes .. "\0" end
  for at = 1, #bytes, 2 do sum = sum + (">I2"):unpack(bytes, at) end
  while sum > 0xffff do sum = (sum & 0xffff) + (sum >> 16) end
  return (">I2"):pack(~sum & 0xffff)
end

local function ip(protocol, from, to, body)
  local head = (">BBI2I2I2BB"):pack(0x45, 0, 20 + #body, 1, 0, 64, protocol)
  return head .. checksum(head .. "\0\0" .. from .. to) .. from .. to .. body
end

local function arp_request()
  local body = (">I2I2BBI2"):pack(1, 0x0800, 6, 4, 1) .. MAC .. ME .. ("\0"):rep(6) .. GATEWAY
  return ("\xff"):rep(6) .. MAC .. "\8\6" .. body
end

-- The gateway's own address.
local function ask_gateway(port)
  assert(port:send(arp_request()))
  while true do
    local reply = assert(port:recv(30))
    if reply:sub(13, 14) == "\8\6" and reply:sub(21, 22) == "\0\2" then return reply:sub(7, 12) end
  end
end

local function syn(gateway, number)
  local head = (">I2I2I4I4BBI2"):pack(40000, number, 1000, 0, 0x50, 2, 65535)
  local sum = checksum(ME .. GATEWAY .. (">BBI2"):pack(0, 6, 20) .. head .. "\0\0\0\0")
  return gateway .. MAC .. "\8\0" .. ip(6, ME, GATEWAY, head .. sum .. "\0\0")
end

-- The flags of the first TCP segment that comes from the gateway, or nil.
local function tcp_flags(port)
  while true do
    local frame = port:recv(0.3)
    if not frame then return nil end
    if frame:sub(13, 14) == "\8\0" and frame:byte(24) == 6 then return frame:byte(48) & 0x17 end
  end
end

describe('vmctl.L2Switch:uplink "user"', function()
  if not pcall(require, "vmctl.slirp") then
    it("says what is missing", run(function()
      local sw = vmctl.l2.switch()
      local port, message, why = sw:uplink "user"
      assert.same({ nil, "ENOSYS" }, { port, why })
      assert.truthy(message:find("libslirp-dev", 1, true))
      assert.same({}, sw:ports())
      sw:close()
    end))
    pending "needs libslirp"
    return
  end

  it("answers ARP as QEMU's own user network does", run(function()
    local sw, far = l2s.switch { "guest" }
    local up = assert(sw:uplink "user")
    assert.equal("uplink", up.name)
    assert.equal("connected", (up:state()))
    assert.equal("\x52\x55" .. GATEWAY, ask_gateway(far.guest))
    up:remove()
    assert(far.guest:send(arp_request()))
    assert.equal("ETIMEDOUT", code(far.guest:recv(0.05)))
    sw:close()
  end, 5))

  it("leads to this machine's loopback only where that is wanted", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    for _, wanted in ipairs { true, false } do
      local sw, far = l2s.switch { "guest" }
      assert(sw:uplink { "user", host_loopback = wanted, ipv6 = false })
      local gateway = ask_gateway(far.guest)
      assert(far.guest:send(syn(gateway, listener:address().port)))
      local flags = tcp_flags(far.guest)
      assert.equal(wanted, flags == 0x12) -- SYN and ACK
      if wanted then assert(listener:accept(30)):close() end
      sw:close()
    end
    listener:close()
  end, 5))

  it("keeps guests in where it is restricted", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local sw, far = l2s.switch { "guest" }
    assert(sw:uplink { "user", restricted = true, host_loopback = true })
    local gateway = ask_gateway(far.guest)
    assert(far.guest:send(syn(gateway, listener:address().port)))
    assert.not_equal(0x12, tcp_flags(far.guest))
    assert.equal("ETIMEDOUT", code(listener:accept(0)))
    listener:close()
    sw:close()
  end, 5))

  it("can be there more than once, and be left to the collector", run(function()
    for _ = 1, 3 do
      local sw = vmctl.l2.switch()
      assert(sw:uplink "user")
      assert.equal("EEXIST", code(sw:uplink "user"))
      assert(sw:uplink { "user", name = "second" })
      sw:close()
    end
  end, 5))
end)

describe('vmctl.L2Switch:uplink "passt"', function()
  local COUNT = "unset LD_PRELOAD; pgrep -c -P $PPID passt; true"
  local function passts() return tonumber(assert(vmctl.host:run { "sh", "-c", COUNT }).stdout) end

  if vmctl.host:run({ "sh", "-c", "command -v passt" }).exit_code ~= 0 then
    it("says that it is missing", run(function()
      local sw = vmctl.l2.switch()
      assert.equal("ENOSYS", code(sw:uplink "passt"))
      assert.same({}, sw:ports())
      sw:close()
    end))
    return
  end

  it("answers in this machine's place, and its process ends with the port", run(function()
    local sw, far = l2s.switch { "guest" }
    local up = assert(sw:uplink { "passt", restricted = true, ipv6 = false, args = { "--address", "10.0.2.15", "--netmask", "24",
      "--gateway", "10.0.2.2" } })
    assert.equal("connected", (up:state()))
    assert.equal(6, #ask_gateway(far.guest))
    up:remove()
    support.eventually(function() return passts() == 0 end)
    sw:close()
  end, 60))

  it("that cannot start is an ended port", run(function()
    local sw = vmctl.l2.switch()
    local up = assert(sw:uplink { "passt", args = { "--no-such-option" } })
    support.eventually(function() return up:state() == "ended" end)
    sw:close()
  end, 60))
end)

describe("vmctl.L2Switch:uplink { tap = … }", function()
  local function may_open()
    local sw <close> = vmctl.l2.switch()
    return (sw:uplink { tap = "vmctlspec%d" })
  end

  it("refuses what it does not know", run(function()
    local sw = vmctl.l2.switch()
    for _, bad in ipairs { "usre", {}, { "user", tap = "x" }, { "tap" }, { tap = 1 }, { "user", args = {} } } do
      local ok, err = pcall(function() sw:uplink(bad) end)
      assert.is_false(ok)
      assert.truthy(err:find "^[^:]*l2_uplink_spec%.lua:%d+: switch:uplink: ", err)
    end
    local why = code(sw:uplink { tap = ("n"):rep(16) })
    assert.is_true(why == "ENAMETOOLONG")
    assert.same({}, sw:ports())
    sw:close()
  end))

  if not may_open() then
    pending "needs the right to open TAP devices"
    return
  end

  local function packets(device, way)
    local file = assert(io.open(("/sys/class/net/%s/statistics/%s_packets"):format(device, way)))
    local number = tonumber(file:read "a")
    file:close()
    return number
  end

  it("carries frames to an interface of this machine, and from it", run(function()
    local sw, far = l2s.switch { "guest" }
    local port = assert(sw:uplink { tap = "vmctlspec%d", name = "out" })
    assert.truthy(port.device:find "^vmctlspec%d+$")
    assert(far.guest:send(l2s.frame { size = 60 })) -- it is down: lost
    support.eventually(function() return port:counts().dropped_full == 1 end)
    assert.equal("EBUSY", code(sw:uplink { tap = port.device, name = "again" }))
    assert(vmctl.host:run { "ip", "link", "set", port.device, "up", check = true })
    local before = packets(port.device, "rx")
    for i = 1, 100 do assert(far.guest:send(l2s.frame { text = tostring(i), size = 60 })) end
    support.eventually(function() return packets(port.device, "rx") == before + 100 end)
    assert.equal("connected", (port:state()))
    assert.equal(0, port:counts().invalid)
    -- An interface that comes up speaks by itself where IPv6 is on.
    local said = far.guest:recv(30)
    assert.equal(said and true or false, port:counts().frames_in > 0)
    local device = port.device
    sw:close()
    assert.is_nil(io.open(("/sys/class/net/%s/statistics/rx_packets"):format(device)))
  end, 5))
end)
