--- A scenario's verbs that run commands.
local commands = require "vmctl.scenario.command"
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"
local signals = require "vmctl.signals"

local M = {}

local wait_options = { timeout = "number", interval = "number>0" }

-- Runs a command to its end and logs it. Returns the record, or nil, message, code, partial.
local function run(self, vm, command, shown, timeout)
  if timeout then command = options.merge(command, { timeout = timeout }) end
  local begin = core.now()
  local record, err, code, partial = vm:run(command)
  self._run:note("%s: %s: %s (%.2f s)", self.name, shown, record and failure.outcome(record) or err, core.now() - begin)
  self._run:note_output(record or partial or {})
  return record, err, code, partial
end

-- Runs a command for a verb. Raises when it got no exit status.
local function finish(self, verb, given)
  local vm = self:_running(verb)
  local command, shown, wanted = commands.read(verb, given, self._run.timeout)
  local begin = core.now()
  local record, err, _, partial = run(self, vm, command, shown)
  if not record then self:_fail(verb, err, failure.command_sections(shown, partial)) end
  return record, shown, core.now() - begin, wanted
end

local function exit_code(record)
  if record.exit_code then return record.exit_code end
  local known, number = pcall(signals.number, record.signal) -- an agent of the reference does not tell the signal
  return known and 128 + number or 255
end

--- Runs a command and returns its exit code. Raises only when there is none (a time-out, a machine that is gone). Waits.
---@param command vmctl.ScenarioCommand|string a list is run exactly as it is; a string is a shell command under `set -eu`, and
-- pipefail where the guest's shell has it: it ends where one of its parts fails. `{ "…", strict = false }` is plain `sh -c`
---@return integer exit_code 128 and the signal's number when a signal ended it
---@return string stdout, string stderr
function M:execute(command)
  local record = finish(self, "execute", command)
  return exit_code(record), record.stdout, record.stderr
end

-- Runs several commands, each of which must pass `judge`.
local function expect(self, verb, judge, ...)
  local out, err = {}, {}
  for i = 1, math.max(1, select("#", ...)) do
    local record, shown, seconds, wanted = finish(self, verb, (select(i, ...)))
    local is_good, why = judge(record, wanted)
    if not is_good then
      local how = ("%s after %.1f s%s"):format(failure.outcome(record), seconds, why and ": " .. why or "")
      self:_fail(verb, how, failure.command_sections(shown, record))
    end
    out[i], err[i] = record.stdout, record.stderr
  end
  return table.concat(out), table.concat(err)
end

--- Runs commands one after the other. Each must succeed. Waits.
---@param ... vmctl.ScenarioCommand|string as for `execute`
---@return string stdout of all, string stderr of all
function M:succeed(...)
  return expect(self, "succeed", commands.is_success, ...)
end

--- Runs commands one after the other. Each must fail with an exit code of its own: a missing command (exit codes 126, 127) and one
--- that a signal ended do not count. `{ …, exit_code = 127 }` and `{ …, signal = "SEGV" }` expect exactly that. Waits.
---@param ... vmctl.ScenarioCommand|string as for `execute`
---@return string stdout of all, string stderr of all
function M:fail(...)
  return expect(self, "fail", commands.is_failure, ...)
end

--- Starts a command in the background. It ends with its machine at the latest.
---@param command vmctl.ScenarioCommand|string as for `execute`, but without a default time-out
---@return vmctl.ExecProcess process with read, write, kill, wait, close
function M:spawn(command)
  local vm = self:_running "spawn"
  local prepared, shown = commands.read("spawn", command)
  local process, err = vm:start(prepared)
  self._run:note("%s: spawn: %s", self.name, shown)
  if not process then self:_fail("spawn", err, failure.command_sections(shown)) end
  self:_own(process) -- a test that does not keep it still wants it to run
  return process
end

local function wait_until(self, verb, judge, given, opts)
  opts = options.check(opts, wait_options, verb, 4)
  local vm = self:_running(verb)
  local command, shown, wanted = commands.read(verb, given)
  local limit = command.timeout or math.huge
  local sections
  return poll.wait(self, verb, shown, opts, function(left)
    local record, err, code, partial = run(self, vm, command, shown, math.min(left, limit))
    if record or not sections then sections = failure.command_sections(shown, record or partial) end -- a run cut short has less output
    if not record then return nil, err, code end
    local is_good, why = judge(record, wanted)
    if is_good then return record.stdout end
    return nil, failure.outcome(record) .. (why and ": " .. why or "")
  end, function() return sections end)
end

--- Repeats a command until it succeeds. Waits.
---@param command vmctl.ScenarioCommand|string as for `execute`; its `timeout` is that of each run
---@param opts? { timeout: number?, interval: number? }|number seconds in all, and between two runs at most (1)
---@return string stdout of the last run
function M:wait_until_succeeds(command, opts)
  return wait_until(self, "wait_until_succeeds", commands.is_success, command, opts)
end

--- Repeats a command until it fails in the sense of `fail`. Waits.
---@param command vmctl.ScenarioCommand|string as for `fail`
---@param opts? { timeout: number?, interval: number? }|number
---@return string stdout of the last run
function M:wait_until_fails(command, opts)
  return wait_until(self, "wait_until_fails", commands.is_failure, command, opts)
end

return M
