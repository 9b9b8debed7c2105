-- vmctl: COUNT guests, each asked for its health once a second, by one process with a client for each guest.
-- Usage: stereos_fleet.lua guests|host SOCKET COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local role, address, count = arg[1], "unix:" .. arg[2], tonumber(arg[3])

local TICKS = 100                -- a second: at each of them one guest in a hundred is asked
local WARMUP, MEASURED = 2, 5    -- polls of each guest; there is one more while memory is counted, which takes its time
local LATE = 0.1                 -- seconds from when it was due until a poll has its answer
local CONNECTING = 100           -- at a time

-- All guests in one process, each with a connection of its own.
local function play_guests()
  local listener <close> = assert(vmctl.listen(address, { backlog = 4096 }))
  support.ready()
  local function health() return { state = "healthy", agents = { { name = "agent", running = true, restarts = 0 } } } end
  assert(vmctl.stereos.serve(listener, { get_health = health }, { connections = count + 1 }))
end

local seconds, polled = {}, 0    -- how long each measured poll took, from when it was due
for i = 1, count * MEASURED do seconds[i] = 0 end

local function poll(client, due, is_measured)
  local health = assert(client:get_health())
  assert(health.state == "healthy" and health.agents[1].running, "not what the guest says")
  if not is_measured then return end
  polled = polled + 1
  seconds[polled] = vmctl.now() - due
end

-- A poll is a task of its own, which ends with the answer: a guest that is slow holds up no other.
local function poll_all(clients, start)
  for tick = 0, (WARMUP + MEASURED + 1) * TICKS - 1 do
    local due, round = start + tick / TICKS, tick // TICKS
    local is_measured = round >= WARMUP and round < WARMUP + MEASURED
    vmctl.sleep(due - vmctl.now())
    for i = tick % TICKS + 1, count, TICKS do vmctl.spawn(poll, clients[i], due, is_measured) end
  end
end

-- Processor time of this process in seconds, in user code and in the kernel.
local function processor_time()
  local file <close> = assert(io.open "/proc/self/stat")
  local user, system = file:read("a"):match("^.*%)" .. (" %S+"):rep(11) .. " (%d+) (%d+)")
  return (user + system) / 100 -- ticks a second, as the kernel tells them wherever it runs
end

local function report_polls()
  table.sort(seconds)
  local late = 0
  for i = #seconds, 1, -1 do
    if seconds[i] <= LATE then break end
    late = late + 1
  end
  support.result("late_polls", late)
  support.result("p99_ms", seconds[#seconds - #seconds // 100] * 1e3)
end

local function watch()
  local before = support.memory()
  local numbers = {}
  for i = 1, count do numbers[i] = i end
  local clients = vmctl.map(numbers, function() return assert(vmctl.stereos.connect(address)) end,
    { concurrency = CONNECTING })
  local start = vmctl.now() + 1
  vmctl.scope(function()
    vmctl.spawn(poll_all, clients, start)
    vmctl.sleep(start + WARMUP - vmctl.now())
    local time, clock = processor_time(), vmctl.now()
    vmctl.sleep(clock + MEASURED - vmctl.now())
    support.result("cpu_percent", 100 * (processor_time() - time) / (vmctl.now() - clock))
    vmctl.sleep(0.5)
    support.report_memory(before, support.memory(), count)
  end)
  assert(polled == #seconds, "a poll was lost")
  report_polls()
  for _, client in ipairs(clients) do client:close() end
end

vmctl.run(role == "guests" and play_guests or watch)
