--- A scenario's verbs that run commands.
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"
local signals = require "vmctl.signals"

local M = {}

local wait_options = { timeout = "number", interval = "number>0" }

-- As `vm:run` takes it, and as a person reads it.
local function prepare(self, verb, command)
  if type(command) == "string" then return { "sh", "-c", command }, command end
  if type(command) ~= "table" then
    error(("%s%s: a command expected, a list or a string, got %s"):format(failure.location(), verb, type(command)), 0)
  end
  local words = {}
  for i, word in ipairs(command) do
    words[i] = tostring(word):find "^[%w%-_./:=,+@%%]+$" and word or ("'%s'"):format((tostring(word):gsub("'", "'\\''")))
  end
  return options.merge({ timeout = self._run.timeout }, command), table.concat(words, " ")
end

-- Runs it to its end and notes that. Record, or nil, message, code, partial.
local function run(self, vm, command, shown, timeout)
  command = options.merge(command, timeout and { timeout = timeout } or { timeout = command.timeout or self._run.timeout })
  local begin = core.now()
  local record, err, code, partial = vm:run(command)
  self._run:note("%s: %s: %s (%.2f s)", self.name, shown, record and failure.outcome(record) or err, core.now() - begin)
  self._run:note_output(record or partial or {})
  return record, err, code, partial
end

-- Runs a command for a verb. Raises when its end was not seen.
local function finish(self, verb, given)
  local vm = self:_running(verb)
  local command, shown = prepare(self, verb, given)
  local begin = core.now()
  local record, err, _, partial = run(self, vm, command, shown)
  if not record then self:_fail(verb, err, failure.command_sections(shown, partial)) end
  return record, shown, core.now() - begin
end

local function exit_code(record)
  if record.exit_code then return record.exit_code end
  local known, number = pcall(signals.number, record.signal) -- an agent of the reference does not say which
  return known and 128 + number or 255
end

--- Runs a command, whatever its exit code is. Raises only when its end was not seen (a time-out, a machine that is gone).
---@param command string[]|string as for vm:run, with its options; a string is a shell command
---@return integer exit_code 128 and the signal's number when a signal ended it
---@return string stdout, string stderr
function M:execute(command)
  local record = finish(self, "execute", command)
  return exit_code(record), record.stdout, record.stderr
end

-- Several commands of which each must end as `is_good` wants.
local function expect(self, verb, is_good, told, ...)
  local out, err = {}, {}
  for i = 1, math.max(1, select("#", ...)) do
    local record, shown, seconds = finish(self, verb, (select(i, ...)))
    if not is_good(record) then
      self:_fail(verb, told:format(failure.outcome(record), seconds), failure.command_sections(shown, record))
    end
    out[i], err[i] = record.stdout, record.stderr
  end
  return table.concat(out), table.concat(err)
end

local function is_success(record) return record.exit_code == 0 and not record.error end
local function is_failure(record) return not is_success(record) end

--- Runs commands that must succeed, one after the other.
---@param ... string[]|string
---@return string stdout of all, string stderr of all
function M:succeed(...)
  return expect(self, "succeed", is_success, "%s after %.1f s", ...)
end

--- Runs commands that must fail.
---@param ... string[]|string
---@return string stdout of all, string stderr of all
function M:fail(...)
  return expect(self, "fail", is_failure, "it succeeded (%s after %.1f s)", ...)
end

--- Starts a command that goes on beside the test, and ends with its machine at the latest.
---@param command string[]|string as for vm:start
---@return vmctl.ExecProcess process with read, write, kill, wait, close
function M:spawn(command)
  local vm = self:_running "spawn"
  local prepared, shown = prepare(self, "spawn", command)
  prepared.timeout = type(command) == "table" and command.timeout or nil
  local process, err = vm:start(prepared)
  self._run:note("%s: spawn: %s", self.name, shown)
  if not process then self:_fail("spawn", err, failure.command_sections(shown)) end
  return process
end

local function wait_until(self, verb, is_good, given, opts)
  opts = options.check(opts, wait_options, verb, 4)
  local vm = self:_running(verb)
  local command, shown = prepare(self, verb, given)
  local sections
  local limit = type(given) == "table" and given.timeout or math.huge
  return poll.wait(self, verb, shown, opts, function(left)
    local record, err, code, partial = run(self, vm, command, shown, math.min(left, limit))
    if record or not sections then sections = failure.command_sections(shown, record or partial) end -- cut short: it knows less
    if record and is_good(record) then return record.stdout end
    return nil, record and failure.outcome(record) or err, code
  end, function() return sections end)
end

--- Runs a command again and again until it succeeds. Waits.
---@param command string[]|string its `timeout` is that of each run
---@param opts? { timeout: number, interval: number }|number seconds: for all of it, and the longest pause (1)
---@return string stdout of the last run
function M:wait_until_succeeds(command, opts)
  return wait_until(self, "wait_until_succeeds", is_success, command, opts)
end

--- Runs a command again and again until it fails. Waits.
---@param command string[]|string
---@param opts? { timeout: number, interval: number }|number
---@return string stdout of the last run
function M:wait_until_fails(command, opts)
  return wait_until(self, "wait_until_fails", is_failure, command, opts)
end

return M
