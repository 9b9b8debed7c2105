--- Pipelines of commands on any targets: each command's output streams into the next one's input.
local core = require "vmctl.core"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local pieces = require "vmctl.base.pieces"
local request = require "vmctl.exec.request"
local runner = require "vmctl.process.collect"
local task = require "vmctl.base.task"

local M = {}

local TIMEOUT = 600 -- seconds
local STDERR = 1 << 20

local known = {
  stdin = "string|callable|vmctl.Stream", timeout = "number", check = "boolean", max_output = "integer", on_output = "callable",
}

-- Splits into a list of { command, target } and the options. Raises at the user's line for anything malformed.
local function split(stages, default)
  local list, opts, highest = {}, {}, 0
  for key, value in pairs(stages) do
    if math.type(key) == "integer" then highest = math.max(highest, key) else opts[key] = value end
  end
  options.check(opts, known, "pipeline", 4)
  if highest == 0 then error("pipeline: at least one command expected", 3) end
  for i = 1, highest do
    local stage, target = stages[i], default
    if type(stage) == "table" then
      stage = {}
      for key, value in pairs(stages[i]) do stage[key] = value end
      target, stage.on = stage.on or default, nil
    end
    local parsed = request.parse(stage, "pipeline", 4)
    list[i] = { command = parsed.command and { "sh", "-c", stage } or stage, title = request.title(parsed), target = target,
      stderr = pieces.new() }
  end
  return list, opts
end

