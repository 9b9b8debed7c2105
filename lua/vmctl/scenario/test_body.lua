--- Runs the body of a test as a task with a time limit, and adds a report to its error when it fails.
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"
local groups = require "vmctl.scenario.group"
local task = require "vmctl.base.task"

local M = {}

local CONSOLE_LINES = 6

-- A test framework's error objects have a class name.
local function kind_of(err)
  local meta = debug.getmetatable(err)
  return type(meta) == "table" and rawget(meta, "__type") or nil
end

-- The report's sections for an error that no verb has raised: verbs add their own.
local function surroundings(group, seconds)
  local parts, limit = {}, groups.run_of(group).limit
  if seconds >= limit then parts[1] = ("  the test ran out of its limit of %g s"):format(limit) end
  for _, machine in ipairs(group:machines()) do
    if machine.vm then parts[#parts + 1] = failure.section("console of " .. machine.name, machine.vm:console(), CONSOLE_LINES) end
  end
  if group:artefacts() then parts[#parts + 1] = "  artefacts: " .. group:artefacts() end
  return #parts > 0 and "\n" .. table.concat(parts, "\n") or ""
end

local function screenshots(group)
  for _, machine in ipairs(group:machines()) do
    if machine.vm and machine:has_screen() then
      machine.vm:screendump(groups.run_of(group):file(machine.name .. "-failed", ".png"))
    end
  end
end

local function interact(group, text)
  if (os.getenv "VMCTL_INTERACT" or "0") == "0" then return end
  for _, machine in ipairs(group:machines()) do
    if machine.vm then
      io.stderr:write(text, ("\n\nThe test has stopped. A shell in %s; its end ends the test.\n"):format(machine.name))
      require "vmctl.scenario.terminal".interact(machine.vm, { "sh", "-i" })
      return
    end
  end
end

-- The error to raise, and its text.
local function explain(group, err, seconds)
  local told = groups.run_of(group):fail(err)
  if type(err) == "table" and type(err.message) == "string" then
    err.message = err.message .. surroundings(group, seconds)
    return err, err.message
  elseif type(err) ~= "string" then
    return err, tostring(err) .. surroundings(group, seconds)
  end
  local text = told or err .. surroundings(group, seconds)
  return text, text
end

local function report(group, err, seconds)
  local text
  local is_interrupt = failure.is_interrupt(err)
  err, text = explain(group, err, seconds)
  if not is_interrupt then screenshots(group) end
  groups.run_of(group):write("report.txt", text)
  if not is_interrupt then interact(group, text) end
  return err
end

-- A test that calls `pending` keeps that result, with its line.
local function note_line(err)
  if kind_of(err) == "pending" then err.message = failure.location() .. tostring(err.message or "") end
  return err
end

-- Runs `fn(…)` under the test's limit, as a task of its own, which a failed condition can cancel. Returns as xpcall does.
local function perform(run, fn, ...)
  local results
  local args = table.pack(...)
  task.scope(function(scope)
    run:set_body(task.spawn_in(scope, function()
      results = table.pack(task.timeout(run.limit, xpcall, fn, note_line, table.unpack(args, 1, args.n)))
    end))
  end)
  return results
end

--- Runs a test's body. Raises the body's error with a report added.
---@param group vmctl.Scenario which has begun
---@param fn function
---@return any ... results of fn
function M.call(group, fn, ...)
  local run, begin, results = groups.run_of(group), core.now(), nil
  local args = table.pack(...)
  local ok, err = pcall(task.run, function()
    run:check() -- a condition of a hook
    results = perform(run, fn, table.unpack(args, 1, args.n))
    run:check()
  end)
  run:set_body(nil)
  if ok and not results then ok, err = false, "the test was cancelled before it began" end
  if ok and not results[1] then ok, err = false, results[2] end
  if not ok and kind_of(err) ~= "pending" then err = report(group, err, core.now() - begin) end
  if not ok then error(err, 0) end
  run:pass(table.unpack(results, 2, results.n))
  return table.unpack(results, 2, results.n)
end

return M
