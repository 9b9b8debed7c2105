--- Dials and listens on addresses of each kind.
local core = require "vmctl.core"
local address = require "vmctl.net.address"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

-- The far end of a socket pair, or of a client that did not bind, has no name.
local unnamed = setmetatable({ kind = "unix", network = "unix", path = "" }, { __tostring = function() return "unix:" end })

core.set_address(function(text) return text == "unix:" and unnamed or address.parse(text) or text end)

local DIAL_TIMEOUT = 10          -- seconds, for all the steps of a dial together
local BACKLOG_PAUSE = { 0.005, 0.5 } -- first and longest pause while a Unix listener's backlog is full
local HYBRID_LINE = 32           -- bytes of the longest handshake line, LF included

local function left(deadline)
  return deadline - core.now()
end

-- Connects again and again while the backlog is full: connect fails with EAGAIN, and poll would report it as connected.
local function connect_unix(a, deadline)
  local pause = BACKLOG_PAUSE[1]
  while true do
    local s, err, code = core.connect({ kind = "unix", path = a.path }, left(deadline))
    if s or code ~= "EAGAIN" then return s, err, code end
    if left(deadline) <= 0 then return nil, ("connect %s: the backlog stayed full"):format(a), "ETIMEDOUT" end
    local ok, why, slept = core.sleep(math.min(pause, left(deadline)))
    if not ok then return nil, why, slept end
    pause = math.min(pause * 2, BACKLOG_PAUSE[2])
  end
end

local function is_numeric(host)
  return host:find(":", 1, true) or host:match "^%d+%.%d+%.%d+%.%d+$"
end

