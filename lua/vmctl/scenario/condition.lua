--- Conditions that must hold during a test: checked again and again beside its steps. When it no longer holds, the test ends there.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"

local M = {}

local INTERVAL = 1 -- seconds between two looks

---@class vmctl.ScenarioCondition
---@field what string
local methods = {}
local mt = { __name = "vmctl.ScenarioCondition", __index = methods }

-- Says if it holds now, or why not.
local function look(self)
  local ok, answer = pcall(self._fn)
  if ok and answer ~= false then return true end
  local why = ok and "it said false" or failure.text_of(answer):gsub("\n  artefacts: [^\n]*$", "") -- said again further up
  return nil, ("the condition '%s' does not hold: %s"):format(self.what, why)
end

local function watch(self, run, interval)
  while core.sleep(interval) and not self._is_closed do
    local holds, why = look(self)
    if self._is_closed then return end
    if not holds then return run:break_off(self._location .. why) end
  end
end

--- Begins to watch a condition of the running test. Waits for a first look. Raises when it does not hold already.
---@param run vmctl.TestRun
---@param what string
---@param fn fun(): boolean? it does not hold when this raises, or returns false
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

--- Watches it no longer. Idempotent, does not wait.
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
