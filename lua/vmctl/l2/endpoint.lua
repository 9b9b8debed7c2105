--- The ends of Ethernet wires: addresses with an address family ("tcp4:", "tcp6:"), dialling and listening.
local core = require "vmctl.core"
local access = require "vmctl.net.access"
local address = require "vmctl.net.address"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local port = require "vmctl.l2.port"

local M = {}

local DIAL_TIMEOUT = 10

local function is_ipv6(host)
  return host:find(":", 1, true) ~= nil
end

--- An address and the family it is bound to. Does not wait.
---@return vmctl.Address|nil where, string|nil family_or_message "4", "6", or nil for any; on failure the message, string? code
function M.parse(where)
  local family, rest
  if type(where) == "string" then
    family, rest = where:match "^tcp([46])(:.*)$"
  end
  local a, err, code = address.parse(family and "tcp" .. rest or where)
  if not a then return nil, err, code end
  return a, family
end

-- The numeric addresses of a name, of the family.
local function resolve(a, family, timeout)
  local hosts, err, code
  if not is_ipv6(a.host) and not a.host:match "^%d+%.%d+%.%d+%.%d+$" then
    hosts, err, code = core.resolve(a.host, timeout)
    if not hosts then return nil, err, code end
  end
  local fitting = {}
  for _, host in ipairs(hosts or { a.host }) do
    if is_ipv6(host) == (family == "6") then fitting[#fitting + 1] = host end
  end
  if #fitting == 0 then return errors.fail("ERESOLVE", "%s: %s has no address of IPv%s", a, a.host, family) end
  return fitting
end

local function dial_family(a, family, deadline)
  local hosts, err, code = resolve(a, family, deadline - core.now())
  local stream
  for i, host in ipairs(hosts or {}) do -- the remaining addresses share the remaining time
    local share = (deadline - core.now()) / (#hosts - i + 1)
    stream, err, code = dial.dial({ kind = "tcp", host = host, port = a.port }, share)
    if stream or code == "ECANCELED" then break end
  end
  return stream, err, code
end

--- Connects to an address from `parse`. Waits.
---@return vmctl.Stream|nil, string?, string?
function M.connect(a, family, timeout)
  timeout = timeout or DIAL_TIMEOUT
  if family then return dial_family(a, family, core.now() + timeout) end
  return dial.dial(a, timeout)
end

--- Connects to a QEMU that listens (`-netdev stream,server=on`, `-netdev socket,listen=`), or to a port of ours. Waits.
---@param where string|table|function "tcp:HOST:PORT", "tcp4:…" and "tcp6:…" (of that family alone), "unix:PATH", and all others
--- that vmctl.dial takes
---@param opts? number|{ timeout: number? } seconds (10)
---@return vmctl.L2Port|nil, string?, string?
function M.dial(where, opts)
  opts = options.check(opts, { timeout = "number>=0" }, "l2.dial")
  local a, family, code = M.parse(where)
  if not a then return nil, family, code end
  local stream, err
  stream, err, code = M.connect(a, family, opts.timeout)
  if not stream then return nil, err, code end
  return port.new(stream)
end

---@class vmctl.L2Listener
local listener = {}
local listener_mt = { __name = "vmctl.L2Listener", __index = listener }

--- Waits for a connection. Closes connections that `allow` refuses.
---@param timeout? number|{ timeout: number } seconds; for ever by default
---@return vmctl.L2Port|nil, string?, string? code ECLOSED, ETIMEDOUT
function listener:accept(timeout)
  if type(timeout) == "table" then timeout = timeout.timeout end
  local deadline = core.now() + (timeout or math.huge)
  while true do
    local stream, err, code = self._listener:accept(deadline - core.now())
    if not stream then return nil, err, code end
    local welcome, why = self._allow(stream)
    if welcome then return port.new(stream) end
    log.info("l2: refused a connection: %s", why)
    stream:close()
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "accept: nobody who is allowed to came in time") end
  end
end

--- Where it listens.
---@return vmctl.Address|nil, string?, string?
function listener:address()
  return self._listener:address()
end

--- Stops listening; accepted ports stay. Idempotent, never waits.
---@return true
function listener:close()
  return self._listener:close()
end

listener_mt.__close = listener.close
function listener_mt:__tostring() return ("vmctl.L2Listener(%s)"):format(tostring(self._listener)) end

--- Listens for QEMUs that connect (`-netdev stream`, `-netdev socket,connect=`). Waits only to resolve a name.
---@param where string|table "tcp:HOST:PORT", "tcp4:…", "tcp6:…", "unix:PATH" …
---@param opts? { backlog: integer?, mode: integer?, allow?: function|table } mode: of a Unix socket's file (0600);
-- allow: see vmctl.net.access
---@return vmctl.L2Listener|nil, string?, string?
function M.listen(where, opts)
  opts = options.check(opts, { backlog = "integer>=1", mode = "integer", allow = "function|table" }, "l2.listen")
  local a, family, code = M.parse(where)
  if not a then return nil, family, code end
  if family then
    local hosts, err
    hosts, err, code = resolve(a, family)
    if not hosts then return nil, err, code end
    a = address.tcp(hosts[1], a.port)
  end
  local l, err
  l, err, code = dial.listen(a, { backlog = opts.backlog, mode = opts.mode })
  if not l then return nil, err, code end
  return setmetatable({ _listener = l, _allow = access.policy(opts.allow) }, listener_mt)
end

--- Two ports with a wire between them. Does not wait.
---@return vmctl.L2Port|nil near
---@return vmctl.L2Port far or the message
---@return string? code
function M.socketpair()
  local a, b, code = dial.pair()
  if not a then return nil, b, code end
  return port.new(a), port.new(b)
end

return M
