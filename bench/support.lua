--- Helpers of the Lua programs under test, ours and the peers': the lines that bench/run.lua reads, and memory figures.

local M = {}

M.PAYLOAD = ("x"):rep(64)
M.BULK_PAYLOAD = ("x"):rep(64 * 1024)
M.MAX = 64 * 1024                 -- largest payload
M.DATA, M.ACK = 1, 2              -- frame types
M.WINDOW = 64                     -- frames in flight on a stream

--- Tells the runner that the other end may start.
function M.ready()
  print "ready"
  io.stdout:flush()
end

---@param name string as the runner's table has it
---@param value number
function M.result(name, value)
  print(("RESULT %s=%.9g"):format(name, value))
  io.stdout:flush()
end

--- Sorts `seconds` and reports p50_us, p99_us and p99_ratio, as the C peers do.
---@param seconds number[]
function M.report_latencies(seconds)
  table.sort(seconds)
  local n = #seconds
  local p50, p99 = seconds[n // 2 + 1], seconds[n - n // 100]
  M.result("p50_us", p50 * 1e6)
  M.result("p99_us", p99 * 1e6)
  M.result("p99_ratio", p99 / p50)
end

-- smaps_rollup counts the pages; VmRSS may be off by some hundred KiB, as the kernel keeps it per processor.
local function resident_kib()
  for line in io.lines "/proc/self/smaps_rollup" do
    local kib = line:match "^Rss:%s+(%d+)"
    if kib then return tonumber(kib) end
  end
  error "no Rss in /proc/self/smaps_rollup"
end

--- Measures the memory in use after a full collection.
---@return { resident: number, lua: number } KiB
function M.memory()
  collectgarbage()
  collectgarbage()
  return { resident = resident_kib(), lua = collectgarbage "count" }
end

--- Reports resident_kib and lua_kib: what each of `count` objects costs, made between `before` and `after`.
---@param before { resident: number, lua: number }
---@param after { resident: number, lua: number }
---@param count integer
function M.report_memory(before, after, count)
  M.result("resident_kib", (after.resident - before.resident) / count)
  M.result("lua_kib", (after.lua - before.lua) / count)
end

return M
