--- A suite of spec files: what `vmctl test` runs side by side, on this machine.
local artefacts = require "vmctl.scenario.artefacts"
local core = require "vmctl.core"
local durations = require "vmctl.suite.durations"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local record = require "vmctl.suite.record"
local results = require "vmctl.suite.results"
local runner = require "vmctl.suite.runner"
local schedule = require "vmctl.suite.schedule"
local slurm = require "vmctl.suite.slurm"
local slurm_copy = require "vmctl.suite.slurm_copy"
local spec_files = require "vmctl.suite.spec_files"
local ssh = require "vmctl.suite.ssh"
local survey = require "vmctl.suite.survey"
local task = require "vmctl.base.task"

local M = {}

local ENGINES = { here = runner, slurm = slurm, copy = slurm_copy, ssh = ssh }

local UNKNOWN = 1       -- seconds that an unknown file is expected to take
local WITH_GUESTS = 15  -- of one with guests
local RESERVE = 512     -- MiB that are left to others

-- MiB that new programs can have.
local function available_memory()
  local file = io.open "/proc/meminfo"
  local text = file and file:read "a" or ""
  if file then file:close() end
  local kilobytes = tonumber(text:match "MemAvailable:%s*(%d+)")
  return kilobytes and math.max(RESERVE, kilobytes // 1024 - RESERVE) or math.maxinteger
end

local function processors()
  local file = io.open "/proc/cpuinfo"
  local count = 0
  for line in (file and file:read "a" or ""):gmatch "[^\n]+" do
    if line:find "^processor%s*:" then count = count + 1 end
  end
  if file then file:close() end
  return math.max(1, count)
end

--- The default budget: a file for each processor, two virtual processors of guests for each, and the available memory.
---@return { jobs: integer, memory: integer, cpus: integer } memory in MiB
function M.budget()
  local count = processors()
  return { jobs = count, memory = available_memory(), cpus = 2 * count }
end

local function job_of(path, known, words, folder, load)
  local declared = survey.declared(path)
  local job = { path = path, memory = declared.memory or 0, cpus = declared.cpus or 1 }
  if load and declared.scenarios and not declared.memory then
    local loaded = survey.load(path, words, folder) -- a file that cannot be loaded fails when it runs
    if loaded then job.memory, job.cpus = loaded.memory, loaded.cpus end
  end
  job.expected = known[path] or declared.seconds or (job.memory > 0 and WITH_GUESTS or UNKNOWN)
  return job
end

--- Finds the files, reads the needs of their machines, and picks those of a shard. Waits.
---@param paths string[] files and folders
---@param opts { artefacts: string, words: string[]?, shard: { [1]: integer, [2]: integer }?, jobs: integer, remote: boolean? } shard:
-- index and count; remote: the files run on other machines, so that what even a single one needs must be known
---@return vmctl.SuiteJob[]|nil jobs, string? message, string? code ENOENT, EINVAL
---@return table<string, number>? durations by file
function M.plan(paths, opts)
  local files, err, code = spec_files.find(paths)
  if not files then return nil, err, code end
  if #files == 0 then return errors.fail("ENOENT", "no spec file in %s", table.concat(paths, ", ")) end
  local known = durations.read(opts.artefacts .. "/durations.json")
  local folder
  folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-suite")
  if not folder then return nil, err, code end
  local load, words = #files > 1 or opts.remote, opts.words or {}
  local jobs = task.map(files, function(path) return job_of(path, known, words, folder, load) end, { concurrency = opts.jobs })
  core.fs.remove(folder)
  jobs.n = nil
  if opts.shard then jobs = schedule.shard(jobs, opts.shard[1], opts.shard[2]) end
  return jobs, nil, nil, known
end

--- Runs jobs, and keeps the durations of those that passed.
---@param jobs vmctl.SuiteJob[]
---@param known table<string, number> durations, changed by this
---@param opts table as for the runner, and: engine ("here"; "slurm": as Slurm's jobs, artefacts is a folder that its nodes share; "copy":
-- as Slurm's jobs, without one; "ssh": on other hosts), what that takes; resume (the folder of a run of Slurm's, whose jobs are
-- taken over), running (is called with the run)
---@return vmctl.SuiteFile[]|nil files
---@return vmctl.SuiteRun|vmctl.SlurmRun|vmctl.SlurmCopyRun|vmctl.SshRun|string run or message, string? code
function M.run(jobs, known, opts)
  local run = ENGINES[opts.engine or "here"].new(opts)
  if opts.running then opts.running(run) end
  local began, date = core.now(), os.date "!%Y-%m-%d %H:%M:%S UTC"
  local made, problem, how = artefacts.make_folders(opts.artefacts)
  if not made then return nil, ("artefacts in %s: %s"):format(opts.artefacts, problem), how end
  local files, why, code
  if opts.resume then files, why, code = run:resume(opts.resume) else files, why, code = run:run(jobs) end
  if not files then return nil, why, code end
  for _, file in ipairs(files) do
    if results.count(file).failed == 0 then known[file.path] = file.seconds end
  end
  local kept, err = record.write(opts.artefacts, { files = files, began = date, seconds = core.now() - began })
  if kept and not opts.only_some then kept, err = durations.write(opts.artefacts .. "/durations.json", known) end
  if not kept then log.error("the results of the suite could not be kept in %s: %s", opts.artefacts, err) end
  return files, run
end

--- The names of all tests in files, without running one. Waits.
---@param jobs vmctl.SuiteJob[]
---@param words string[]
---@param concurrency integer
---@return { path: string, tests: string[] }[]
function M.list(jobs, words, concurrency)
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-suite"))
  local lists = task.map(jobs, function(job)
    local loaded, err = survey.load(job.path, words, folder)
    return { path = job.path, tests = loaded and loaded.tests or {}, error = err }
  end, { concurrency = concurrency })
  core.fs.remove(folder)
  lists.n = nil
  return lists
end

return M
