--- Pipelines of commands on any mixture of targets: each one's output streams into the next one's input.
local core = require "vmctl.core"
local options = require "vmctl.options"
local runner = require "vmctl.run"
local task = require "vmctl.task"

local M = {}

local TIMEOUT = 600 -- seconds
local STDERR = 1 << 20

local known = { stdin = "any", timeout = "number", check = "boolean", max_output = "integer", on_output = "function" }

local function split(stages, default)
  local list, opts = {}, {}
  for key, value in pairs(stages) do
    if math.type(key) ~= "integer" then opts[key] = value end
  end
  options.check(opts, known, "pipeline")
  for i, stage in ipairs(stages) do
    local command, target = stage, default
    if type(stage) == "table" then
      command = {}
      for key, value in pairs(stage) do command[key] = value end
      target = command.on or default
      command.on = nil
    end
    list[i] = { command = command, target = target }
  end
  if #list == 0 then error("pipeline: at least one command expected", 3) end
  return list, opts
end

local function start_all(list, deadline)
  for i, stage in ipairs(list) do
    local command = type(stage.command) == "string" and { "sh", "-c", stage.command } or stage.command
    command.timeout = deadline - core.now()
    local p, err, code = stage.target:start(command)
    if not p then
      for k = 1, i - 1 do list[k].process:close() end
      return nil, ("pipeline: stage %d: %s"):format(i, err), code
    end
    stage.process, stage.name = p, p.name
  end
  return true
end

-- A stage whose reader has ended dies as a shell's would: of SIGPIPE. That is no failure of the pipeline.
local function reader_gone(stage)
  if stage.sigpipe then return end
  stage.sigpipe = true
  if not stage.process:kill "PIPE" then stage.process:close() end
end

local function keep_stderr(stage, data)
  stage.stderr_bytes = (stage.stderr_bytes or 0) + #data
  if stage.stderr_bytes <= STDERR then table.insert(stage.stderr, data) end
end

local function flow(stage, following, deliver, deadline)
  while true do
    local data, stream, code = stage.process:read(deadline - core.now())
    if not data then
      stage.failure = code ~= "EOF" and { stream, code } or nil
      break
    elseif stream == "stderr" then
      keep_stderr(stage, data)
    elseif not following then
      deliver(data)
    elseif not stage.sigpipe and not following.process:write(data, deadline - core.now()) then
      reader_gone(stage)
    end
  end
  if following then following.process:close_stdin(deadline - core.now()) end
  if stage.failure then return end
  local record, err, code = stage.process:wait(deadline - core.now())
  stage.record = record
  stage.failure = not record and { err, code } or nil
end

local function feed(stage, input)
  if input then runner.feed(stage.process, input) else stage.process:close_stdin() end
end

local function stream_all(list, opts, deliver, deadline)
  task.scope(function(scope)
    local feeder = task.spawn_in(scope, feed, list[1], opts.stdin)
    local flows = {}
    for i, stage in ipairs(list) do
      flows[i] = task.spawn_in(scope, flow, stage, list[i + 1], deliver, deadline)
    end
    for _, t in ipairs(flows) do t:join() end
    feeder:cancel()
  end)
  for _, stage in ipairs(list) do stage.process:close() end
end

local function failed(stage)
  if stage.failure then return stage.failure[1] end
  local record = stage.record
  if record.error then return record.error end
  if stage.sigpipe and (record.signal or record.exit_code == 141) then return nil end
  if record.signal then return "killed by signal " .. record.signal end
  if record.exit_code ~= 0 then return ("exit code %d"):format(record.exit_code) end
end

local function report(list, stdout)
  local result = { stdout = stdout, stages = {} }
  for i, stage in ipairs(list) do
    local record = stage.record or { error = stage.failure and stage.failure[1] }
    local how = failed(stage)
    result.stages[i] = {
      name = stage.name, stderr = table.concat(stage.stderr), exit_code = record.exit_code, signal = record.signal,
      error = record.error, sigpipe = stage.sigpipe,
    }
    if how and not result.failed then
      result.failed = { stage = i, name = stage.name, reason = how }
    end
  end
  local last = result.stages[#list]
  result.exit_code, result.signal, result.stderr = last.exit_code, last.signal, last.stderr
  return result
end

local function stderr_tail(result)
  local text = result.stages[result.failed.stage].stderr:sub(-400):gsub("%s+$", "")
  return text ~= "" and ": " .. text or ""
end

--- Runs a pipeline. Waits until all of it has ended.
---@param stages table commands as for `run`, each with an optional `on` (its target); options by name: stdin (string, stream
-- or function), timeout (seconds for all of it, 600), check, max_output, on_output(data)
---@param default? table the target of stages that name none; vmctl.host
---@return { stdout: string, stages: table[], exit_code: integer?, signal: string?, failed: table? }|nil result `stages` has
-- each one's exit_code, signal and stderr; `failed` names the first that failed ({ stage, name, reason })
---@return string? message, string? code ETIMEDOUT, EEXIT (with check), ERESET …, table? result partial
function M.run(stages, default)
  if type(stages) ~= "table" then error("pipeline: a list of commands expected", 2) end
  local list, opts = split(stages, default or require "vmctl.host")
  local deadline = core.now() + (opts.timeout or TIMEOUT)
  for _, stage in ipairs(list) do stage.stderr = {} end
  local ok, err, code = start_all(list, deadline)
  if not ok then return nil, err, code end
  local output = runner.collector(opts.max_output)
  stream_all(list, opts, opts.on_output or function(data) runner.collect(output, data) end, deadline)
  local result = report(list, runner.collected(output))
  if output.cut > 0 then result.truncated = output.cut end
  for i, stage in ipairs(list) do
    if stage.failure then
      return nil, ("pipeline: stage %d: %s"):format(i, stage.failure[1]), stage.failure[2], result
    end
  end
  if opts.check and result.failed then
    return nil, ("pipeline: stage %d (%s): %s%s"):format(result.failed.stage, result.failed.name, result.failed.reason,
      stderr_tail(result)), "EEXIT", result
  end
  return result
end

M.pipeline = M.run

return M
