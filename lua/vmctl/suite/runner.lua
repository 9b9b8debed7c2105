--- Runs spec files side by side, within a budget; files that failed run again, alone.
local channel = require "vmctl.base.channel"
local children = require "vmctl.suite.child"
local core = require "vmctl.core"
local file_run = require "vmctl.suite.file_run"
local results = require "vmctl.suite.results"
local schedule = require "vmctl.suite.schedule"
local task = require "vmctl.base.task"

local M = {}

---@class vmctl.SuiteJob
---@field path string
---@field expected number seconds
---@field memory integer MiB
---@field cpus integer

---@class vmctl.SuiteRun
local methods = {}
local mt = { __name = "vmctl.SuiteRun", __index = methods }

--- A run that has not begun.
---@param opts { budget: table, artefacts: string, limit: number, words: string[]?, fail_fast: boolean?, rerun: integer?,
-- no_rerun_code: integer?, pass_stderr: boolean?, on: function } budget: jobs, memory (MiB), cpus; limit: seconds for a file; words: more
-- of busted's options; no_rerun_code: an exit code of files that do not run again; on: is told "begin" (job), "event"
-- (job, event), "end" (job, file), "again" (job)
---@return vmctl.SuiteRun
function M.new(opts)
  return setmetatable({ _opts = opts, _children = {}, _files = {} }, mt)
end

local function run_file(self, job, only)
  local opts, child = self._opts, nil
  local began = core.now()
  local file, err = file_run.run(job.path, {
    artefacts = opts.artefacts, limit = opts.limit, words = opts.words, only = only, pass_stderr = opts.pass_stderr,
    started = function(it)
      child = it
      self._children[it] = true
      if self._stopped then task.spawn(children.stop, it, self._stopped) end -- stopped before it began
    end,
    on_event = function(event) opts.on("event", job, event) end,
  })
  if child then self._children[child] = nil end
  file = file or { path = job.path, tests = {}, mistakes = { { name = job.path, message = err } }, output = "", seconds = 0 }
  file.began = began - self._began
  return file
end

-- Tells if a file has to run again.
local function has_to_rerun(self, file)
  local opts = self._opts
  if (opts.rerun or 0) == 0 or self._stopped or results.failed_names(file) == false then return false end
  return opts.no_rerun_code == nil or file.exit_code ~= opts.no_rerun_code
end

-- Runs failed tests again, until they pass or the number of times is reached.
local function rerun(self, job, file)
  for _ = 1, self._opts.rerun or 0 do
    local only = results.failed_names(file)
    if only == false or not has_to_rerun(self, file) then return end
    self._opts.on("again", job)
    results.merge(file, run_file(self, job, only))
  end
end

local function start(self, job, running, ended)
  running[job] = true
  self._opts.on("begin", job)
  task.spawn(function()
    local file = run_file(self, job)
    ended:send({ job = job, file = file }, math.huge)
  end)
end

local function finish(self, job, file)
  self._files[#self._files + 1] = file
  self._opts.on("end", job, file)
  if self._opts.fail_fast and not self._stopped and results.count(file).failed > 0 then
    self.failed_fast = true
    self:stop "TERM"
  end
end

--- Runs jobs to their end. Waits. A job's file that has not begun when the run is stopped is not among the results.
---@param jobs vmctl.SuiteJob[]
---@return vmctl.SuiteFile[] files in the order of their names
function methods:run(jobs)
  local waiting, running, again = table.move(jobs, 1, #jobs, 1, {}), {}, {}
  schedule.sort(waiting)
  self._began = core.now()
  task.scope(function()
    local ended = channel.channel(#jobs + 1)
    while true do
      while not self._stopped do
        local job = schedule.take(waiting, running, self._opts.budget)
        if not job then break end
        start(self, job, running, ended)
      end
      if not next(running) then break end
      local one = ended:recv(math.huge)
      running[one.job] = nil
      if has_to_rerun(self, one.file) then
        again[#again + 1] = one
      else
        finish(self, one.job, one.file)
      end
    end
    for _, one in ipairs(again) do
      if not self._stopped then rerun(self, one.job, one.file) end
      finish(self, one.job, one.file)
    end
  end)
  table.sort(self._files, function(a, b) return a.path < b.path end)
  return self._files
end

--- Starts no more files, and ends those that run: by the signal, 20 seconds later by SIGTERM, then by SIGKILL. A second call kills
--- at once. Does not wait.
---@param signal string "INT", "TERM" …
function methods:stop(signal)
  if self._stopped then
    for child in pairs(self._children) do child:kill "KILL" end
    return
  end
  self._stopped = signal
  for child in pairs(self._children) do task.spawn(children.stop, child, signal) end
end

--- The signal by which it was stopped, if it was.
---@return string|nil
function methods:stopped()
  return self._stopped
end

return M
