-- Compares vmctl with its peers. Usage: lua5.4 bench/run.lua, from the top folder, after `make all bench-peers`.
-- ONLY=name runs one benchmark (or a group: ONLY=tasks), ROUNDS=n changes the five rounds, CORE=n the processor.
-- You will see a BENCH line per benchmark and peer, then a line per requirement: meets, below, or missing.

package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path
local harness = require "harness"

local GIB = 1 << 30
local LUA = os.getenv "LUA" or "lua5.4"

local function ours(program) return LUA .. " bench/ours/" .. program end
local function peer(program) return LUA .. " bench/peers/" .. program end
local function built(program) return "build/bench/" .. program end

-- A program that plays both parts; {a}, {b} are socket paths, {warmup} and {count} come from the benchmark.
local function both(program, more)
  local side = more or {}
  side.server = program .. " server {a} {warmup} {count}"
  side.client = program .. " client {a} {warmup} {count}"
  return side
end

local function relay(program, more)
  local side = more or {}
  side.server, side.client = program .. " {a} {b}", built "relay_driver {a} {b} {count}"
  return side
end

-- socat does not say when it listens: the driver tries until it does. Its default buffer is 8 KiB.
local function socat(options)
  return ("sh -c 'echo ready; exec socat %s UNIX-LISTEN:{a} UNIX-CONNECT:{b}'"):format(options)
end

local function alone(program, more)
  local side = more or {}
  side.client = program
  return side
end

-- StereOS' control plane; the runner ends the server. A peer in Go is there where Go is.
local function control(program, connections, flight, more)
  local side = more or {}
  side.server, side.endless = program .. " server {a}", true
  side.client = ("%s client {a} %d %d {warmup} {count}"):format(program, connections, flight)
  return side
end

local function ping(name, connections, flight, warmup, count, at_least)
  return { name = name, group = "stereos-ping", key = "rate", unit = "pings/s", warmup = warmup, count = count,
    ours = control(ours "stereos_ping.lua", connections, flight),
    peers = {
      control(built "stereos_go", connections, flight, { name = "go", needs = "command go", at_least = at_least.go }),
      control(peer "stereos_luv.lua", connections, flight,
        { name = "luv", needs = "module luv", at_least = at_least.luv }),
    } }
end

local function with_agent(program)
  return { server = ours "agent.lua {a}", endless = true, client = ours(program) }
end

