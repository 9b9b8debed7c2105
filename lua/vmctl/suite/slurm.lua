--- Runs spec files as tasks of Slurm, a task a file. A folder that all nodes share has the list of tasks and gets their results; a
--- task whose node dies runs again elsewhere, and there is one result of each. After the loss of the script its ID collects the results.
local cjson = require "cjson"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local record = require "vmctl.suite.record"
local slurm_commands = require "vmctl.suite.slurm_commands"
local task = require "vmctl.base.task"
local task_run = require "vmctl.suite.task_run"

local M = {}

local POLL = 1              -- seconds between two looks at the queue and the folder
local SILENCE = 600         -- seconds for which Slurm's controller may give no answer
local MISSED = 60           -- looks at which a task is in neither: a shared disk shows a new file late
local MISSED_STOPPED = 5    -- of a task that was cancelled
local MEMORY = 256          -- MiB of a task beside its guests
local MINUTES = 5           -- of a task beside its file's limit
local READ = 256 << 20      -- bytes of a result

---@class vmctl.SlurmRun
local methods = {}
local mt = { __name = "vmctl.SlurmRun", __index = methods }

--- A run that has not begun.
---@param opts table as for vmctl.suite.runner, and: slurm (more words for sbatch), command (the program that runs a task), env (of it)
---@return vmctl.SlurmRun
function M.new(opts)
  return setmetatable({ _opts = opts, _files = {}, _ids = {} }, mt)
end

local function write_json(path, value)
  return core.fs.replace(path, cjson.encode(value) .. "\n")
end

