--- Runs one spec file in a busted of its own, and collects its results.
local artefacts = require "vmctl.scenario.artefacts"
local busted_command = require "vmctl.suite.busted_command"
local children = require "vmctl.suite.child"
local events = require "vmctl.suite.events"

local M = {}

---@class vmctl.SuiteTest one test of a file
---@field name string its full name
---@field line? integer
---@field status "passed"|"failed"|"skipped"|"flaky"
---@field seconds number
---@field message? string why it failed or was skipped
---@field trace? string
---@field attempts integer how often it ran
---@field artefacts string the folder that a scenario keeps its files in, if any

---@class vmctl.SuiteFile one spec file that has run
---@field path string
---@field tests vmctl.SuiteTest[] by the order of their ends
---@field mistakes { name: string, message: string }[] errors outside of tests
---@field output string the last MiB of its tests' output
---@field seconds number
---@field ended? string how it ended, where it did not get to its end
---@field exit_code? integer of its busted, where that is not 0

local STATUS = { success = "passed", pending = "skipped", failure = "failed", error = "failed" }

-- Puts the names of tests into busted's filters, which are Lua patterns.
local function add_only(command, names)
  for _, name in ipairs(names or {}) do
    command[#command + 1] = "--filter=^" .. name:gsub("%p", "%%%0") .. "$"
  end
end

local function command_for(path, opts)
  local command, err, code = busted_command.words()
  if not command then return nil, err, code end
  command[#command + 1] = "--output=vmctl.suite.handler"
  for _, word in ipairs(opts.words or {}) do command[#command + 1] = word end
  add_only(command, opts.only)
  command[#command + 1] = path
  command.env = busted_command.environment()
  command.stderr = opts.pass_stderr and "inherit" or nil
  command.env.VMCTL_ARTEFACTS = M.artefacts_of(opts.artefacts, path)
  return command
end

--- The folder of a spec file's artefacts: files that run side by side may have tests of one name.
---@param root string
---@param path string the spec file
---@return string
function M.artefacts_of(root, path)
  return root .. "/" .. artefacts.file_name(path)
end

local function how_it_ended(record)
  if record.late then return "not finished in time" end
  if record.signal then return "ended by signal " .. record.signal end
  return "ended early, with exit code " .. record.exit_code
end

-- The failure of a file whose tests have all ended, or nil: a signal, or an exit code that differs from the tests' results.
local function bad_end(result, record)
  if record.signal then return "ended by signal " .. record.signal .. " after its last test" end
  local failed = #result.mistakes > 0
  for _, test in ipairs(result.tests) do failed = failed or test.status == "failed" end
  if not failed and record.exit_code ~= 0 then return ("ended with exit code %d, though no test failed"):format(record.exit_code) end
end

-- Changes of the result by each event.
local function take(result, event, folder)
  local name = tostring(event.name)
  if event.event == "begin" then
    result.current, result.line = name, math.tointeger(tonumber(event.line))
  elseif event.event == "end" then
    result.current = nil
    table.insert(result.tests, {
      name = name, line = result.line, status = STATUS[event.status] or "failed", seconds = tonumber(event.seconds) or 0,
      message = event.message and tostring(event.message), trace = event.trace and tostring(event.trace), attempts = 1,
      artefacts = folder .. "/" .. artefacts.file_name(name),
    })
  elseif event.event == "mistake" then
    table.insert(result.mistakes, { name = name, message = tostring(event.message) })
  elseif event.event == "finish" then
    result.finished = true
  end
end

--- Runs a file. Waits for its end.
---@param path string
---@param opts { artefacts: string, limit: number, words: string[]?, only: string[]?, pass_stderr: boolean?,
-- started: fun(child)?, on_event: fun(event)? } only: the names of the tests to run, by default all; limit: seconds; pass_stderr: its
-- standard error is ours
---@return vmctl.SuiteFile|nil, string?, string?
function M.run(path, opts)
  local command, err, code = command_for(path, opts)
  if not command then return nil, err, code end
  local result = { path = path, tests = {}, mistakes = {} }
  local folder = command.env.VMCTL_ARTEFACTS
  local reader = events.reader(function(event)
    take(result, event, folder)
    if opts.on_event then opts.on_event(event) end
  end)
  local record
  record, err, code = children.run(command, { limit = opts.limit, started = opts.started, take = function(bytes) reader:feed(bytes) end })
  if not record then return nil, err, code end
  result.output, result.seconds = reader:output(), record.seconds
  local unfinished = not result.finished or record.late
  result.ended = unfinished and how_it_ended(record) or bad_end(result, record)
  result.exit_code = record.exit_code ~= 0 and record.exit_code or nil
  if result.ended and result.current then
    table.insert(result.tests, { name = result.current, line = result.line, status = "failed", seconds = 0, attempts = 1,
      message = result.ended, artefacts = folder .. "/" .. artefacts.file_name(result.current) })
  end
  result.current, result.line, result.finished = nil, nil, nil
  return result
end

return M
