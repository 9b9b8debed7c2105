--- The uplinks of a switch: a TAP device of this machine, or user networking by libslirp or passt.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"
local process = require "vmctl.process"

local M = {}

local known = {
  "string", tap = "string", name = "string", restricted = "boolean", host_loopback = "boolean", ipv6 = "boolean", args = "table",
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

-- A passt process, which ends with the port.
local passt_mt = { __index = { close = function(self) self.child:close() end } }

local function passt_command(opts, fd)
  local words = { "passt", "--foreground", "--fd", "3" }
  words.fds, words.death_signal, words.stdin, words.stdout, words.stderr = { fd }, "KILL", "null", "null", "null"
  local function add(...) table.move({ ... }, 1, select("#", ...), #words + 1, words) end
  if opts.restricted then add("--no-tcp", "--no-udp", "--no-icmp") end
  if not opts.host_loopback then add "--no-map-gw" end
  if opts.ipv6 == false then add "--ipv4-only" end
  add(table.unpack(opts.args or {}))
  return words
end

-- Connects a port to a passt of its own, by a socket pair with QEMU's framing.
local function attach_passt(switch, port, opts)
  local near, far, code = dial.pair()
  if not near then return nil, far, code end
  local theirs = assert(far:detach())
  local child, err
  child, err, code = process.spawn(passt_command(opts, theirs))
  assert(core.open(theirs)):close()
  if not child then
    near:close()
    if code == "ENOENT" then return errors.fail("ENOSYS", "passt is not installed (Debian: passt)") end
    return nil, err, code
  end
  port._network = setmetatable({ child = child }, passt_mt)
  return switch._core:attach(port._index, assert(near:detach()), "")
end

local function plan(where)
  if type(where) == "string" then where = { where } end
  local opts = options.check(where, known, "switch:uplink", 4)
  local kind = opts[1]
  if (kind ~= nil) == (opts.tap ~= nil) or kind and kind ~= "user" and kind ~= "passt" or opts[2] then
    error('switch:uplink: "user", "passt" or { tap = NAME } expected', 3)
  end
  if opts.args and kind ~= "passt" then error("switch:uplink: option 'args': only passt has some", 3) end
  return opts
end

--- Adds an uplink port. `"passt"`: this machine's passt, in a process of its own that ends with the port; guests get this
--- machine's own address, and their traffic goes through its sockets. `"user"`: a network 10.0.2.0/24 by libslirp, as QEMU's own:
--- the gateway 10.0.2.2, DHCP from 10.0.2.15 on, a name server 10.0.2.3; the guests' traffic goes through sockets of this
--- process, in a thread. `{ tap = … }`: a TAP device, created if there is none of that name, and then removed with the port; for
--- "%d" in it the kernel chooses a number, and the port's `device` is the name. Configure it with `ip`; docs/networks.md says
--- how. Does not wait.
---@param where "user"|"passt"|{ [1]: "user"|"passt"|nil, tap: string?, name: string?, restricted: boolean?, host_loopback: boolean?,
--- ipv6: boolean?, args: string[]? } name: of the port ("uplink"); for "user" and "passt": restricted: guests reach only that network's
--- own services; host_loopback: the gateway (10.0.2.2) leads to this machine's loopback (false); ipv6: IPv6 as well (true); args: more
--- arguments of passt
---@return vmctl.L2SwitchPort|nil, string?, string? code ENOSYS (no libslirp, no passt), EPERM and EBUSY (of the device), EEXIST, ECLOSED
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
    ok, err, code = (opts[1] == "passt" and attach_passt or attach_user)(switch, port, opts)
  end
  if ok then
    port:_connected()
    return port
  end
  port:remove()
  return nil, err, code
end

return M
