-- Compares vmctl with its peers. Usage: lua5.4 bench/run.lua, from the top folder, after `make all bench-peers`.
-- ONLY="name …" runs some benchmarks (or groups: ONLY=tasks), ROUNDS=n changes the five rounds, CORE=n the processor, RECORD=1 keeps the
-- figures in docs/speed.
-- You will see a BENCH line per benchmark and peer, then a line per requirement: meets, below, or missing.

package.path = (arg[0]:match "^.*/" or "./") .. "?.lua;" .. package.path
local benchmarks = require "benchmarks"
local harness = require "harness"
local rows = require "rows"

local LUA = os.getenv "LUA" or "lua5.4"

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
  local words = { warmup = benchmark.warmup, count = side.count or benchmark.count,
    a = ("%s/%d.a"):format(directory, runs), b = ("%s/%d.b"):format(directory, runs) }
  local function fill(text) return text and text:gsub("{(%w+)}", words) end
  local filled = { server = fill(side.server), client = fill(side.client), endless = side.endless }
  local core = not benchmark.free and (os.getenv "CORE" or "0") or nil
  return harness.run(filled, { core = core, files = benchmark.files, limit = benchmark.limit })
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
    side.medians, side.samples = {}, side.reason and {} or samples[side]
    for key, values in pairs(side.samples) do side.medians[key] = rows.median(values) end
  end
end

local function is_chosen(benchmark, only)
  if not only:find "%S" then return true end
  for word in only:gmatch "%S+" do
    if word == benchmark.name or word == benchmark.group then return true end
  end
  return false
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

-- A switch that drops frames has that said of it.
local function delivered(side)
  local share = side.medians.share
  return share and share < 1 and (" delivered=%.3f"):format(share) or ""
end

local function report(benchmark)
  local our = benchmark.ours
  local value = our.medians[benchmark.key]
  for _, side in ipairs(benchmark.peers or {}) do
    local other = side.medians[benchmark.key]
    local ratio = value and other and (benchmark.less and other / value or value / other)
    print_line(benchmark, value, { name = side.name, value = other }, ratio,
      delivered(side) .. because(our.reason or side.reason))
    require_that(benchmark.name .. " over " .. side.name, ratio, ">=", side.at_least)
  end
  for _, limit in ipairs(benchmark.limits or {}) do
    local own = our.medians[limit.key]
    local bound = limit.at_most or limit.at_least
    bound = bound and " limit=" .. bound or ""
    print_line(limit, own, {}, nil, bound .. because(our.reason or "no peer is asked for"))
    require_that(limit.name .. " in " .. limit.unit, own, "<=", limit.at_most)
    require_that(limit.name .. " in " .. limit.unit, own, ">=", limit.at_least)
  end
end

local function main()
  local only, rounds = os.getenv "ONLY" or "", tonumber(os.getenv "ROUNDS" or "") or 5 -- make may give it as ""
  local directory <close> = harness.directory()
  local chosen, failed, kept, names = 0, false, {}, {}
  io.stdout:setvbuf "line"
  for i, benchmark in ipairs(benchmarks) do names[i] = benchmark.name end
  for _, benchmark in ipairs(benchmarks) do
    if is_chosen(benchmark, only) then
      chosen = chosen + 1
      benchmark.ours.needs = "module vmctl"
      local sides = { benchmark.ours, table.unpack(benchmark.peers or {}) }
      run_rounds(benchmark, sides, rounds, directory.path)
      report(benchmark)
      rows.add(kept, benchmark, rounds)
      if (os.getenv "RECORD" or "") ~= "" then require "record".write(kept, names) end -- each time: what an interrupt leaves counts
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
