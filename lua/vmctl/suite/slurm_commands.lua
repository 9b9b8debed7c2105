--- Slurm's own programs: sbatch, squeue, scontrol and scancel. Nothing else of Slurm is used; no database of accounts is needed.
local errors = require "vmctl.errors"
local host = require "vmctl.host"
local log = require "vmctl.log"

local M = {}

local LIMIT = 60 -- seconds for each call

-- Calls a program. The first line of its complaint is the reason of a failure.
local function call(command)
  command.timeout = LIMIT
  local result, err, code = host:run(command)
  if not result then return nil, ("%s: %s"):format(command[1], err), code end
  if result.exit_code ~= 0 then
    return errors.fail(result.exit_code == 127 and "ENOENT" or "EREMOTE", "%s: %s", command[1], log.last_words(result.stderr))
  end
  return result.stdout
end

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- Submits an array of tasks. Waits.
---@param spec { indices: integer[], command: string[], log: string, cpus: integer, memory: integer, minutes: integer, more: string[] }
-- command: that of each task, with SLURM_ARRAY_TASK_ID in its environment; log: a path with %a for the index; memory: MiB
---@param env table<string, string> more variables of the tasks
---@return string|nil id, string?, string?
function M.submit(spec, env)
  local words = {}
  for i, word in ipairs(spec.command) do words[i] = quote(word) end
  local command = {
    "sbatch", "--parsable", "--requeue", "--open-mode=append", "--job-name=vmctl", "--array=" .. table.concat(spec.indices, ","),
    "--output=" .. spec.log, "--cpus-per-task=" .. spec.cpus, "--mem=" .. spec.memory .. "M", "--time=" .. spec.minutes,
    table.unpack(spec.more),
  }
  command.stdin, command.env = "#!/bin/sh\nexec " .. table.concat(words, " ") .. "\n", env
  local said, err, code = call(command)
  if not said then return nil, err, code end
  local id = said:match "^(%d+)"
  if not id then return errors.fail("EPROTO", "sbatch: the number of a job expected, got '%s'", log.one_line(said, 100)) end
  return id
end

--- The tasks of jobs that have not ended. Waits.
---@param ids string[]
---@return table<integer, { state: string, reason: string }>|nil by index, string?, string?
function M.queue(ids)
  local said, err, code = call { "squeue", "--noheader", "--array", "--jobs=" .. table.concat(ids, ","),
    "--format=%K %T %r" }
  if not said then
    if err:find("Invalid job id", 1, true) then return {} end -- all have ended long ago
    return nil, err, code
  end
  local tasks = {}
  for line in said:gmatch "[^\n]+" do
    local index, state, reason = line:match "^(%d+) (%S+) (.*)"
    if index then tasks[math.tointeger(tonumber(index))] = { state = state, reason = reason } end
  end
  return tasks
end

--- The end of a task that is no longer in the queue: "NODE_FAIL", "TIMEOUT, exit code 0:0". Waits.
---@param ids string[]
---@param index integer
---@return string
function M.end_of(ids, index)
  for _, id in ipairs(ids) do
    local said = call { "scontrol", "--oneliner", "show", "job", ("%s_%d"):format(id, index) }
    local state = said and said:match "JobState=(%S+)"
    if state then return ("%s, exit code %s"):format(state, said:match "ExitCode=(%S+)" or "?") end
  end
  return "gone"
end

--- Ends the jobs of a name. Waits.
---@param name string
function M.cancel_named(name)
  call { "scancel", "--name=" .. name }
end

--- Ends jobs with all their tasks. Waits.
---@param ids string[]
---@return true|nil, string?, string?
function M.cancel(ids)
  local said, err, code = call { "scancel", table.unpack(ids) }
  if not said then return nil, err, code end
  return true
end

return M
