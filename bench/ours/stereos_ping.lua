-- vmctl: StereOS' control plane, each ping in flight a task of its own.
-- Usage: stereos_ping.lua server SOCKET | stereos_ping.lua client SOCKET CONNECTIONS FLIGHT WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local role, address = arg[1], "unix:" .. arg[2]

local function serve()
  local listener <close> = assert(vmctl.listen(address, { backlog = 1024 }))
  support.ready()
  assert(vmctl.stereos.serve(listener, {}))
end

local function ping(client, count)
  for _ = 1, count do assert(client:ping()) end
end

-- Pings `count` times in all, and returns how long that took.
local function run(clients, flight, count)
  local start, each = vmctl.now(), count // (#clients * flight)
  vmctl.scope(function()
    for _, client in ipairs(clients) do
      for _ = 1, flight do vmctl.spawn(ping, client, each) end
    end
  end)
  return vmctl.now() - start
end

local function measure(connections, flight, warmup, count)
  local clients = {}
  for i = 1, connections do clients[i] = assert(vmctl.stereos.connect(address)) end
  run(clients, flight, warmup)
  support.result("rate", count / run(clients, flight, count))
  for _, client in ipairs(clients) do client:close() end
end

vmctl.run(role == "server" and serve or measure, tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5]), tonumber(arg[6]))
