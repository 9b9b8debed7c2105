--- The table of benchmarks: for each our side, those of the peers, and the limits of the figures.

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

-- Unary calls of ttrpc over one connection, against the reference package in Go.
local function ttrpc(name, flight, warmup, count, at_least)
  local function side(program, more)
    more = more or {}
    more.server, more.endless = program .. " server {a}", true
    more.client = ("%s client {a} %d {warmup} {count}"):format(program, flight)
    return more
  end
  return { name = name, group = "ttrpc-unary", key = "rate", unit = "calls/s", warmup = warmup, count = count,
    ours = side(ours "ttrpc_unary.lua"),
    peers = { side(built "ttrpc_unary", { name = "go", needs = "command go", at_least = at_least,
      unbuilt = "containerd's ttrpc is not to be had, or was not built (make bench-peers)" }) } }
end

-- An Ethernet switch between two sockets; the runner ends it. A `count` of its own gives a slow one less to do: what counts
-- is a rate.
local function switch(server, size, more)
  local side = more or {}
  side.server, side.endless = server, side.ends ~= true
  side.client = built(("l2_driver %s %d {warmup} {count}"):format(side.ports or "stream {a} {b}", size))
  return side
end

-- Traffic of guests through a switch whose ports dial one socket. The figure is frames per second of the switch's processor time, which
-- other programs on the machine change least; the frames a second are told beside it.
local function traffic(pattern, size, count, at_least)
  local name = ("l2-traffic-%s-%d"):format(pattern, size)
  local function side(server, more)
    more.server, more.endless = server, true
    more.client = built(("l2_traffic %s {a} %d {warmup} {count}"):format(pattern, size))
    return more
  end
  return { name = name, group = "l2-traffic", key = "busy_rate", unit = "frames/s of processor time", free = true, warmup = count // 10,
    count = count, ours = side(ours "l2_ports.lua {a}", {}),
    peers = { side(built "l2_bare {a}", { name = "bare", at_least = at_least }) },
    limits = {
      { name = name .. "-rate", key = "rate", unit = "frames/s" },
      { name = name .. "-delivered", key = "share", unit = "share", at_least = 1 },
    } }
end

-- The cost of a slow port of a switch for the others; it reads `rate` bytes a second. Limits: the share of a fast port's rate that is
-- left, and the time that frames between two other ports take.
local function isolation(kind, rate, limit)
  local name = ("l2-isolation-%s-%d"):format(kind, rate)
  limit.name = name
  return { name = name, group = "l2-isolation", key = limit.key, unit = limit.unit, free = true, warmup = 1, count = 3,
    ours = { server = ours "l2_ports.lua {a}", endless = true,
      client = built(("l2_isolation %s {a} %d {warmup} {count}"):format(kind, rate)) },
    limits = { limit } }
end

-- QEMU without a machine, as a hub of two sockets. It warns that the hub has no guest.
local function qemu_hub()
  local pipe <close> = io.popen "uname -m"
  local name = "qemu-system-" .. pipe:read "l"
  local words = { name, "-M none -nodefaults -display none" }
  for i, path in ipairs { "{a}", "{b}" } do
    table.insert(words, ("-netdev stream,id=s%d,server=on,addr.type=unix,addr.path=%s"):format(i, path))
    table.insert(words, ("-netdev hubport,id=h%d,hubid=0,netdev=s%d"):format(i, i))
  end
  return ("sh -c 'echo ready; exec %s 2>/dev/null'"):format(table.concat(words, " ")), "command " .. name
end

-- It ends when its input does, and says so.
local VDE_SWITCH = "sh -c 'echo ready; sleep 60 | vde_switch -s {a} >/dev/null 2>&1'"

