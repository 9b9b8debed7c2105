--- Asks each of many targets again and again. Their turns are spread over the interval, so that no moment has more to do than another,
--- and a target that has not answered is not asked once more: a poller that falls behind leaves polls out, and counts them, instead of
--- collecting them. Tasks are kept and used again; there are as many as polls overlap.
local core = require "vmctl.core"
local latency = require "vmctl.fleet.latency"
local options = require "vmctl.base.options"
local task = require "vmctl.base.task"

local M = {}

local EVERY, LATE, WORKERS = 1, 0.1, 1000
local TICKS = 1000 -- of an interval, at most: turns that are nearer to each other than that begin together

local known = {
  every = "number>0", rounds = "integer>=1", late = "number>0", workers = "integer>=1", on_answer = "callable", on_failure = "callable",
}

local function note(self, i, due, value, err, code)
  local took = core.now() - due
  self.latency:add(took)
  local totals = self.totals
  totals.polls = totals.polls + 1
  if took > self.late then totals.late = totals.late + 1 end
  local target = self.targets[i]
  if value == nil then
    totals.failed = totals.failed + 1
    self.failures[i] = (self.failures[i] or 0) + 1
    if self.on_failure then self.on_failure(target, err, code, self.failures[i]) end
  else
    if self.failures[i] then self.failures[i] = nil end
    if self.on_answer then self.on_answer(target, value, took) end
  end
end

-- A task that asks one target after the other: those that wait for a task first, then those that it is given.
local function work(self, worker)
  while true do
    local i = worker.i
    note(self, i, worker.due, self.ask(self.targets[i], i))
    self.busy[i] = false
    if self.first <= self.last then
      local first = self.first
      worker.i, worker.due = self.waiting[first].i, self.waiting[first].due
      self.waiting[first], self.first = nil, first + 1
    else
      if self.over then return end
      self.idle[#self.idle + 1] = worker
      worker.i = nil
      while not worker.i do
        local ok = worker.queue:wait(math.huge)
        if not ok or self.over and not worker.i then return end
      end
    end
  end
end

local function begin(self, i, due)
  if self.busy[i] then
    self.totals.skipped = self.totals.skipped + 1
    return
  end
  self.busy[i] = true
  local worker = table.remove(self.idle)
  if worker then
    worker.i, worker.due = i, due
    worker.queue:wake()
  elseif self.workers < self.most then
    self.workers = self.workers + 1
    task.spawn_in(self.scope, work, self, { i = i, due = due, queue = core.queue() })
  else
    self.last = self.last + 1
    self.waiting[self.last] = { i = i, due = due }
  end
end

-- Target i of n is due at start + (i - 1) / n of the interval, in each round.
local function dispatch(self, rounds)
  local count, every = #self.targets, self.every
  local start, tick = core.now(), every / math.min(TICKS, count)
  local round, i = 0, 1
  while round < rounds do
    local due = start + (round + (i - 1) / count) * every
    local now = core.now()
    if due > now then
      local ok, err, code = core.sleep(math.max(due - now, tick))
      if not ok then return nil, err, code end
    else
      begin(self, i, due)
      i = i + 1
      if i > count then round, i = round + 1, 1 end
    end
  end
  return true
end

local function finish(self)
  self.over = true
  for _, worker in ipairs(self.idle) do worker.queue:wake() end
end

local function summary(self)
  local totals = self.totals
  totals.p50, totals.p99, totals.worst = self.latency:quantile(0.5), self.latency:quantile(0.99), self.latency:worst()
  totals.workers = self.workers
  return totals
end

--- Calls `ask(target, i)` for each target every `every` seconds, in a task, at a time of the interval that is the target's own. It may
--- wait, and should have a time-out; nil, message, code is a failed poll, anything else an answer. A target whose last poll has not ended
--- when it is due is left out, and counted. Waits until the rounds are done, or until it is cancelled; an error of a function comes out.
---@param targets any[]
---@param ask fun(target: any, i: integer): any, string?, string?
---@param opts? { every: number?, rounds: integer?, late: number?, workers: integer?, on_answer: function?, on_failure: function? }
--- every: seconds (1); rounds: how often each is asked (for ever); late: seconds (0.1) from when a poll was due until its answer, above
--- which it counts as late; workers: polls at a time, at most (1,000); on_answer(target, value, seconds) and on_failure(target, message,
--- code, times) are called with each answer, and must not wait; times: failures of it in a row
---@return { polls: integer, failed: integer, late: integer, skipped: integer, workers: integer, p50: number, p99: number,
--- worst: number }|nil totals p50, p99, worst: seconds from when polls were due to their answers, to 5 %
---@return string? message
---@return string? code ECANCELED, ETIMEDOUT (a time limit around it)
function M.poll(targets, ask, opts)
  if type(targets) ~= "table" then error("poll: a list of targets expected, got " .. type(targets), 2) end
  if type(ask) ~= "function" then error("poll: a function expected, got " .. type(ask), 2) end
  opts = options.check(opts, known, "fleet.poll")
  local self = {
    targets = targets, ask = ask, every = opts.every or EVERY, late = opts.late or LATE, most = opts.workers or WORKERS,
    on_answer = opts.on_answer, on_failure = opts.on_failure, latency = latency.new(), busy = {}, failures = {}, idle = {}, workers = 0,
    waiting = {}, first = 1, last = 0, totals = { polls = 0, failed = 0, late = 0, skipped = 0 },
  }
  if #targets == 0 then return summary(self) end
  local ok, err, code
  task.scope(function(scope)
    self.scope = scope
    ok, err, code = dispatch(self, opts.rounds or math.huge)
    finish(self)
    if not ok then scope:cancel() end
  end)
  if not ok then return nil, err, code end
  return summary(self)
end

return M
