--- Ports of a switch whose frames are datagrams (docs/wire/qemu-l2.md#command-line).
local address = require "vmctl.net.address"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

-- An address of datagrams, for the core. UDP has hosts and ports as TCP has.
local function parse(where)
  if type(where) ~= "string" then error("switch:datagrams: an address expected, got " .. type(where), 3) end
  local path, rest = where:match "^unixgram:(.+)$", where:match "^udp:(.+)$"
  if not path and not rest then
    return errors.fail("EINVAL", "datagrams: unixgram:PATH or udp:HOST:PORT expected, got '%s'", where)
  end
  if path then return address.unix(path) end
  local a, err, code = address.parse("tcp:" .. rest)
  if not a then return nil, err, code end
  if not a.host:find ":" and not a.host:find "^%d+%.%d+%.%d+%.%d+$" then
    return errors.fail("EINVAL", "datagrams: a numeric address expected, got '%s'", where)
  end
  return a
end

--- Adds a port whose frames are datagrams. `"unixgram:PATH"` is bound, mode 0600, and its peer is `remote`, or the first sender until
--- it is gone: vfkit and krunkit need no more than the path; for QEMU it is `-netdev dgram,id=n,local.type=unix,local.path=REMOTE,
--- remote.type=unix,remote.path=PATH`. `"udp:HOST:PORT"` needs a `remote`; both are numeric, and loopback unless everybody who can reach
--- the address may send frames. A port without a peer is connected; frames to it are counted as dropped_full. Frames that a full peer
--- does not take wait in the port's queue. Does not wait.
---@param where string
---@param opts? { remote: string?, name: string? } name: "port-1" … by default
---@return vmctl.L2SwitchPort|nil, string?, string? code EINVAL, EADDRINUSE, EACCES, EEXIST, ENOSPC, ECLOSED …
function M.add(switch, where, opts)
  opts = options.check(opts, { remote = "string", name = "string" }, "switch:datagrams")
  local near, err, code = parse(where)
  if not near then return nil, err, code end
  local far
  if opts.remote then
    far, err, code = parse(opts.remote)
    if not far then return nil, err, code end
  end
  if near.kind == "tcp" and not far then return errors.fail("EINVAL", "datagrams %s: UDP needs 'remote'", where) end
  if far and far.kind ~= near.kind then return errors.fail("EINVAL", "datagrams: %s and %s are of two kinds", where, opts.remote) end
  if opts.name then switch:_check_name(opts.name, 2) end
  if switch._closed then return switch:_fail_closed "datagrams" end
  local port
  port, err, code = switch:_new_port(opts.name)
  if not port then return nil, err, code end
  local ok
  ok, err, code = switch._core:attach_datagrams(port._index, near, far)
  if ok then
    port:_connected()
    return port
  end
  port:remove()
  return nil, ("datagrams %s: %s"):format(where, err), code
end

return M
