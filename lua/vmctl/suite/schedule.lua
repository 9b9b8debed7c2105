--- Schedules spec files: their order, the shard of each, and the next one that fits beside those that run.
local M = {}

--- Sorts jobs: the longest first, so that no long one is left for the end.
---@param jobs { path: string, expected: number }[]
function M.sort(jobs)
  table.sort(jobs, function(a, b)
    if a.expected ~= b.expected then return a.expected > b.expected end
    return a.path < b.path
  end)
end

--- The jobs of one shard. Each job is in one shard; the shards last about as long as each other. With the same files and durations
--- the same shards come out on each machine.
---@param jobs { path: string, expected: number }[]
---@param index integer 1 to `count`
---@param count integer
---@return table[] jobs sorted
function M.shard(jobs, index, count)
  local sorted = table.move(jobs, 1, #jobs, 1, {})
  M.sort(sorted)
  local sums, mine = {}, {}
  for i = 1, count do sums[i] = 0 end
  for _, job in ipairs(sorted) do
    local least = 1
    for i = 2, count do
      if sums[i] < sums[least] then least = i end
    end
    sums[least] = sums[least] + job.expected
    if least == index then mine[#mine + 1] = job end
  end
  return mine
end

--- Takes the first job out of `waiting` that fits: below the number of jobs, and within the memory and the processors that are left. A
--- job that needs more than the whole budget runs alone.
---@param waiting { memory: integer, cpus: integer }[]
---@param running table<table, true> jobs
---@param budget { jobs: integer, memory: integer, cpus: integer } memory in MiB
---@return table|nil job
function M.take(waiting, running, budget)
  local count, memory, cpus = 0, 0, 0
  for job in pairs(running) do
    count, memory, cpus = count + 1, memory + job.memory, cpus + job.cpus
  end
  if count >= budget.jobs then return nil end
  for i, job in ipairs(waiting) do
    local fits = memory + job.memory <= budget.memory and cpus + job.cpus <= budget.cpus
    if fits or count == 0 then return table.remove(waiting, i) end
  end
end

return M
