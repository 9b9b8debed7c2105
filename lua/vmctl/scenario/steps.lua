--- A scenario's verbs that concern the test and no machine: retry, invariants, the prompt.
local failure = require "vmctl.scenario.failure"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"

local M = {}

local retry_options = { timeout = "number", interval = "number>0", what = "string" }

-- Makes one call. Returns a value, or nil and the reason. A function that returns nothing and does not raise has succeeded.
local function attempt(fn, left)
  local results = table.pack(pcall(fn, left))
  if not results[1] then return nil, failure.text_of(results[2]) end
  if results.n == 1 or results[2] then return results end
  return nil, "it said " .. tostring(results[2])
end

--- Repeats a function until it succeeds: until it neither raises nor returns false or nil. A function that returns no value at all
--- has succeeded. Waits.
---@param fn fun(left: number): ... gets the seconds that are left
---@param opts? { timeout: number?, interval: number?, what: string? }|number timeout: seconds for all calls; interval: seconds between
-- two calls at most (1); what: its name in reports
---@return any ... results of the last call
function M:retry(fn, opts)
  if type(fn) ~= "function" then error("retry: a function expected, got " .. type(fn), 2) end
  opts = options.check(opts, retry_options, "retry")
  local run, last = self._run, nil
  local results = poll.ask({
    verb = "retry", what = opts.what or "a function", timeout = opts.timeout or run.timeout, interval = opts.interval,
    fail = function(text, parts) run:raise(table.concat({ "retry: " .. text, table.unpack(parts) }, "\n")) end,
  }, function(left)
    local value, why = attempt(fn, left)
    last = why
    if run:is_broken() then return nil, why, "ECANCELED" end
    return value, why
  end, function() return { failure.section("the last call", last) } end)
  return table.unpack(results, 2, results.n)
end

--- Checks an invariant while the next steps run: once now, and then every `interval` seconds. When it does not hold, the running step
--- is cancelled and the test fails with the check's message. Waits for the first check.
---@param what string its name in reports
---@param fn fun(): boolean? the check: raises (as verbs do) or returns false when the invariant does not hold
---@param opts? { interval: number? } seconds between the end of a check and the next one, 1 by default
---@return vmctl.ScenarioCondition condition checked until `close` (`local steady <close> = …`) or the test's end
function M:polling_condition(what, fn, opts)
  if type(what) ~= "string" then error("polling_condition: a text expected, got " .. type(what), 2) end
  if type(fn) ~= "function" then error("polling_condition: a function expected, got " .. type(fn), 2) end
  opts = options.check(opts, { interval = "number>0" }, "polling_condition")
  local run = self._run
  if not run:is_on() then run:raise "polling_condition: no test is running" end
  return run:watch(what, fn, opts.interval)
end

--- Pauses the test with a Lua prompt on this program's terminal. Lines can use the machines by name, `vms`, and the caller's local
--- variables; `continue` or Ctrl-D resumes the test. The machines go on running, and the time does not count towards the test's
--- limit. Without a terminal the test is not paused, and its log says so. Waits.
function M:breakpoint()
  local here = failure.location():gsub(": $", "")
  self._run:note("breakpoint at %s", here)
  local names = failure.locals()
  for _, machine in ipairs(self:machines()) do names[machine.name] = names[machine.name] or machine end
  names.vms = names.vms or self
  local done, err = require "vmctl.scenario.prompt".run(here, names)
  if done then return end
  self._run:note("breakpoint: %s", err)
  log.write(("%s: breakpoint passed over: %s\n"):format(here, err))
end

return M