-- Starts the stages. The first has no standard input unless one is given: some agents cannot end a command that had one.
local function start_all(list, opts, deadline)
  for i, stage in ipairs(list) do
    local command, wants_input = stage.command, i > 1 or opts.stdin ~= nil
    command.timeout = deadline - core.now()
    command.stdin = wants_input and "whole" or false
    local p, err, code = stage.target:start(command)
    if not p then return nil, ("pipeline: stage %d: %s"):format(i, err), code end
    p.name = stage.title .. p.name:sub(#request.title { argv = command } + 1)
    stage.process, stage.name = p, p.name
  end
  return true
end

local function end_all(list)
  for _, stage in ipairs(list) do
    if stage.process then stage.process:close() end
  end
end

-- Closes the output of a stage whose reader has ended, as a shell does. Where the agent cannot, the command is dropped.
local function reader_gone(stage)
  stage.unread = true
  if stage.process:close_stdout() then return end
  stage.process:close()
  stage.record = { signal = "PIPE" }
end

local function keep_stderr(stage, data)
  local room = STDERR - stage.stderr.bytes
  if room > 0 then stage.stderr:add(data:sub(1, room)) end
end

-- Passes data to the next stage. Returns nil, message, code only when the time is over; it is no failure if the next stage has ended.
local function pass_on(stage, following, data, deadline)
  if stage.unread then return true end
  local ok, err, code = following.process:write(data, deadline - core.now())
  if ok then return true end
  if code == "ETIMEDOUT" or code == "ECANCELED" then return nil, err, code end
  reader_gone(stage)
  return true
end

-- Delivers all output of a stage. Returns nil, message, code if its end was not seen.
local function stream(stage, following, deliver, deadline)
  while core.now() < deadline do
    local data, name, code = stage.process:read(deadline - core.now())
    if not data then
      if code == "EOF" or stage.record then return true end
      return nil, name, code
    end
    if name == "stderr" then
      keep_stderr(stage, data)
    elseif not following then
      deliver(data)
    else
      local ok, err, why = pass_on(stage, following, data, deadline)
      if not ok then return nil, err, why end
    end
  end
  return nil, stage.name .. ": timed out", "ETIMEDOUT"
end

-- Ends all stages after one was lost: their results are of no use. The time limit is one for all.
local function fail(list, i, err, code)
  list[i].failure = list[i].failure or { err, code }
  if list.lost or code == "ETIMEDOUT" then return end
  list.lost = i
  end_all(list)
end

local function flow(list, i, deliver, deadline)
  local stage, following = list[i], list[i + 1]
  local ok, err, code = stream(stage, following, deliver, deadline)
  if following then following.process:close_stdin(math.max(0, deadline - core.now())) end
  if ok and not stage.record then
    stage.record, err, code = stage.process:wait(deadline - core.now())
  end
  if not stage.record then
    if code == "ETIMEDOUT" then err = stage.name .. ": not finished in time" end
    fail(list, i, err, code)
  end
  stage.process:close() -- so that no writer waits for it
end

local function stream_all(list, opts, deliver, deadline)
  return task.scope(function(scope)
    local feeder = opts.stdin ~= nil and task.spawn_in(scope, function()
      local fed, err, code = runner.feed(list[1].process, opts.stdin)
      if not fed and code ~= "ECANCELED" then fail(list, 1, err, code) end
    end)
    local flows = {}
    for i = 1, #list do flows[i] = task.spawn_in(scope, flow, list, i, deliver, deadline) end
    for _, t in ipairs(flows) do t:join() end
    if feeder then feeder:cancel() end
  end)
end

local function failed(stage)
  if stage.failure then return stage.failure[1] end
  local record = stage.record
  if record.error then return record.error end
  if stage.unread and (record.signal == "PIPE" or record.exit_code == 141) then return nil end
  if record.signal then return "killed by signal " .. record.signal end
  if record.exit_code ~= 0 then return ("exit code %d"):format(record.exit_code) end
end

local function report(list, stdout)
  local result = { stdout = stdout, stages = {} }
  for i, stage in ipairs(list) do
    local record = stage.record or { error = stage.failure and stage.failure[1] }
    local how = failed(stage)
    result.stages[i] = {
      name = stage.name, stderr = stage.stderr:text(), exit_code = record.exit_code, signal = record.signal,
      error = record.error,
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
  local text = log.last_words(result.stages[result.failed.stage].stderr)
  return text ~= "" and ": " .. text or ""
end

local ending = { __close = function(guard) end_all(guard[1]) end }

local function run(list, opts, deadline)
  local guard <close> = setmetatable({ list }, ending) -- luacheck: ignore
  local ok, err, code = start_all(list, opts, deadline)
  if not ok then return nil, err, code end
  local output = runner.collector(opts.max_output)
  stream_all(list, opts, opts.on_output or function(data) runner.collect(output, data) end, deadline)
  local result = report(list, runner.collected(output))
  if output.cut > 0 then result.truncated = output.cut end
  for i = list.lost or 1, #list do
    local failure = list[i].failure
    if failure then return nil, ("pipeline: stage %d: %s"):format(i, failure[1]), failure[2], result end
  end
  return result
end

--- Runs a pipeline. Waits until all of it has ended.
---@param stages table commands as for `start`, each with an optional `on` (its target); options by name: stdin (string, stream
--- or function), timeout (seconds for all of it, 600), check, max_output, on_output(data)
---@param default table the target of stages that name none
---@return { stdout: string, stages: table[], exit_code: integer?, signal: string?, failed: table? }|nil result `stages` has
-- each one's exit_code, signal and stderr; `failed` names the first that failed ({ stage, name, reason })
---@return string? message, string? code ETIMEDOUT, EEXIT (with check), ERESET …, table? result partial
function M.run(stages, default)
  if type(stages) ~= "table" then error("pipeline: a list of commands expected", 2) end
  local list, opts = split(stages, default)
  local result, err, code, partial = run(list, opts, core.now() + (opts.timeout or TIMEOUT))
  if result and opts.check and result.failed then
    return nil, ("pipeline: stage %d (%s): %s%s"):format(result.failed.stage, result.failed.name, result.failed.reason,
      stderr_tail(result)), "EEXIT", result
  end
  return result, err, code, partial
end

return M