local function read_json(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read(READ) or ""
  file:close()
  local ok, value = pcall(cjson.decode, text)
  return ok and type(value) == "table" and value or nil
end

local function result_path(folder, index) return ("%s/result-%d.json"):format(folder, index) end

-- Tasks that need the same belong to one array. Memory is rounded up, so that there are few arrays.
local function arrays_of(jobs)
  local arrays, by_needs = {}, {}
  for index, job in ipairs(jobs) do
    local memory = MEMORY
    while memory < job.memory + MEMORY do memory = memory * 2 end
    local key = ("%d %d"):format(memory, job.cpus)
    if not by_needs[key] then
      by_needs[key] = { memory = memory, cpus = job.cpus, indices = {} }
      arrays[#arrays + 1] = by_needs[key]
    end
    table.insert(by_needs[key].indices, index)
  end
  return arrays
end

local function submit(self, jobs)
  local opts = self._opts
  local command = table.move(opts.command, 1, #opts.command, 1, {})
  command[#command + 1] = self.folder
  for _, array in ipairs(arrays_of(jobs)) do
    local id, err, code = slurm_commands.submit({
      indices = array.indices, command = command, log = self.folder .. "/task-%a.log", cpus = array.cpus, memory = array.memory,
      minutes = math.ceil(opts.limit * (1 + (opts.rerun or 0)) / 60) + MINUTES, more = opts.slurm or {},
    }, opts.env)
    if not id then return nil, err, code end
    table.insert(self._ids, id)
  end
  return write_json(self.folder .. "/run.json", { ids = self._ids, jobs = jobs })
end

local function make_folder(self, jobs)
  local opts = self._opts
  local root = core.fs.real(opts.artefacts)
  local folder, err, code = core.fs.temporary(root .. "/slurm")
  if not folder then return nil, err, code end
  self.folder = folder
  return write_json(folder .. "/tasks.json", { jobs = jobs, artefacts = root, limit = opts.limit, words = opts.words, rerun = opts.rerun,
    no_rerun_code = opts.no_rerun_code })
end

-- Takes a result that has come.
local function take(self, index, job)
  local file = read_json(result_path(self.folder, index))
  if not record.is_file(file) then return false end
  self._files[#self._files + 1] = file
  self._opts.on("end", job, file)
  return true
end

local function lost(self, index, job)
  local how = self._stopped and "it was cancelled" or slurm_commands.end_of(self._ids, index)
  local file = { path = job.path, tests = {}, mistakes = {}, output = "", seconds = 0, ended = "Slurm: " .. how }
  local said = io.open(("%s/task-%d.log"):format(self.folder, index), "rb")
  if said then
    file.output = said:read(1 << 16) or ""
    said:close()
  end
  self._files[#self._files + 1] = file
  self._opts.on("end", job, file)
end

-- Looks once. Results come first: a task's result is there before it leaves the queue.
local function look(self, left)
  local queue, err = slurm_commands.queue(self._ids)
  for index, one in pairs(left) do
    if take(self, index, one.job) then
      left[index] = nil
    elseif queue and queue[index] then
      one.missed = 0
      if queue[index].state == "RUNNING" and not one.began then
        one.began = true
        self._opts.on("begin", one.job)
      end
    elseif queue then
      one.missed = one.missed + 1
      if one.missed >= (self._stopped and MISSED_STOPPED or MISSED) then
        lost(self, index, one.job)
        left[index] = nil
      end
    end
  end
  return queue ~= nil, err
end

local function watch(self, jobs)
  local left, answered = {}, core.now()
  for index, job in ipairs(jobs) do left[index] = { job = job, missed = 0 } end
  while next(left) do
    local ok, err = look(self, left)
    if ok then
      answered = core.now()
    elseif core.now() - answered > SILENCE then
      return errors.fail("ETIMEDOUT", "Slurm has not answered for %d s: %s", SILENCE, err)
    end
    if next(left) then task.sleep(POLL) end
  end
  return true
end

--- Submits jobs, and takes their results as they come. Waits.
---@param jobs vmctl.SuiteJob[]
---@return vmctl.SuiteFile[]|nil files in the order of their names
---@return string?, string?
function methods:run(jobs)
  local ok, err, code = make_folder(self, jobs)
  if ok then ok, err, code = submit(self, jobs) end
  if not ok then
    if #self._ids > 0 then slurm_commands.cancel(self._ids) end
    return nil, err, code
  end
  log.write(("slurm: jobs %s; `vmctl test --resume %s` collects what a lost script has left\n"):format(table.concat(self._ids, ", "),
    self.folder))
  return self:_collect(jobs)
end

function methods:_collect(jobs)
  if self._stopped then slurm_commands.cancel(self._ids) end
  local ok, err, code = watch(self, jobs)
  if not ok then return nil, err, code end
  table.sort(self._files, function(a, b) return a.path < b.path end)
  return self._files
end

--- Takes the results of a run whose script has gone. Waits for tasks that have not ended.
---@param folder string as the run has told it
---@return vmctl.SuiteFile[]|nil files, string?, string? code ENOENT
function methods:resume(folder)
  local told = read_json(folder .. "/run.json")
  if not told or type(told.ids) ~= "table" or type(told.jobs) ~= "table" then
    return errors.fail("ENOENT", "%s: no run of Slurm's has been left there", folder)
  end
  self.folder, self._ids = folder, told.ids
  return self:_collect(told.jobs)
end

--- Cancels all tasks; `run` returns when the queue has none any more. Does not wait.
---@param signal string
function methods:stop(signal)
  if self._stopped then return end
  self._stopped = signal
  if #self._ids > 0 then task.spawn(slurm_commands.cancel, self._ids) end
end

--- The signal by which it was stopped, if it was.
---@return string|nil
function methods:stopped()
  return self._stopped
end

--- Runs one task, on a node. Waits.
---@param folder string
---@return true|nil, string?, string?
function M.run_task(folder)
  local index = math.tointeger(tonumber(os.getenv "SLURM_ARRAY_TASK_ID"))
  local tasks = read_json(folder .. "/tasks.json")
  local job = tasks and index and tasks.jobs and tasks.jobs[index]
  if not job then return errors.fail("ENOENT", "%s: there is no task %s", folder, tostring(index)) end
  local file, err, code = task_run.run(job, tasks)
  if not file then return nil, err, code end
  return write_json(result_path(folder, index), file)
end

return M
