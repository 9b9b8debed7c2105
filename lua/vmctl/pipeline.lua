--- Pipelines of commands on any mixture of targets.
local host = require "vmctl.host"
local pipeline = require "vmctl.exec.pipeline"

--- Runs a pipeline. Waits until all of it has ended.
---@param stages table commands as for `start`, each with an optional `on` (its target); options by name: stdin (string, stream
--- or function), timeout (seconds for all of it, 600), check, max_output, on_output(data)
---@param default? table the target of stages that name none; vmctl.host
---@return { stdout: string, stages: table[], exit_code: integer?, signal: string?, failed: table? }|nil result `stages` has
-- each one's exit_code, signal and stderr; `failed` names the first that failed ({ stage, name, reason })
---@return string? message, string? code ETIMEDOUT, EEXIT (with check), ERESET …, table? result partial
local function run(stages, default)
  return pipeline.run(stages, default or host)
end

return run
