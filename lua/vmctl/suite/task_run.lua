--- Runs one spec file of a suite on another machine, where a script of vmctl's has sent it.
local cjson = require "cjson"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local runner = require "vmctl.suite.runner"

local M = {}

--- Runs a file, alone. Waits.
---@param job vmctl.SuiteJob
---@param opts { artefacts: string, limit: number, words: string[]?, rerun: integer?, no_rerun_code: integer? }
---@return vmctl.SuiteFile|nil, string?, string? code ECANCELED when a signal has ended it
function M.run(job, opts)
  local run = runner.new { budget = { jobs = 1, memory = math.maxinteger, cpus = math.maxinteger }, artefacts = opts.artefacts,
    limit = opts.limit, words = opts.words, rerun = opts.rerun, no_rerun_code = opts.no_rerun_code, on = function() end }
  local files = run:run { job }
  if run:stopped() then return errors.fail("ECANCELED", "the task was ended") end
  return files[1]
end

--- Runs the file that a text in JSON describes, { job, limit, words, rerun, no_rerun_code }, and writes result.json. Waits.
---@param text string
---@param folder string for the file's artefacts and its result
---@return true|nil, string?, string?
function M.run_text(text, folder)
  local ok, task = pcall(cjson.decode, text)
  if not ok or type(task) ~= "table" or type(task.job) ~= "table" or type(task.job.path) ~= "string" then
    return errors.fail("EINVAL", "test: this is no task of a suite")
  end
  task.artefacts = folder
  local file, err, code = M.run(task.job, task)
  if not file then return nil, err, code end
  return core.fs.replace(folder .. "/result.json", cjson.encode(file) .. "\n")
end

return M