-- Three processes (one sends, one switches, one receives), on fewer cores perhaps. None is pinned, for all sides alike,
-- which serves the peers best: on one core QEMU has half its rate, as each frame that it writes wakes the receiver, and
-- ours, which writes many at once, loses nothing.
local function switched(size, count, peer_count, at_least)
  local hub, needs_hub = qemu_hub()
  return { name = "l2-switch-" .. size, group = "l2-switch", key = "rate", unit = "frames/s", free = true,
    warmup = peer_count // 10, count = peer_count,
    ours = switch(ours "l2_switch.lua {a} {b}", size, { count = count, ends = true }),
    peers = {
      switch(hub, size, { name = "qemu-hub", needs = needs_hub, at_least = at_least.hub }),
      switch(VDE_SWITCH, size, { name = "vde", ports = "vde {a} {a}", needs = "command vde_switch",
        at_least = at_least.others }),
      switch(built "l2_pktkit {a} {b}", size, { name = "pktkit", needs = "command go", at_least = at_least.others,
        unbuilt = "pktkit is not to be had, or was not built (make bench-peers)" }),
      switch(built "l2_go {a} {b}", size, { name = "go", needs = "command go", at_least = at_least.others }),
    },
    limits = {
      { name = ("l2-switch-%d-bits"):format(size), key = "gbit_rate", unit = "Gbit/s" },
      { name = ("l2-switch-%d-delivered"):format(size), key = "share", unit = "share", at_least = 1 },
    } }
end

-- Calls of cc-helper's protocol; the runner ends the server.
local function cc_call(kind, warmup, count)
  local function side(program, more)
    more.server, more.endless = program .. " server {a}", true
    more.client = ("%s client {a} %s {warmup} {count}"):format(program, kind)
    return more
  end
  return { name = "cc-call-" .. kind, group = "cc-call", key = "rate", unit = "calls/s", warmup = warmup, count = count,
    ours = side(ours "cc_call.lua", {}),
    peers = { side(built "cc_go", { name = "go", needs = "command go", at_least = 1.05 }) } }
end

local function with_agent(program)
  return { server = ours "agent.lua {a}", endless = true, client = ours(program) }
end

