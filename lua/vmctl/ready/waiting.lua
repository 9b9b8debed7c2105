--- Repeats a probe until it succeeds, fails finally, or the time is over.
local core = require "vmctl.core"
local log = require "vmctl.log"
local retry = require "vmctl.ready.retry"
local task = require "vmctl.base.task"

local M = {}

local FIRST_PAUSE, GROWTH, LEAST_PAUSE = 0.01, 1.6, 0.001 -- seconds; the factor; not even an interval of 0 may spin
local JITTER = 0.25      -- the part of a pause that is random: many waits must not run in step
local SAY_EVERY = 5      -- seconds between two lines of the log
local SHOW_AFTER = 0.5   -- seconds until a terminal shows the wait
local LAST_SHOWN = 120   -- bytes of the last failure in such a line

local methods = {}
local mt = { __index = methods }

--- The state of a wait.
---@param probe table
---@param opts { interval: number, attempt_timeout: number, on_attempt: function? }
---@param deadline number
function M.new(probe, opts, deadline)
  local now = core.now()
  return setmetatable({
    probe = probe, label = probe.label, opts = opts, begin = now, deadline = deadline, said = now, attempts = 0,
    last = "it was never asked",
  }, mt)
end

function methods:seconds() return core.now() - self.begin end

--- Its progress: "12.0 s, 30 attempts, last: …".
function methods:progress()
  local attempts = self.attempts == 1 and "1 attempt" or self.attempts .. " attempts"
  return ("%.1f s, %s, last: %s"):format(self:seconds(), attempts, log.one_line(self.last, LAST_SHOWN))
end

--- Reports that it still waits, on a terminal and now and then in the log.
function methods:tell()
  local now = core.now()
  if now - self.begin >= SHOW_AFTER then
    self.shown = true
    log.progress(("waiting for %s (%s)"):format(self.label, self:progress()))
  end
  if now - self.said >= SAY_EVERY then
    self.said = now
    log.info("still waiting for %s (%s)", self.label, self:progress())
  end
end

-- Notes the failure of an attempt, unless the deadline has cut it short: then the failure before tells more.
local function note(self, err, code, cut_short)
  if code == "ETIMEDOUT" and cut_short and self.attempts > 1 then return end
  self.code = code
  if code ~= "ECANCELED" or self.attempts == 1 then self.last = err end
end

-- Asks once. Returns true and the value; or false, and true for a final failure.
local function attempt(self)
  local left = self.deadline - core.now()
  local limit = math.max(0, math.min(self.opts.attempt_timeout, left))
  self.attempts = self.attempts + 1
  local value, err, code = task.timeout(limit, self.probe.attempt, self.probe, limit)
  if self.opts.on_attempt then self.opts.on_attempt(self.attempts, not value and err or nil, not value and code or nil) end
  if value then return true, value end
  note(self, err, code, limit < self.opts.attempt_timeout)
  return false, retry.is_final(self.probe.kind, self.probe.transport, code)
end

-- Asks through the gate, where several waits share a number of attempts. A probe that only listens does not count there.
local function attempt_in_turn(self)
  local gate = self.opts.gate
  if not gate or self.probe.passive then return attempt(self) end
  local place, err, code = gate:recv(math.max(0, self.deadline - core.now()))
  if not place then
    self.code = self.code or code
    if self.attempts == 0 then self.last = err end
    return false, code ~= "ETIMEDOUT"
  end
  local ok, value = attempt(self)
  gate:send(place)
  return ok, value
end

local function pause_after(self, pause)
  local wanted = math.max(LEAST_PAUSE, math.min(pause, self.opts.interval)) * (1 - JITTER * math.random())
  return core.sleep(math.max(0, math.min(wanted, self.deadline - core.now())))
end

-- Asks repeatedly. Returns the value, or nil and "late", "never" or "ended" (our own task was cancelled).
local function ask_until(self)
  local pause = FIRST_PAUSE
  while true do
    local ok, value = attempt_in_turn(self)
    if ok then return value end
    if value then return nil, self.code == "ECANCELED" and "ended" or "never" end
    if core.now() >= self.deadline then return nil, "late" end
    self:tell()
    local slept, _, code = pause_after(self, pause)
    if not slept then
      if code == "ETIMEDOUT" then return nil, "late" end -- a limit around us
      self.code = code
      return nil, "ended"
    end
    pause = math.min(pause * GROWTH, self.opts.interval)
  end
end

-- Asks beside a machine, whose end ends the wait at once, without the result of the present attempt.
local function ask_beside_machine(self)
  local vm = self.probe.machine
  local value, how, last, code = task.race {
    function() return ask_until(self) end,
    function()
      local ended, err, why = vm:wait(math.huge)
      if ended then return nil, "gone", "the machine has ended", "ERESET" end
      if why == "ETIMEDOUT" then return nil, "late" end
      return nil, why == "ECANCELED" and "ended" or "gone", err, why
    end,
  }
  if how == "gone" then self.last, self.code = last, code end
  return value, how
end

local function ended_text(self, how)
  local seconds, attempts = self:seconds(), self.attempts == 1 and "1 attempt" or self.attempts .. " attempts"
  if how == "late" then
    return ("wait for %s: not ready after %.1f s, %s; the last: %s"):format(self.label, seconds, attempts, self.last)
  elseif how == "never" then
    return ("wait for %s: it cannot become ready: %s (%.1f s, %s)"):format(self.label, self.last, seconds, attempts)
  elseif how == "gone" then
    return ("wait for %s: %s"):format(self.label, self.last)
  end
  return ("wait for %s: given up after %.1f s, %s; the last: %s"):format(self.label, seconds, attempts, self.last)
end

--- Waits until the probe succeeds.
---@return any|nil value, string? message with the last lines of a machine's console, string? code
function methods:run()
  local value, how
  if self.probe.machine then value, how = ask_beside_machine(self) else value, how = ask_until(self) end
  if self.shown then log.progress(nil) end
  if self.probe.release then self.probe:release() end
  if value ~= nil then return value end
  local code = how == "late" and "ETIMEDOUT" or self.code or "ETIMEDOUT"
  local text = ended_text(self, how)
  local vm = self.probe.machine
  if not vm or how == "ended" then return nil, text, code end
  return vm:_explain(text, code, self.opts.brief)
end

return M
