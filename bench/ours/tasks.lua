-- vmctl: COUNT tasks, each yields once, and all are joined. Usage: tasks.lua rate|memory WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local mode, warmup, count = arg[1], tonumber(arg[2]), tonumber(arg[3])
local started, finished = 0, 0

local function work()
  started = started + 1
  vmctl.yield()
  finished = finished + 1
  return true
end

local function spawn(n)
  local tasks = {}
  for i = 1, n do tasks[i] = vmctl.spawn(work) end
  return tasks
end

local function join(tasks)
  for i = 1, #tasks do assert(tasks[i]:join()) end
end

local function measure_rate()
  join(spawn(warmup))
  local start = vmctl.now()
  join(spawn(count))
  support.result("rate", count / (vmctl.now() - start))
end

-- One yield lets every task run up to its own.
local function measure_memory()
  local before = support.memory()
  local tasks = spawn(count)
  vmctl.yield()
  assert(started == count and finished == 0, "the tasks should wait now")
  support.report_memory(before, support.memory(), count)
  join(tasks)
end

vmctl.run(mode == "memory" and measure_memory or measure_rate)
assert(finished == started, "a task was lost")