-- `key` is the result that counts, `less` means that a smaller one is better. A peer's `at_least` bounds our speed
-- over its; a limit's `at_most` and `at_least` bound one of our own results. Both ends are pinned to one core unless
-- `free`: then all have the same processor time, whatever number of threads they use, and no wake-up on another core hides
-- what they do.
local list = {
  { name = "frame-echo", key = "rate", unit = "frames/s", warmup = 10000, count = 100000,
    ours = both(ours "frame_echo.lua"),
    peers = {
      both(built "echo_epoll", { name = "c-epoll", at_least = 0.93 }),
      both(peer "echo_cqueues.lua", { name = "cqueues", needs = "module cqueues", at_least = 1.3 }),
      both(peer "echo_luv.lua", { name = "luv", needs = "module luv", at_least = 1.1 }),
    } },
  { name = "frame-stream", key = "rate", unit = "frames/s", warmup = 64 * 2000, count = 64 * 32000,
    ours = both(ours "frame_stream.lua call"),
    peers = { both(built "stream_libev", { name = "c-libev", at_least = 0.65 }) } },
  { name = "frame-stream-batch", group = "frame-stream", key = "rate", unit = "frames/s",
    warmup = 64 * 2000, count = 64 * 32000,
    ours = both(ours "frame_stream.lua batch"),
    peers = { both(built "stream_libev", { name = "c-libev", at_least = 0.8 }) } },
  { name = "frame-bulk", key = "mib_rate", unit = "MiB/s", free = true, warmup = 1024, count = 32768,
    ours = both(ours "frame_bulk.lua"),
    peers = { both(built "bulk_loop", { name = "c-loop", at_least = 0.8 }) } },
  { name = "exec-stream", key = "mib_rate", unit = "MiB/s", count = GIB,
    ours = with_agent "exec_stream.lua {a} {count}",
    peers = { alone(built "cat_reader {count}", { name = "cat", at_least = 0.6 }) } },
  { name = "exec-latency", key = "p50_us", unit = "us", less = true, warmup = 100, count = 2000,
    ours = with_agent "exec_latency.lua {a} {warmup} {count}",
    peers = { alone(built "spawn_wait {warmup} {count}", { name = "spawn", at_least = 0.75 }) },
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
      { name = "cqueues", needs = "module cqueues", at_least = 1.8 }) } },
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
  ping("stereos-ping", 1, 1, 5000, 60000, { go = 1.1, luv = 1.25 }),
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
  -- Both sides on one core. How long the machine kept the poller waiting for it is told: on a busy machine polls are late for that.
  { name = "fleet", key = "cpu_us", unit = "us/poll", less = true, count = 10000, files = 12000,
    ours = { server = built "fleet_guests {a}", endless = true, client = ours "fleet.lua {a} {count}" },
    limits = {
      { name = "fleet-cpu", key = "cpu_us", unit = "us/poll", at_most = 40 },
      { name = "fleet-memory", key = "resident_kib", unit = "KiB/guest", at_most = 8 },
      { name = "fleet-late", key = "late_polls", unit = "polls", at_most = 0 },
      { name = "fleet-latency-p50", key = "p50_ms", unit = "ms" },
      { name = "fleet-latency-p99", key = "p99_ms", unit = "ms", at_most = 20 },
      { name = "fleet-waited", key = "waited_percent", unit = "percent of the time" },
    } },
  ttrpc("ttrpc-unary", 1, 5000, 60000, 1.8),
  ttrpc("ttrpc-unary-64", 64, 64 * 500, 64 * 5000, 2),
  { name = "protobuf-loaded", key = "rate", unit = "messages/s", warmup = 2000, count = 60000,
    ours = alone(ours "protobuf.lua loaded {warmup} {count}"),
    peers = { alone(ours "protobuf.lua compiled {warmup} {count}", { name = "compiled", needs = "command protoc-c", at_least = 0.67 }) } },
  cc_call("id", 5000, 60000),
  cc_call("stat", 5000, 60000),
  cc_call("read", 2000, 20000),
  { name = "cc-file", key = "mib_rate", unit = "MiB/s", count = 4 * GIB,
    ours = { server = ours "cc_call.lua server {a}", endless = true, client = ours "cc_call.lua file {a} {count}" },
    peers = { { name = "copy", needs = "command go", at_least = 0.9, server = built "cc_go copy-server {a}", endless = true,
      client = built "cc_go copy {a} {count}" } } },
  switched(64, 20000000, 500000, { hub = 4, others = 4 }),
  switched(1514, 2000000, 500000, { hub = 2 }),
  { name = "l2-switch-tap", group = "l2-switch", key = "rate", unit = "frames/s", free = true,
    warmup = 200000, count = 2000000,
    ours = switch(ours "l2_switch.lua {a} {b} tap", 64, { ends = true }),
    limits = { { name = "l2-switch-tap", key = "rate", unit = "frames/s", at_least = 250000 } } },
}

for _, case in ipairs { { "burst", 60, 10000000, 0.9 }, { "burst", 1514, 2000000, 0.9 }, { "single", 60, 1000000, 0.9 },
  { "single", 1514, 500000, 0.9 }, { "seven", 60, 5000000, 0.8 }, { "seven", 1514, 1000000, 0.8 }, { "broadcast", 60, 500000, 0.8 },
  { "macs", 60, 5000000, 0.8 } } do
  table.insert(list, traffic(table.unpack(case)))
end

for _, rate in ipairs { 10, 1000000, 2000000, 5000000, 20000000 } do
  table.insert(list, isolation("fast", rate, { key = "share", unit = "share", at_least = 0.9 }))
  table.insert(list, isolation("third", rate, { key = "p99_us", unit = "us", at_most = 2000 }))
end

for _, more in ipairs { require "image_benchmarks", require "guest_benchmarks" } do table.move(more, 1, #more, #list + 1, list) end

return list
