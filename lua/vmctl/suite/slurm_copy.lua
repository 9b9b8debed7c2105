--- Runs spec files by Slurm where the nodes share no folder with this machine: each in a job of its own, by srun, which takes the working
--- folder there and brings the result back. Jobs and their results are lost with the script.
local artefacts = require "vmctl.scenario.artefacts"
local copies = require "vmctl.suite.copies"
local core = require "vmctl.core"
local host = require "vmctl.host"
local log = require "vmctl.log"
local slurm_commands = require "vmctl.suite.slurm_commands"
local task = require "vmctl.base.task"
local base_name = require "vmctl.text".base

local M = {}

local MOST = 64         -- jobs in the queue at a time, by default
local ATTEMPTS = 3      -- a node may die
local MEMORY = 256      -- MiB of a job beside its guests
local MINUTES = 5       -- of a job beside its file's limit
local DAY = 86400       -- seconds that a job may wait in the queue, and run
local DAYS = 30

---@class vmctl.SlurmCopyRun
local methods = {}
local mt = { __name = "vmctl.SlurmCopyRun", __index = methods }

--- A run that has not begun.
---@param opts table as for vmctl.suite.slurm
---@return vmctl.SlurmCopyRun
function M.new(opts)
  return setmetatable({ _opts = opts, _files = {} }, mt)
end

local function command_for(self, job, text)
  local opts = self._opts
  local command = { "srun", "--quiet", "--job-name=" .. self._name, "--ntasks=1", "--nodes=1", "--kill-on-bad-exit=0", "--chdir=/",
    "--cpus-per-task=" .. job.cpus, ("--mem=%dM"):format(job.memory + MEMORY),
    "--time=" .. math.ceil(opts.limit * (1 + (opts.rerun or 0)) / 60) + MINUTES, table.unpack(opts.slurm or {}) }
  local words = copies.words("-", text, opts.task_command)
  return table.move(words, 1, #words, #command + 1, command)
end

-- Runs srun with the bundle for its input and a file for its output.
local function attempt(self, command, archive)
  local words = { "sh", "-c", 'in=$1 out=$2; shift 2; exec "$@" <"$in" >"$out"', "sh", self._bundle, archive, table.unpack(command) }
  words.env, words.timeout = self._opts.env, DAYS * DAY
  local done, err = host:run(words)
  if not done then return nil, err end
  if done.exit_code ~= 0 then return nil, log.last_words(done.stderr), done.stderr end
  return true
end

local function run_job(self, index, job, text)
  local opts = self._opts
  local archive = ("%s/%d.tar"):format(self._folder, index)
  local file, why, said
  opts.on("begin", job)
  for _ = 1, ATTEMPTS do
    if self._stopped then break end
    local ok
    ok, why, said = attempt(self, command_for(self, job, text), archive)
    if ok then file, why = copies.take(archive, self._by_path, opts.artefacts) end
    os.remove(archive)
    if file then break end
  end
  file = file or copies.failed(job.path, "Slurm: " .. (self._stopped and "it was cancelled" or why), said)
  self._files[#self._files + 1] = file
  opts.on("end", job, file)
end

--- Runs jobs, and takes their results as they come. Waits.
---@param jobs vmctl.SuiteJob[] the longest first
---@return vmctl.SuiteFile[]|nil files in the order of their names
---@return string?, string?
function methods:run(jobs)
  local opts = self._opts
  local texts, by_path, code = copies.tasks(jobs, opts)
  if not texts then return nil, by_path, code end
  self._by_path = by_path
  local err
  self._folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-suite")
  if not self._folder then return nil, err, code end
  self._name = base_name(self._folder)
  self._bundle, err, code = copies.pack(self._folder, opts.artefacts)
  if self._bundle then
    local numbers = {}
    for i = 1, #jobs do numbers[i] = i end
    task.map(numbers, function(i) run_job(self, i, jobs[i], texts[i]) end, { concurrency = opts.most or MOST })
    table.sort(self._files, function(a, b) return a.path < b.path end)
  end
  artefacts.remove(self._folder)
  if not self._bundle then return nil, err, code end
  return self._files
end

--- Cancels all jobs; `run` returns when their sruns have ended. Does not wait.
---@param signal string
function methods:stop(signal)
  if self._stopped then return end
  self._stopped = signal
  if self._name then task.spawn(slurm_commands.cancel_named, self._name) end
end

--- The signal by which it was stopped, if it was.
---@return string|nil
function methods:stopped()
  return self._stopped
end

return M
