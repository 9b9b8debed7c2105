--- The figures of a benchmark that has run, as rows to keep: a row for each peer, and one for each limit.

local M = {}

--- The middle one, or the mean of the two in the middle.
---@param values number[]
function M.median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local n = #sorted
  return (sorted[(n + 1) // 2] + sorted[n // 2 + 1]) / 2
end

local function range(values)
  if not values or #values == 0 then return nil end
  return math.min(table.unpack(values)), math.max(table.unpack(values))
end

-- Both sides of a round ran one after the other: what disturbed the machine disturbed both.
local function ratios(benchmark, ours, theirs)
  local list = {}
  for i = 1, math.min(#ours, #theirs) do list[i] = benchmark.less and theirs[i] / ours[i] or ours[i] / theirs[i] end
  return list
end

local function commit()
  local pipe <close> = assert(io.popen "git describe --always --dirty 2>/dev/null")
  return pipe:read "l"
end

local function own(benchmark, key, unit, rounds)
  local values = benchmark.ours.samples[key]
  local low, high = range(values)
  return { benchmark = benchmark.name, group = benchmark.group or benchmark.name, unit = unit,
    value = values and M.median(values), low = low, high = high, rounds = rounds, commit = commit(), note = benchmark.note,
    reason = benchmark.ours.reason }
end

local function against(benchmark, side, rounds)
  local row = own(benchmark, benchmark.key, benchmark.unit, rounds)
  row.name, row.peer, row.less, row.bound = benchmark.name, side.name, benchmark.less, side.at_least
  row.reason = row.reason or side.reason
  local ours, theirs = benchmark.ours.samples[benchmark.key], side.samples[benchmark.key]
  if not ours or not theirs then return row end
  row.peer_value = M.median(theirs)
  row.ratio = benchmark.less and row.peer_value / row.value or row.value / row.peer_value
  row.ratio_low, row.ratio_high = range(ratios(benchmark, ours, theirs))
  return row
end

--- Appends a benchmark's rows to the list.
---@param list table[]
---@param benchmark table as in benchmarks.lua; its sides have their `samples`, a list of values for each key
---@param rounds integer
function M.add(list, benchmark, rounds)
  for _, side in ipairs(benchmark.peers or {}) do table.insert(list, against(benchmark, side, rounds)) end
  for _, limit in ipairs(benchmark.limits or {}) do
    local row = own(benchmark, limit.key, limit.unit, rounds)
    row.name, row.bound = limit.name, limit.at_most or limit.at_least
    row.kind = limit.at_most and "at most" or limit.at_least and "at least" or nil
    table.insert(list, row)
  end
end

return M
