-- cqueues: COUNT coroutines, each yields once, and all are waited for.
-- Usage: tasks_cqueues.lua rate|memory WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local cqueues = require "cqueues"
local support = require "support"

local mode, warmup, count = arg[1], tonumber(arg[2]), tonumber(arg[3])
local queue = cqueues.new()
local started, finished = 0, 0

local function work()
  started = started + 1
  cqueues.sleep(0)
  finished = finished + 1
end

local function spawn(n)
  for _ = 1, n do queue:wrap(work) end
end

local function measure_rate()
  spawn(warmup)
  assert(queue:loop())
  local start = cqueues.monotime()
  spawn(count)
  assert(queue:loop())
  support.result("rate", count / (cqueues.monotime() - start))
end

-- One step starts every coroutine and leaves it in its sleep.
local function measure_memory()
  local before = support.memory()
  spawn(count)
  assert(queue:step(0))
  assert(started == count and finished == 0, "the coroutines should wait now")
  support.report_memory(before, support.memory(), count)
  assert(queue:loop())
end

if mode == "memory" then measure_memory() else measure_rate() end
assert(finished == started, "a coroutine was lost")