-- `key` is the result that counts, `less` means that a smaller one is better. A peer's `at_least` bounds our speed
-- over its; a limit's `at_most` bounds one of our own results. Both ends are pinned to one core unless `free`: then all
-- have the same processor time, whatever number of threads they use, and no wake-up on another core hides what they do.
local benchmarks = {
  { name = "frame-echo", key = "rate", unit = "frames/s", warmup = 10000, count = 100000,
    ours = both(ours "frame_echo.lua"),
    peers = {
      both(built "echo_epoll", { name = "c-epoll", at_least = 0.85 }),
      both(peer "echo_cqueues.lua", { name = "cqueues", needs = "module cqueues", at_least = 1.3 }),
      both(peer "echo_luv.lua", { name = "luv", needs = "module luv", at_least = 1.1 }),
    } },
  { name = "frame-stream", key = "rate", unit = "frames/s", warmup = 64 * 2000, count = 64 * 32000,
    ours = both(ours "frame_stream.lua call"),
    peers = { both(built "stream_libev", { name = "c-libev", at_least = 0.3 }) } },
  { name = "frame-stream-batch", group = "frame-stream", key = "rate", unit = "frames/s",
    warmup = 64 * 2000, count = 64 * 32000,
    ours = both(ours "frame_stream.lua batch"),
    peers = { both(built "stream_libev", { name = "c-libev", at_least = 0.6 }) } },
  { name = "frame-bulk", key = "mib_rate", unit = "MiB/s", free = true, warmup = 1024, count = 32768,
    ours = both(ours "frame_bulk.lua"),
    peers = { both(built "bulk_loop", { name = "c-loop", at_least = 0.6 }) } },
  { name = "exec-stream", key = "mib_rate", unit = "MiB/s", count = GIB,
    ours = with_agent "exec_stream.lua {a} {count}",
    peers = { alone(built "cat_reader {count}", { name = "cat", at_least = 0.6 }) } },
  { name = "exec-latency", key = "p50_us", unit = "us", less = true, warmup = 100, count = 2000,
    ours = with_agent "exec_latency.lua {a} {warmup} {count}",
    peers = { alone(built "spawn_wait {warmup} {count}", { name = "spawn", at_least = 0.5 }) },
    limits = {
      { name = "exec-latency-p99", key = "p99_us", unit = "us" },
      { name = "exec-latency-p99-over-p50", key = "p99_ratio", unit = "times", at_most = 3 },
    } },
  { name = "relay", key = "mib_rate", unit = "MiB/s", count = GIB,
    ours = relay(ours "relay.lua"),
    peers = {
      relay(built "relay_splice", { name = "splice", at_least = 0.95 }),
      relay(socat "", { name = "socat", needs = "command socat", at_least = 1.5 }),
      relay(socat "-b 65536", { name = "socat-b64k", needs = "command socat" }),
    } },
  { name = "tasks", key = "rate", unit = "tasks/s", warmup = 1000, count = 100000,
    ours = alone(ours "tasks.lua rate {warmup} {count}"),
    peers = { alone(peer "tasks_cqueues.lua rate {warmup} {count}",
      { name = "cqueues", needs = "module cqueues", at_least = 1.5 }) } },
  { name = "tasks-memory", group = "tasks", key = "resident_kib", unit = "KiB/task", less = true,
    warmup = 1000, count = 100000,
    ours = alone(ours "tasks.lua memory {warmup} {count}"),
    peers = { alone(peer "tasks_cqueues.lua memory {warmup} {count}", { name = "cqueues", needs = "module cqueues" }) },
    limits = {
      { name = "tasks-memory-resident", key = "resident_kib", unit = "KiB/task", at_most = 1.5 },
      { name = "tasks-memory-lua", key = "lua_kib", unit = "KiB/task" },
    } },
  { name = "connections", key = "resident_kib", unit = "KiB/connection", count = 10000, files = 12000,
    ours = { server = ours "connections.lua {a} {count}", client = built "hold {a} {count}" },
    limits = {
      { name = "connections", key = "resident_kib", unit = "KiB/connection", at_most = 8 },
      { name = "connections-lua", key = "lua_kib", unit = "KiB/connection" },
    } },
  ping("stereos-ping", 1, 1, 5000, 60000, { go = 1.1, luv = 1.2 }),
  ping("stereos-ping-64", 1, 64, 64 * 500, 64 * 5000, { go = 2, luv = 2 }),
  ping("stereos-ping-64x100", 100, 64, 6400 * 10, 6400 * 50, { go = 2, luv = 2 }),
  { name = "stereos-fleet", key = "resident_kib", unit = "KiB/guest", count = 10000, files = 12000, free = true,
    ours = { server = ours "stereos_fleet.lua guests {a} {count}", endless = true,
      client = ours "stereos_fleet.lua host {a} {count}" },
    limits = {
      { name = "stereos-fleet", key = "resident_kib", unit = "KiB/guest", at_most = 8 },
      { name = "stereos-fleet-lua", key = "lua_kib", unit = "KiB/guest" },
      { name = "stereos-fleet-cpu", key = "cpu_percent", unit = "percent" },
      { name = "stereos-fleet-late", key = "late_polls", unit = "polls" },
      { name = "stereos-fleet-latency", key = "p99_ms", unit = "ms" },
    } },
}

