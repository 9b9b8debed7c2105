-- TAP devices and veth pairs in network namespaces of the test's own: no right of this machine is needed, and nothing of it changes.
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

-- A switch with a TAP device, which a bridge joins with one end of a veth pair. The other end, with an address, is in a namespace of its
-- own: the frames of a guest reach its kernel, and those of the kernel the guest.
local SCRIPT = [[
  local vmctl = require "vmctl"
  local l2 = require "spec.support.l2"
  local function sh(text) return assert(vmctl.host:run { "sh", "-ec", text, check = true }) end
  vmctl.run(vmctl.timeout, 50, function()
    local sw, far = l2.switch { "guest" }
    local port = assert(sw:uplink { tap = "lan%d" })
    local inner <close> = assert(vmctl.process.spawn { "unshare", "-n", "sleep", "60", death_signal = "KILL" })
    local other = ("/proc/%d/ns/net"):format(inner.pid)
    local lfs = require "lfs"
    while lfs.symlinkattributes(other, "target") == lfs.symlinkattributes("/proc/self/ns/net", "target") do end
    sh(("ip link add bridge type bridge; ip link set %s master bridge; ip link add left type veth peer name right"):format(port.device))
    sh(("ip link set left master bridge; ip link set right netns %d"):format(inner.pid))
    for _, name in ipairs { port.device, "bridge", "left" } do sh(("ip link set %s up"):format(name)) end
    sh(("nsenter -t %d -n sh -ec 'ip address add 10.9.0.2/24 dev right; ip link set right up'"):format(inner.pid))
    local me, them, mac = "\10\9\0\1", "\10\9\0\2", "\2\0\0\0\0\1"
    local ask = ("\xff"):rep(6) .. mac .. "\8\6" .. (">I2I2BBI2"):pack(1, 0x0800, 6, 4, 1) .. mac .. me .. ("\0"):rep(6) .. them
    while true do
      assert(far.guest:send(ask))
      local frame = far.guest:recv(0.5)
      if frame and frame:sub(1, 6) == mac and frame:sub(13, 14) == "\8\6" and frame:sub(29, 32) == them then break end
    end
    sw:close()
    inner:kill "KILL"
    inner:wait(30)
  end)]]

local function unshare_works()
  local has = vmctl.host:run { "sh", "-c", "unshare -Urn sh -c 'test -w /dev/net/tun && ip link add x type veth peer name y'" }
  return has.exit_code == 0
end

describe("a switch in network namespaces", function()
  if not unshare_works() then
    pending "needs user namespaces, /dev/net/tun and ip"
    return
  end

  it("reaches a veth through a TAP device and a bridge, without a right of this machine", support.run(function()
    script.check(SCRIPT, { command = { "unshare", "-Urn" } })
  end, LIMIT))
end)
