--- Shows the progress of a suite: a line for each file that ended, the details of failures, and the sum. On a terminal, a line below for
--- each file that runs.
local core = require "vmctl.core"
local log = require "vmctl.log"
local results = require "vmctl.suite.results"

local M = {}

local SLOWEST = 10
local SHOWN = 20000         -- bytes of a failed file's output
local WIDTH = 78

---@class vmctl.SuiteProgress
local methods = {}
local mt = { __name = "vmctl.SuiteProgress", __index = methods }

--- Shows nothing yet.
---@param write fun(text: string)
---@param total integer files
---@param is_terminal boolean
---@param only_some? boolean a filter lets only some tests run: a file without any is not told
---@return vmctl.SuiteProgress
function M.new(write, total, is_terminal, only_some)
  return setmetatable({
    _write = write, _total = total, _ended = 0, _live = is_terminal, _only_some = only_some, _running = {}, _lines = 0,
  }, mt)
end

local function clear(self)
  if self._lines > 0 then self._write(("\27[%dA\27[J"):format(self._lines)) end
  self._lines = 0
end

local function draw(self)
  if not self._live then return end
  local lines = {}
  for _, one in ipairs(self._running) do
    local text = ("  %4.0f s  %s  %s"):format(core.now() - one.began, one.job.path, one.test or "")
    lines[#lines + 1] = log.one_line(text, WIDTH) .. "\n"
  end
  self._lines = #lines
  self._write(table.concat(lines))
end

local function find(self, job)
  for i, one in ipairs(self._running) do
    if one.job == job then return i, one end
  end
end

local function plural(counts)
  local parts = { ("%d passed, %d failed"):format(counts.passed, counts.failed) }
  if counts.skipped > 0 then parts[#parts + 1] = ("%d skipped"):format(counts.skipped) end
  if counts.flaky > 0 then parts[#parts + 1] = ("%d flaky"):format(counts.flaky) end
  return table.concat(parts, ", ")
end

local function failure_text(file)
  local parts = {}
  for _, test in ipairs(file.tests) do
    if test.status == "failed" then
      parts[#parts + 1] = ("  failed: %s (line %d)\n%s\n"):format(test.name, test.line or 0, test.message or "")
    elseif test.status == "flaky" then
      parts[#parts + 1] = ("  flaky: %s: passed when it ran for the %d. time; before:\n%s\n"):format(test.name, test.attempts,
        test.message or "")
    end
  end
  for _, other in ipairs(results.others(file)) do parts[#parts + 1] = ("  failed: %s\n%s\n"):format(other.name, other.message) end
  if #parts > 0 and file.output ~= "" then parts[#parts + 1] = "  its output:\n" .. file.output:sub(-SHOWN) .. "\n" end
  return table.concat(parts)
end

local function show_end(self, job, file)
  self._ended = self._ended + 1
  local i = find(self, job)
  if i then table.remove(self._running, i) end
  if self._only_some and #file.tests == 0 and #results.others(file) == 0 then return end
  self._write(("[%d/%d] %s: %s (%.1f s)\n"):format(self._ended, self._total, file.path, plural(results.count(file)), file.seconds))
  for _, test in ipairs(file.tests) do
    if test.status == "skipped" then self._write(("  skipped: %s: %s\n"):format(test.name, log.one_line(test.message or "", 200))) end
  end
  self._write(log.sanitize(failure_text(file)))
end

--- Takes an event of the run.
---@param what string
---@param job vmctl.SuiteJob
---@param about? table
function methods:on(what, job, about)
  if what == "event" and not self._live then return end
  clear(self)
  if what == "begin" or what == "again" then
    if what == "again" then self._write(("once more, alone: %s\n"):format(job.path)) end
    if not find(self, job) then table.insert(self._running, { job = job, began = core.now() }) end
  elseif what == "event" then
    local _, one = find(self, job)
    if one and about.event == "begin" then one.test = about.name end
  elseif what == "end" then
    show_end(self, job, about)
  end
  draw(self)
end

--- Shows the sum: the slowest files, those that failed, and the counts as the last line.
---@param files vmctl.SuiteFile[]
function methods:finish(files)
  clear(self)
  local slow = table.move(files, 1, #files, 1, {})
  table.sort(slow, function(a, b) return a.seconds > b.seconds end)
  if #slow > 1 then self._write "the slowest:\n" end
  for i = 1, #slow > 1 and math.min(SLOWEST, #slow) or 0 do self._write(("  %5.1f s  %s\n"):format(slow[i].seconds, slow[i].path)) end
  for _, file in ipairs(files) do
    if results.count(file).failed > 0 then self._write(("failed: %s\n"):format(file.path)) end
  end
  local sum = results.sum(files)
  if sum.flaky > 0 then self._write(("flaky: %d tests passed only when they ran again\n"):format(sum.flaky)) end
  self._write(("%d passed, %d failed, %d skipped\n"):format(sum.passed, sum.failed, sum.skipped))
end

return M
