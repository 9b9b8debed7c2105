--- Polls a condition in a guest until a deadline, and logs the wait.
local core = require "vmctl.core"
local log = require "vmctl.log"

local M = {}

local FIRST_PAUSE, GROWTH, PAUSE = 0.05, 1.5, 1 -- seconds; the factor; longest pause
local SAY_EVERY = 5                             -- seconds
local SHOW_AFTER = 0.5
local SHOWN = 120                               -- bytes of the last reason

-- After these codes another attempt can not succeed.
local FINAL = { ERESET = true, ECLOSED = true, ECANCELED = true, ENOTSUP = true, EINVAL = true, ESHUTDOWN = true }

local function tell(state)
  local now = core.now()
  if now - state.begin < SHOW_AFTER then return end
  local text = ("%s: %s (%.0f s of %g, last: %s)"):format(state.verb, state.what, now - state.begin, state.timeout,
    log.one_line(state.last, SHOWN))
  log.progress("waiting for " .. text)
  if now - state.said >= SAY_EVERY then
    state.said = now
    log.info("still waiting for %s", text)
  end
end

-- Makes one attempt. Returns the value, or nil and the reason.
local function ask(state, attempt, interval)
  local deadline, pause = state.begin + state.timeout, FIRST_PAUSE
  while true do
    state.attempts = state.attempts + 1
    local value, last, code = attempt(math.max(0.01, deadline - core.now()))
    if value then return value end
    if not (code == "ETIMEDOUT" and state.last and core.now() >= deadline) then state.last = last end -- cut short: it tells less
    if FINAL[code] then return nil, "given up" end
    if core.now() >= deadline then return nil, "not in time" end
    tell(state)
    if not core.sleep(math.min(pause, interval, math.max(0, deadline - core.now()))) then return nil, "cut off" end
    pause = pause * GROWTH
  end
end

--- Repeats an attempt until it returns a value. Waits.
---@param asked { verb: string, what: string, timeout: number, interval: number?, fail: fun(text: string, sections: string[]?) } what:
-- the condition, for people; timeout: seconds for all attempts; interval: seconds between two of them at most (1); fail: raises,
-- and is called when there is no value in time, or when there can never be one
---@param attempt fun(left: number): any, string?, string? returns a value; or nil, the last observation, and a code if there is one
---@param sections? fun(): string[] further parts of the report
---@return any value
function M.ask(asked, attempt, sections)
  local now = core.now()
  local state = { verb = asked.verb, what = asked.what, timeout = asked.timeout, begin = now, said = now, attempts = 0 }
  local value, why = ask(state, attempt, asked.interval or PAUSE)
  log.progress(nil)
  if value then return value end
  local attempts = state.attempts == 1 and "1 attempt" or state.attempts .. " attempts"
  asked.fail(("%s after %.1f s, %s, waiting for %s; seen last: %s"):format(why, core.now() - state.begin, attempts,
    log.one_line(asked.what, SHOWN), log.one_line(tostring(state.last), SHOWN * 2)), sections and sections())
end

--- As `ask`, for a condition in a machine. Raises through `machine:fail`.
---@param machine vmctl.ScenarioMachine
---@param verb string
---@param what string
---@param opts { timeout: number?, interval: number? }
---@param attempt fun(left: number): any, string?, string?
---@param sections? fun(): string[]
---@return any value
function M.wait(machine, verb, what, opts, attempt, sections)
  return M.ask({
    verb = verb, what = what, timeout = opts.timeout or machine._run.timeout, interval = opts.interval,
    fail = function(text, parts) machine:_fail(verb, text, parts) end,
  }, attempt, sections)
end

return M
