--- Invariants of a test: conditions that are checked periodically while its steps run. The test fails when one no longer holds.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"

local M = {}

local INTERVAL = 1 -- seconds between two checks

---@class vmctl.ScenarioCondition
---@field what string
local methods = {}
local mt = { __name = "vmctl.ScenarioCondition", __index = methods }

-- True if the condition holds now; else false and the reason.
local function look(self)
  local ok, answer = pcall(self._fn)
  if ok and answer ~= false then return true end
  local why = ok and "it returned false" or failure.text_of(answer):gsub("\n  artefacts: [^\n]*$", "") -- said again further up
  return nil, ("the condition '%s' does not hold: %s"):format(self.what, why)
end

local function watch(self, run, interval)
  while core.sleep(interval) and not self._is_closed do
    local holds, why = look(self)
    if self._is_closed then return end
    if not holds then return run:break_off(self._location .. why) end
  end
end

--- Starts to check a condition of the running test. Waits for the first check, and raises when the condition does not hold.
---@param run vmctl.TestRun
---@param what string
---@param fn fun(): boolean? the check: raises or returns false when the condition does not hold
---@param interval? number seconds, 1 by default
---@return vmctl.ScenarioCondition
function M.watch(run, what, fn, interval)
  local self = setmetatable({ what = what, _fn = fn, _location = failure.location() }, mt)
  local holds, why = look(self)
  if not holds then run:raise("polling_condition: " .. why) end
  run:note("polling_condition '%s'", what)
  self._task = background.spawn("condition " .. what, watch, self, run, interval or INTERVAL)
  return self
end

--- Stops the checks. Idempotent, does not wait.
---@return true
function methods:close()
  self._is_closed = true
  self._task:cancel()
  return true
end

mt.__close = methods.close

function mt:__tostring()
  return ("vmctl.ScenarioCondition(%s)"):format(self.what)
end

return M
