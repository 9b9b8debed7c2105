--- vmctl forward: forwards sockets of this machine to sockets in a guest, and in the other direction.
local address = require "vmctl.net.address"
local forward = require "vmctl.forward"
local interrupt = require "vmctl.cli.interrupt"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local ports = require "vmctl.net.agent_ports"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local M = { json = "Print two JSON documents, a line each: what is forwarded, and, at the end, the counts." }

function M.describe(command)
  command:summary "Forward a socket into a guest or out of it."
  command:description("Whoever connects to FROM is connected to TO, until Ctrl-C. What is inside a guest is TARGET/ADDRESS.\n" ..
    "  vmctl forward tcp:127.0.0.1:8080 web/tcp:127.0.0.1:80\n" ..
    "  vmctl forward web/unix:/run/socketfwd/ssh-agent.sock unix:$SSH_AUTH_SOCK")
  command:argument("from", "Where others connect."):argname "FROM"
  command:argument("to", "What they get."):argname "TO"
  command:option("--limit", "Connections at a time (256)."):argname("N"):convert(units.integer("--limit", 1))
end

-- The address of the socket forwarding service of a target's agent.
local function ports_of(name)
  return targets.address(name, ports.FORWARD), targets.address(name, ports.FORWARD_STREAMS)
end

local function place(text, opts, is_from)
  local name, inner = text:match "^(.+)/(%l+:.*)$"
  if not name then return address.parse(text) end
  local client, err, code = targets.exec(name)
  if not client then return nil, err, code end
  if is_from and name ~= "host" then opts.rpc, opts.streams = ports_of(name) end
  return client:inside(inner)
end

local function describe(stats)
  return ("%d connections, %d open, %d failed; %d bytes there, %d back%s"):format(stats.connections, stats.open, stats.failed,
    stats.from_to, stats.to_from, stats.last_error and "; last error: " .. log.one_line(stats.last_error) or "")
end

function M.run(opts)
  local how = { limit = opts.limit }
  local err, code
  how.from, err, code = place(opts.from, how, true)
  if not how.from then return nil, err, code end
  how.to, err, code = place(opts.to, how, false)
  if not how.to then return nil, err, code end
  local running <close>, why, what = forward(how) -- luacheck: ignore
  if not running then return nil, why, what end
  local from, to = tostring(running:address()), tostring(how.to)
  output.result(opts, { event = "listening", from = from, to = to }, ("%s to %s"):format(from, to))
  interrupt.wait()
  local stats = running:stats()
  output.result(opts, { event = "ended", counts = stats }, describe(stats))
  return 0
end

return M
