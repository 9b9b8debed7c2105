-- vmctl: unary calls of ttrpc, each in flight a task of its own; the message is one text of 64 bytes, which comes back.
-- Usage: ttrpc_unary.lua server SOCKET | ttrpc_unary.lua client SOCKET FLIGHT WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local role, address = arg[1], "unix:" .. arg[2]

-- One string with the number 1, as google.protobuf.StringValue, which the peer takes, is on the wire.
local TEXT = "containerd.vminitd.services.mount.v1.UnmountRequest"

local echo = vmctl.ttrpc.service { name = "vmctl.bench.Echo", methods = { Echo = { request = TEXT, response = TEXT } } }

local function serve()
  local listener <close> = assert(vmctl.listen(address))
  support.ready()
  assert(vmctl.ttrpc.serve(listener, { [echo] = { Echo = function(request) return { target = request.target } end } }))
end

local function call(client, count)
  for _ = 1, count do
    local answer = assert(client:call("vmctl.bench.Echo", "Echo", { target = support.PAYLOAD }))
    assert(answer.target == support.PAYLOAD)
  end
end

-- Calls `count` times in all, and returns how long that took.
local function run(client, flight, count)
  local start = vmctl.now()
  vmctl.scope(function()
    for _ = 1, flight do vmctl.spawn(call, client, count // flight) end
  end)
  return vmctl.now() - start
end

local function measure(flight, warmup, count)
  local client <close> = assert(vmctl.ttrpc.connect(address, { services = { echo } }))
  run(client, flight, warmup)
  support.result("rate", count / run(client, flight, count))
end

vmctl.run(role == "server" and serve or measure, tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5]))
