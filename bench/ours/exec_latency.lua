-- vmctl: how long `true` takes through the agent, from opening the connection to its exit code, one after the other.
-- Usage: exec_latency.lua SOCKET WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local path, warmup, count = "unix:" .. arg[1], tonumber(arg[2]), tonumber(arg[3])

local function run_true(client)
  local start = vmctl.now()
  local result = assert(client:run { "true" })
  assert(result.exit_code == 0, "true failed")
  return vmctl.now() - start
end

vmctl.run(function()
  local client = assert(vmctl.exec.client(path))
  local seconds = {}
  for _ = 1, warmup do run_true(client) end
  for i = 1, count do seconds[i] = run_true(client) end
  support.report_latencies(seconds)
end)
