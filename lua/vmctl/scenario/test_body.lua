--- The body of a test: run as a task with a limit, and, when it fails, with all that is known added to what it says.
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"
local task = require "vmctl.base.task"

local M = {}

local LIMIT = 600 -- seconds for a test
local CONSOLE_LINES = 6

-- A test framework's objects name their kind.
local function kind_of(err)
  local meta = debug.getmetatable(err)
  return type(meta) == "table" and rawget(meta, "__type") or nil
end

-- What only a failure outside the verbs needs: they have told this already.
local function surroundings(group)
  local parts, limit = {}, group._options.limit or LIMIT
  if core.now() - group._begun >= limit then parts[1] = ("  the test ran out of its limit of %g s"):format(limit) end
  for _, machine in ipairs(group:machines()) do
    if machine.vm then parts[#parts + 1] = failure.section("console of " .. machine.name, machine.vm:console(), CONSOLE_LINES) end
  end
  if group:artefacts() then parts[#parts + 1] = "  artefacts: " .. group:artefacts() end
  return #parts > 0 and "\n" .. table.concat(parts, "\n") or ""
end

-- A verb's failure went through tasks and subtests: what they put behind it is about vmctl, not about the test.
local function trim(text, raised)
  local from, to = text:find(raised, 1, true)
  return from and text:sub(1, to) or nil
end

local function screenshots(group)
  for _, machine in ipairs(group:machines()) do
    if machine.vm and machine._spec.display then
      machine.vm:screendump(group._artefacts:file(machine.name .. "-failed", ".png"))
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

-- The error as it is to go on, and its text.
local function explain(group, err)
  if type(err) == "table" and type(err.message) == "string" then
    err.message = err.message .. surroundings(group)
    return err, err.message
  elseif type(err) ~= "string" then
    return err, tostring(err) .. surroundings(group)
  end
  local told = group._raised and trim(err, group._raised)
  group._failed_in_verb = told ~= nil
  local text = told or err .. surroundings(group)
  return text, text
end

local function report(group, err)
  group._failed = true
  local text
  err, text = explain(group, err)
  screenshots(group)
  if not group._raised then group:note("FAILED %s", text:match "[^\n]*") end
  group._artefacts:write("report.txt", text)
  interact(group, text)
  return err
end

-- A test that says that it is pending is believed, and its line kept.
local function note_line(err)
  if kind_of(err) == "pending" then err.message = failure.location() .. tostring(err.message or "") end
  return err
end

--- Runs a test's body. Raises what it raises, with more in it.
---@param group vmctl.Scenario which has begun
---@param fn function
---@return any ... what fn returned
function M.call(group, fn, ...)
  local args, results = table.pack(...), nil
  group._begun = core.now()
  local ok, err = pcall(task.run, function()
    results = table.pack(task.timeout(group._options.limit or LIMIT, xpcall, fn, note_line, table.unpack(args, 1, args.n)))
  end)
  if ok and not results[1] then ok, err = false, results[2] end
  if not ok and kind_of(err) ~= "pending" then err = report(group, err) end
  if not ok then error(err, 0) end
  group._passed = true
  return table.unpack(results, 2, results.n)
end

return M
