-- vmctl: COUNT guests, each asked for its health once a second by `vmctl.fleet.poll`, with a client for each guest.
-- Usage: fleet.lua SOCKET COUNT [ROUNDS] (of five)

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local address, count, rounds = "unix:" .. arg[1], tonumber(arg[2]), tonumber(arg[3] or 5)
local WARMUP, CONNECTING = 2, 100

local function ask(client)
  local health, err, code = client:get_health()
  if health then assert(health.state == "healthy" and health.agents[1].running, "not what the guest says") end
  return health, err, code
end

-- The kernel's figures of this process: seconds that it ran, and that it was ready to run and did not.
local function times()
  local file <close> = assert(io.open "/proc/self/schedstat")
  local ran, waited = file:read("a"):match "^(%d+) (%d+)"
  return ran / 1e9, waited / 1e9
end

local function measure()
  local before, numbers = support.memory(), {}
  for i = 1, count do numbers[i] = i end
  local clients = vmctl.map(numbers, function() return assert(vmctl.stereos.connect(address)) end, { concurrency = CONNECTING })
  vmctl.fleet.poll(clients, ask, { rounds = WARMUP })
  support.report_memory(before, support.memory(), count)
  local ran, waited = times()
  local totals = assert(vmctl.fleet.poll(clients, ask, { rounds = rounds }))
  local ran_then, waited_then = times()
  assert(totals.polls + totals.skipped == count * rounds and totals.failed == 0, "a poll was lost")
  support.result("cpu_us", (ran_then - ran) / totals.polls * 1e6)
  support.result("waited_percent", (waited_then - waited) / rounds * 100)
  support.result("late_polls", totals.late + totals.skipped)
  support.result("p50_ms", totals.p50 * 1e3)
  support.result("p99_ms", totals.p99 * 1e3)
  support.result("worst_ms", totals.worst * 1e3)
  for _, client in ipairs(clients) do client:close() end
end

vmctl.run(measure)