local function median(values)
  table.sort(values)
  local n = #values
  return (values[(n + 1) // 2] + values[n // 2 + 1]) / 2
end

local function shown(value)
  if not value then return "-" end
  return (value >= 1000 and "%.0f" or value >= 10 and "%.1f" or "%.3f"):format(value)
end

local on_terminal = os.execute "test -t 2"
local function progress(text)
  if on_terminal then io.stderr:write("\r\27[K", text) end
end

local runs = 0
local function run_once(benchmark, side, directory)
  runs = runs + 1
  local words = { warmup = benchmark.warmup, count = benchmark.count,
    a = ("%s/%d.a"):format(directory, runs), b = ("%s/%d.b"):format(directory, runs) }
  local function fill(text) return text and text:gsub("{(%w+)}", words) end
  local filled = { server = fill(side.server), client = fill(side.client), endless = side.endless }
  local core = not benchmark.free and (os.getenv "CORE" or "0") or nil
  return harness.run(filled, { core = core, files = benchmark.files })
end

-- Runs the sides in turns. A side gets `medians`, or the `reason` why not; `failed` if it lacks nothing.
local function run_rounds(benchmark, sides, rounds, directory)
  local samples = {}
  for _, side in ipairs(sides) do
    side.medians, side.failed, samples[side] = nil, nil, {}
    side.reason = harness.missing(side, LUA)
  end
  for round = 1, rounds do
    for _, side in ipairs(sides) do
      if not side.reason then
        progress(("%s: %s, round %d of %d"):format(benchmark.name, side.name or "vmctl", round, rounds))
        local results, reason = run_once(benchmark, side, directory)
        for key, value in pairs(results or {}) do
          samples[side][key] = samples[side][key] or {}
          table.insert(samples[side][key], value)
        end
        if not results then side.reason, side.failed = reason, true end
      end
    end
  end
  progress ""
  for _, side in ipairs(sides) do
    side.medians = {}
    for key, values in pairs(side.reason and {} or samples[side]) do side.medians[key] = median(values) end
  end
end

local summary = {}
local function require_that(name, value, sign, bound)
  if not bound then return end
  local holds = value and (sign == ">=" and value >= bound or sign == "<=" and value <= bound)
  local verdict = holds and "meets" or value and "below" or "missing"
  table.insert(summary, ("%-8s %-34s %8s %s %s"):format(verdict, name, shown(value), sign, bound))
end

local function print_line(benchmark, value, other, ratio, more)
  print(("BENCH name=%s value=%s unit=%s peer=%s peer_value=%s ratio=%s%s"):format(benchmark.name, shown(value),
    benchmark.unit, other.name or "-", shown(other.value), ratio and ("%.2f"):format(ratio) or "-", more))
end

local function because(reason) return reason and (" reason=%q"):format(reason) or "" end

local function report(benchmark)
  local our = benchmark.ours
  local value = our.medians[benchmark.key]
  for _, side in ipairs(benchmark.peers or {}) do
    local other = side.medians[benchmark.key]
    local ratio = value and other and (benchmark.less and other / value or value / other)
    print_line(benchmark, value, { name = side.name, value = other }, ratio, because(our.reason or side.reason))
    require_that(benchmark.name .. " over " .. side.name, ratio, ">=", side.at_least)
  end
  for _, limit in ipairs(benchmark.limits or {}) do
    local own = our.medians[limit.key]
    local bound = limit.at_most and " limit=" .. limit.at_most or ""
    print_line(limit, own, {}, nil, bound .. because(our.reason or "no peer is asked for"))
    require_that(limit.name .. " in " .. limit.unit, own, "<=", limit.at_most)
  end
end

local function main()
  local only, rounds = os.getenv "ONLY", tonumber(os.getenv "ROUNDS" or "5")
  local directory <close> = harness.directory()
  local chosen, failed = 0, false
  io.stdout:setvbuf "line"
  for _, benchmark in ipairs(benchmarks) do
    if not only or only == "" or only == benchmark.name or only == benchmark.group then
      chosen = chosen + 1
      benchmark.ours.needs = "module vmctl"
      local sides = { benchmark.ours, table.unpack(benchmark.peers or {}) }
      run_rounds(benchmark, sides, rounds, directory.path)
      report(benchmark)
      for _, side in ipairs(sides) do failed = failed or side.failed end
      failed = failed or benchmark.ours.reason
    end
  end
  if chosen == 0 then
    io.stderr:write(("no benchmark is called %s\n"):format(only))
    return false
  end
  print(table.concat(summary, "\n"))
  return not failed
end

os.exit(main(), true)
