--- Probes of ports: they accept connections, and send the expected bytes.
local address = require "vmctl.net.address"
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local options = require "vmctl.base.options"
local probe = require "vmctl.ready.probe"
local search = require "vmctl.text.search"

local M = {}

local LOOPBACK = "127.0.0.1"
local BANNER = 64 * 1024  -- bytes that an expected pattern may need
local PAUSE = 0.01        -- seconds between two looks at them

-- The received text, once it matches.
local function read_banner(s, opts, deadline)
  local seen = ""
  while #seen < BANNER do
    local data, err, code = s:read(BANNER, deadline - core.now())
    if not data then return nil, err, code end
    seen = seen .. data
    local found = not opts.expect or opts.plain and seen:find(opts.expect, 1, true) or not opts.plain and search.find(seen, opts.expect)
    if found then return seen end
    data, err, code = core.sleep(math.max(0, math.min(PAUSE, deadline - core.now()))) -- single bytes do not cause a search each
    if not data then return nil, err, code end
  end
  return nil, ("'%s' was not in the first %d bytes"):format(opts.expect, #seen), "EPROTO"
end

-- A connect to a closed ephemeral port of this machine may connect to itself.
local function is_own_echo(s)
  local here, there = s:address(), s:peer()
  return here and there and here.kind == "tcp" and tostring(here) == tostring(there)
end

local function try_port(self, connect, timeout)
  local deadline = core.now() + timeout
  local s <close>, err, code = connect(timeout)
  if not s then return nil, err, code end
  if is_own_echo(s) then return nil, self.label .. ": nobody listens", "ECONNREFUSED" end
  local opts = self.options
  if opts.send then
    local ok
    ok, err, code = s:write(opts.send, deadline - core.now())
    if not ok then return nil, err, code end
  end
  if not (opts.read or opts.expect) then return true end
  return read_banner(s, opts, deadline)
end

local port_options = { read = "boolean", expect = "string", plain = "boolean", send = "string" }

--- A probe of a port as this host sees it. Does not wait.
---@param where string|table
---@param opts? table
---@return vmctl.Probe
function M.outside(where, opts)
  opts = options.check(opts, port_options, "ready.port")
  local at, err, code = address.parse(where)
  if not at then return probe.never("port", err, code) end
  local function connect(timeout) return dial.dial(at, { timeout = timeout }) end
  return probe.make("port", ("port %s"):format(at), function(self, timeout) return try_port(self, connect, timeout) end,
    { options = opts, transport = at.kind })
end

--- A probe of a port as a guest sees it. Does not wait.
---@param where vmctl.Machine|vmctl.ExecClient
---@param port integer
---@param host? string|table
---@param opts? table
---@return vmctl.Probe
function M.inside(where, port, host, opts)
  if type(host) == "table" then host, opts = nil, host end
  opts = options.check(opts, port_options, "ready.port")
  if math.type(port) ~= "integer" or port < 1 or port > 65535 then error("ready.port: a port from 1 to 65535 expected", 2) end
  local client, name, machine = probe.resolve_exec(where, "ready.port")
  host = host or LOOPBACK
  local function connect(timeout) return client:forward(host, port, timeout) end
  return probe.make("forward", ("port %s:%d of %s"):format(host, port, name),
    function(self, timeout) return try_port(self, connect, timeout) end,
    { options = opts, machine = machine, transport = probe.transport(client) })
end

return M
