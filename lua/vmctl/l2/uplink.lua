--- The uplinks of a switch: a TAP device of this machine, or user networking by libslirp.
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local known = {
  "string", tap = "string", name = "string", restricted = "boolean", host_loopback = "boolean", ipv6 = "boolean",
}

local MISSING = "user networking needs libslirp: install it (Debian: libslirp-dev) and build vmctl again"

-- Connects a port to a network of libslirp's, which ends with the port.
local function attach_user(switch, port, opts)
  local found, slirp = pcall(require, "vmctl.slirp")
  if not found then return errors.fail("ENOSYS", MISSING) end
  local settings = { restricted = opts.restricted, host_loopback = opts.host_loopback, ipv6 = opts.ipv6 ~= false }
  local network, fd = slirp.open(settings)
  if not network then return errors.fail("EAGAIN", "%s", fd) end
  port._network = network
  return switch._core:attach_packets(port._index, fd)
end

local function plan(where)
  if where == "user" then where = { "user" } end
  local opts = options.check(where, known, "switch:uplink", 4)
  if (opts[1] == "user") == (opts.tap ~= nil) or opts[1] and opts[1] ~= "user" or opts[2] then
    error('switch:uplink: "user" or { tap = NAME } expected', 3)
  end
  return opts
end

--- Adds an uplink port. `"user"`: a network 10.0.2.0/24 by libslirp, as QEMU's own: the gateway 10.0.2.2, DHCP from
--- 10.0.2.15 on, a name server 10.0.2.3; the guests' traffic goes through sockets of this process, in a thread. `{ tap = … }`:
--- a TAP device, created if there is none of that name, and then removed with the port; for "%d" in it the kernel chooses a number, and
--- the port's `device` is the name. Configure it with `ip`. Does not wait.
---@param where "user"|{ [1]: "user"?, tap: string?, name: string?, restricted: boolean?, host_loopback: boolean?, ipv6: boolean? }
--- name: of the port ("uplink"); for "user": restricted: guests reach only that network's own services; host_loopback: 10.0.2.2
--- leads to this machine's loopback (false); ipv6: fec0::/64 as well (true)
---@return vmctl.L2SwitchPort|nil, string?, string? code ENOSYS (no libslirp), EPERM and EBUSY (of the device), EEXIST, ECLOSED
function M.uplink(switch, where)
  local opts = plan(where)
  if switch._closed then return switch:_fail_closed "uplink" end
  local name = opts.name or "uplink"
  switch:_check_name(name, 2)
  local port, err, code = switch:_new_port(name)
  if not port then return nil, err, code end
  local ok
  if opts.tap then
    ok, err, code = switch._core:attach_tap(port._index, opts.tap)
    port.device = ok
  else
    ok, err, code = attach_user(switch, port, opts)
  end
  if ok then
    port:_connected()
    return port
  end
  port:remove()
  return nil, err, code
end

return M
