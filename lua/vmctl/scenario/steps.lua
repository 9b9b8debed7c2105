--- A scenario's verbs that are about the test and not about a machine: asking again, watching, stopping.
local failure = require "vmctl.scenario.failure"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local poll = require "vmctl.scenario.poll"

local M = {}

local retry_options = { timeout = "number", interval = "number>0", what = "string" }

-- One call: a value, or nil and why not. A function that returns nothing and does not raise has done what it should.
local function attempt(fn, left)
  local results = table.pack(pcall(fn, left))
  if not results[1] then return nil, failure.text_of(results[2]) end
  if results.n == 1 or results[2] then return results end
  return nil, "it said " .. tostring(results[2])
end

--- Calls a function again and again until it neither raises nor returns false or nil. (One that returns nothing at all has done what
--- it should.) Waits.
---@param fn fun(left: number): ... gets the seconds that are left
---@param opts? { timeout: number?, interval: number?, what: string? }|number seconds for all calls, and the longest pause (1); what:
-- the reports' word for it
---@return any ... what fn returned at last
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

--- Watches something that must hold while the next steps run: it is asked at once, and then beside them every `interval` seconds. When
--- it does not hold, the test ends there: the step that waits is cut off, and the test fails with the condition's words. Waits for
--- the first answer.
---@param what string the reports' word for it
---@param fn fun(): boolean? it does not hold when this raises (as verbs do), or returns false
---@param opts? { interval: number? } seconds between an answer and the next question, 1 by default
---@return vmctl.ScenarioCondition condition until `close` (`local steady <close> = …`), or the test's end
function M:polling_condition(what, fn, opts)
  if type(what) ~= "string" then error("polling_condition: a text expected, got " .. type(what), 2) end
  if type(fn) ~= "function" then error("polling_condition: a function expected, got " .. type(fn), 2) end
  opts = options.check(opts, { interval = "number>0" }, "polling_condition")
  local run = self._run
  if not run:is_on() then run:raise "polling_condition: no test is running" end
  return run:watch(what, fn, opts.interval)
end

--- Stops the test where this stands, with a Lua prompt on this program's terminal: the machines by their names, `vms`, and the caller's
--- local variables can be used. `continue` or Ctrl-D goes on. The machines run meanwhile; the time is not counted into the test's
--- limit. Where there is no terminal the test goes on, and its log says so. Waits.
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
