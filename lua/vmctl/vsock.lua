--- Sockets between a machine and its guests (AF_VSOCK): constants, addresses, dial, listen.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local numbers = require "vmctl.net.vsock_numbers"
local options = require "vmctl.base.options"

local M = {}

M.AF_VSOCK = 40
M.CID_ANY, M.PORT_ANY = numbers.CID_ANY, numbers.PORT_ANY
M.CID_HYPERVISOR, M.CID_LOCAL, M.CID_HOST = numbers.CID_HYPERVISOR, numbers.CID_LOCAL, numbers.CID_HOST
M.IOCTL_GET_LOCAL_CID = 0x7b9   -- of /dev/vsock

local mt = { __name = "vmctl.vsock.Address", __index = { network = "vsock" } }

function mt:__tostring()
  return ("%d:%d"):format(self.cid, self.port)
end

function mt:__eq(other)
  return self.cid == other.cid and self.port == other.port
end

--- A vsock address. `vmctl.dial` and `vmctl.listen` take it too.
---@param cid integer|"any"|"hypervisor"|"local"|"host"
---@param port integer|"any"
---@return { cid: integer, port: integer, network: "vsock", kind: "vsock" } address tostring gives "CID:PORT"
function M.address(cid, port)
  local a, err = address.parse { kind = "vsock", cid = cid, port = port }
  if not a then error(err, 2) end
  return setmetatable({ kind = "vsock", cid = a.cid, port = a.port }, mt)
end

--- Connects. Waits until it is connected.
---@param cid integer|string as in `address`
---@param port integer
---@param opts? { timeout: number?, format?: vmctl.Format|table } as of vmctl.dial
---@return vmctl.Stream|nil, string?, string? code EINVAL, ENODEV (no such CID), ECONNRESET (nobody listens), ETIMEDOUT …
function M.dial(cid, port, opts)
  return dial.dial({ kind = "vsock", cid = cid, port = port }, opts)
end

local listen_options = { cid = "integer|string", backlog = "integer" }

--- Listens. Does not wait.
---@param port? integer|"any" any free port by default; l:address().port tells which
---@param opts? { cid: integer?, backlog: integer? } cid: only connections to this CID of ours (any)
---@return vmctl.Listener|nil, string?, string? code EADDRINUSE, EADDRNOTAVAIL (not a CID of ours), EACCES (below 1024) …
function M.listen(port, opts)
  opts = options.check(opts or {}, listen_options, "vsock.listen")
  local where = { kind = "vsock", cid = opts.cid or M.CID_ANY, port = port or M.PORT_ANY }
  return dial.listen(where, { backlog = opts.backlog })
end

--- This machine's own CID. Does not wait.
---@return integer|nil cid, string?, string? code ENOENT where there is no /dev/vsock
M.local_cid = core.local_cid

return M
