--- Changes many targets in waves: a few first, and the rest only when these are healthy.
local core = require "vmctl.core"
local options = require "vmctl.base.options"
local task = require "vmctl.base.task"

local M = {}

local WAVES = { 1, "10%", "50%", "100%" }
local CONCURRENCY = 100

local known = {
  waves = "table", concurrency = "integer>=1", stop_after = "integer>=1", check = "callable", settle = "number>=0",
  name = "callable", progress = "table", on_wave = "callable",
}

-- The number of targets, of `total`, that are changed at the end of a wave.
local function goal(wave, total, level)
  if math.type(wave) == "integer" and wave >= 1 then return math.min(wave, total) end
  local percent = type(wave) == "string" and tonumber(wave:match "^(%d+%.?%d*)%%$")
  if percent and percent > 0 and percent <= 100 then return math.max(1, math.ceil(total * percent / 100)) end
  error(("waves: a number of targets, or a share as '10%%' expected, got %s"):format(tostring(wave)), level)
end

local function goals_of(waves, total, level)
  local goals, before = {}, 0
  for i, wave in ipairs(waves) do
    local up_to = goal(wave, total, level + 1)
    if up_to < before then error(("waves: %s is less than the wave before"):format(tostring(wave)), level) end
    if up_to > before or total == 0 then goals[#goals + 1], before = { up_to = up_to, number = i }, up_to end
  end
  return goals
end

local function show(self, force)
  if not self.progress then return end
  local text = ("wave %d of %d: %d of %d changed, %d failed"):format(self.wave, self.of, #self.done, self.total, #self.failed)
  if force then self.progress:say(text) else self.progress:update(text) end
end

local function fail(self, target, err, code)
  self.failed[#self.failed + 1] = { target = target, message = err or "failed", code = code or "EINVAL" }
  if #self.failed >= self.stop_after then self.stopped = true end
  if self.progress then self.progress:say(("%s: %s"):format(self.name(target), err or "failed")) end
end

-- Runs a wave: its targets side by side. When it has to stop no target begins any more, and those that have begun are finished.
local function for_each(self, list, fn, each)
  local at = 1
  task.scope(function(scope)
    for _ = 1, math.min(self.concurrency, #list) do
      task.spawn_in(scope, function()
        while at <= #list and not self.stopped do
          local target = list[at]
          at = at + 1
          local ok, err, code = fn(target)
          if ok == nil or ok == false then fail(self, target, err, code) else each(target) end
          show(self)
        end
      end)
    end
  end)
  return at
end

-- Changes a wave's targets, then checks them. Returns the number of the first target that was not changed.
local function run_wave(self, targets, first, up_to)
  local list, changed = table.move(targets, first, up_to, 1, {}), {}
  local reached = for_each(self, list, self.apply, function(target)
    changed[#changed + 1] = target
    self.done[#self.done + 1] = target
  end)
  if self.check and not self.stopped and #changed > 0 then
    if self.settle > 0 then
      local ok, err, code = core.sleep(self.settle)
      if not ok then return nil, err, code end
    end
    for_each(self, changed, self.check, function() end)
  end
  return first + reached - 1
end

local function result(self, targets, next_one)
  return { done = self.done, failed = self.failed, untouched = table.move(targets, next_one, #targets, 1, {}), waves = self.waves }
end

local function stopped(self, outcome)
  local first = self.failed[1]
  return nil, ("stopped in wave %d of %d after %d failures, %d of %d left alone: %s: %s"):format(self.wave, self.of, #self.failed,
    #outcome.untouched, self.total, self.name(first.target), first.message), first.code, outcome
end

--- Changes targets in waves: `apply(target)` for each of a wave, side by side, then `check(target)` for those, and only then the next
--- wave. A failure in the first wave (the canary) ends it all; later `stop_after` failures do. Then no target begins any more; those
--- that have begun come to their end. Waits as the functions do; an error of one of them comes out.
---@param targets any[]
---@param apply fun(target: any): any, string?, string? nil, message, code (or false): it has failed. May wait
---@param opts? { waves: (integer|string)[]?, concurrency: integer?, stop_after: integer?, check: function?, settle: number?,
--- name: function?, progress: vmctl.FleetProgress?, on_wave: function? } waves: how many are changed when each ends, as a number or a share
--- ({ 1, "10%", "50%", "100%" }); concurrency: at a time (100); stop_after: failures (1); check: is it well? As `apply`; settle: seconds
--- (0) before that; name(target): for messages; progress: of `fleet.progress`; on_wave(number, outcome): is called at the end of each
---@return { done: any[], failed: { target: any, message: string, code: string }[], untouched: any[], waves: integer }|nil outcome a
--- target that was changed and is not well is in `done` and in `failed`
---@return string? message, string? code that of the first failure; ECANCELED
---@return table? outcome where it was stopped
function M.waves(targets, apply, opts)
  if type(targets) ~= "table" then error("waves: a list of targets expected, got " .. type(targets), 2) end
  if type(apply) ~= "function" then error("waves: a function expected, got " .. type(apply), 2) end
  opts = options.check(opts, known, "fleet.waves")
  local goals = goals_of(opts.waves or WAVES, #targets, 2)
  local self = {
    apply = apply, check = opts.check, settle = opts.settle or 0, concurrency = opts.concurrency or CONCURRENCY,
    name = opts.name or tostring, progress = opts.progress, total = #targets, of = #goals, done = {}, failed = {}, waves = 0,
  }
  local next_one = 1
  for number, each in ipairs(goals) do
    self.wave, self.stop_after = number, number == 1 and 1 or opts.stop_after or 1
    local after, err, code = run_wave(self, targets, next_one, each.up_to)
    if not after then return nil, err, code, result(self, targets, each.up_to + 1) end
    next_one = after
    show(self, true)
    local outcome = result(self, targets, next_one)
    if self.stopped then return stopped(self, outcome) end
    self.waves = number
    outcome.waves = number
    if opts.on_wave then opts.on_wave(number, outcome) end
  end
  return result(self, targets, next_one)
end

return M