local function connect_tcp(a, deadline)
  local hosts, err, code = { a.host }, nil, nil
  if not is_numeric(a.host) then
    hosts, err, code = core.resolve(a.host, left(deadline))
    if not hosts then return nil, err, code end
  end
  local s
  for i, host in ipairs(hosts) do -- the remaining addresses share the remaining time
    s, err, code = core.connect({ kind = "tcp", host = host, port = a.port }, left(deadline) / (#hosts - i + 1))
    if s or code == "ECANCELED" then break end
  end
  return s, err, code
end

local function connect_vsock(a, deadline)
  return core.connect({ kind = "vsock", cid = a.cid, port = a.port }, left(deadline))
end

-- docs/wire/hybrid-vsock.md#host-to-guest. The line is sent in one write; bytes after the answer's LF stay in the stream.
local function connect_hybrid(a, deadline)
  local s, err, code = connect_unix(a, deadline)
  if not s then return nil, err, code end
  s:label(tostring(a))
  local ok, line
  ok, err, code = s:write(("CONNECT %d\n"):format(a.port), left(deadline))
  if ok then line, err, code = s:read_line(HYBRID_LINE, left(deadline)) end
  if line then ok, err, code = core.hybrid_ok(line) end
  if line and ok then return s end
  s:close()
  local ended = code == "EOF" or (not line and code == "EPROTO") -- EPROTO: in the middle of the line
  if ended or code == "EPIPE" or code == "ECONNRESET" then
    return nil, ("connect %s: refused, nobody listens on that port in the guest"):format(a), "ECONNREFUSED"
  elseif code == "EPROTO" or code == "ETOOBIG" then
    return nil, ("connect %s: the answer is not that of a VMM's vsock socket"):format(a), "EPROTO"
  end
  return nil, ("connect %s: no answer to CONNECT (%s)"):format(a, err), code
end

local function open_device(a)
  return core.open_path(a.path, tostring(a))
end

local function start_command(a)
  local argv = a.argv or { "/bin/sh", "-c", a.command }
  return require("vmctl.process").stream(argv, tostring(a)) -- loaded when it is needed
end

local function adopt_fd(a)
  return core.open(a.fd, nil, tostring(a))
end

local function call_function(a, deadline)
  local s, err, code = a.fn(left(deadline))
  if not s then return nil, ("connect %s: %s"):format(a, err or "no stream"), code or "EINVAL" end
  return s
end

local function connect_inside(a, deadline)
  return a.target:connect(a.at, left(deadline))
end

local dialers = {
  unix = connect_unix, chardev = connect_unix, tcp = connect_tcp, vsock = connect_vsock, hybrid = connect_hybrid,
  serial = open_device, exec = start_command, fd = adopt_fd, func = call_function,
  inside = connect_inside,
}

--- Connects to an address. Waits until it is connected, handshakes included.
---@param where string|table|function an address (see vmctl.address), e.g. "unix:/run/a.sock", "vsock:3:5000"
---@param opts? { timeout: number?, format?: vmctl.Format|table } seconds for all steps together (10); the frame format of the stream
---@return vmctl.Stream|nil stream, string?, string? code EINVAL, ETIMEDOUT, ECONNREFUSED, ENOENT, ERESOLVE, EPROTO …
function M.dial(where, opts)
  if type(opts) == "number" then opts = { timeout = opts } end
  opts = options.check(opts or {}, { timeout = "number", format = "any" }, "dial")
  local a, err, code = address.parse(where)
  if not a then return nil, err, code end
  local deadline = core.now() + (opts.timeout or DIAL_TIMEOUT)
  local s
  s, err, code = dialers[a.kind](a, deadline)
  if not s then return nil, err, code end
  if a.on_stream then a.on_stream(s) end
  if opts.format then s:set_format(opts.format) end
  return s
end

local listen_options = { backlog = "integer", mode = "integer", timeout = "number" }

-- The guest dials the host: the VMM connects to "<base>_<port>", with no handshake (docs/wire/hybrid-vsock.md#guest-to-host).
local function listen_where(a)
  if a.kind == "hybrid" then return { kind = "unix", path = ("%s_%d"):format(a.path, a.port) } end
  if a.kind == "tcp" and not is_numeric(a.host) then
    local hosts, err, code = core.resolve(a.host)
    if not hosts then return nil, err, code end
    return { kind = "tcp", host = hosts[1], port = a.port }
  end
  return a
end

address.set_dial(M.dial)

--- Listens on an address: tcp, unix, vsock, or hybrid (where the VMM connects when the guest dials that port of the host).
-- Waits only to resolve a name.
---@param where string|table
---@param opts? { backlog: integer?, mode: integer? } mode: of a Unix socket's file (0600)
---@return vmctl.Listener|nil listener with accept(timeout), address(), close(), string?, string?
function M.listen(where, opts)
  opts = options.check(opts or {}, listen_options, "listen")
  local a, err, code = address.parse(where)
  if not a then return nil, err, code end
  local known = { tcp = true, unix = true, vsock = true, hybrid = true }
  if not known[a.kind] then
    return errors.fail("ENOTSUP", "listen %s: only tcp, unix, vsock and hybrid addresses can be listened on", a)
  end
  local at
  at, err, code = listen_where(a)
  if not at then return nil, err, code end
  return core.listen({ kind = at.kind, path = at.path, host = at.host, port = at.port, cid = at.cid },
    opts.backlog, opts.mode)
end

--- Two connected streams (a Unix socket pair). Does not wait.
---@param opts? { format?: vmctl.Format|table }
---@return vmctl.Stream|nil near
---@return vmctl.Stream far or the message
---@return string? code
function M.pair(opts)
  local a, b, code = core.pair()
  if a and opts and opts.format then
    a:set_format(opts.format)
    b:set_format(opts.format)
  end
  return a, b, code
end

--- Joins two streams, which it takes over, by a relay; half-close is passed on. Waits until both directions have ended.
---@param a vmctl.Stream
---@param b vmctl.Stream
---@param opts? { idle: number?, linger: number?, timeout: number? } seconds without a byte; seconds after one side has ended
---@return { a_to_b: integer, b_to_a: integer }|nil, string?, string?, table? on failure the bytes so far
function M.relay(a, b, opts)
  opts = options.check(opts or {}, { idle = "number", linger = "number", timeout = "number" }, "relay")
  local relay, err, code = core.relay(a, b, opts.idle, opts.linger)
  if not relay then return nil, err, code end
  local stats, why, what, partial = relay:wait(opts.timeout)
  relay:close()
  a:close() -- ends the child of an exec: address
  b:close()
  if not stats then return nil, why, what, partial end
  return stats
end

return M
