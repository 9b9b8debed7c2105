--- Connects scenarios to busted: a test begins with its first hook and ends with its last one, whatever happens in between.
local failure = require "vmctl.scenario.failure"
local groups = require "vmctl.scenario.group"
local guard = require "vmctl.scenario.test_body"

local M = {}

local INTERRUPTED = 130 -- exit status

--- busted's functions, nil when it does not run.
---@return table|nil
function M.busted()
  local busted = package.loaded.busted
  local found, api = pcall(function() return busted.describe and busted.subscribe and busted end)
  return found and api or nil
end

-- "a describe and what it does", without the file.
local function full_name(busted, element)
  local names = {}
  while element do
    if element.name and element.descriptor ~= "file" then table.insert(names, 1, tostring(element.name)) end
    element = busted.parent(element)
  end
  return table.concat(names, " ")
end

-- The body is wrapped when its test starts, because by then every hook has run. An error that a verb raised is reported to busted
-- as a failure; busted takes other errors for mistakes in the test.
local function wrap(busted, group, element)
  local body = element.run
  element.run = function(...)
    element.run = body -- the same element may run again
    local ok, err = pcall(guard.call, group, body, ...)
    if not ok and groups.run_of(group):failed_in_verb() then busted.fail(err, 0) end
    if not ok then error(err, 0) end
  end
end

-- Ctrl-C ends the program, and not only the running test: busted shows its report, and every scenario is closed.
local function leave(busted, element, close_all)
  close_all()
  local suite = element
  while busted.parent(suite) do suite = busted.parent(suite) end
  suite.duration = suite.starttick and busted.monotime() - suite.starttick or 0
  pcall(busted.publish, { "suite", "end" }, suite, 1, 1)
  io.stderr:write "interrupted\n"
  os.exit(INTERRUPTED, true)
end

local watched = setmetatable({}, { __mode = "k" })

--- Makes an interrupt end busted. Does its work once for each busted.
---@param busted table
---@param close_all fun() ends all scenarios
function M.end_at_interrupt(busted, close_all)
  if watched[busted] then return end
  watched[busted] = true
  busted.subscribe({ "error" }, function(element, _, message)
    if failure.is_interrupt(message) then leave(busted, element, close_all) end
    return nil, true
  end)
end

--- Registers hooks with busted that begin and end a scenario in the current describe.
---@param busted table
---@param group vmctl.Scenario
---@param is_shared boolean machines live as long as the describe
function M.attach(busted, group, is_shared)
  local run, is_named = groups.run_of(group), false
  local here = failure.location():gsub("^.*/", ""):gsub("%W+$", "")
  local start, stop = "before_each", "after_each"
  if is_shared then start, stop = "lazy_setup", "lazy_teardown" end
  busted[start](function()
    local ok, err = run:begin(here)
    if not ok then error(err, 0) end
    is_named = false
  end)
  busted[stop](function() run:finish() end)
  if not is_shared then busted.lazy_setup(function() end) end -- without it there is no teardown either
  busted.lazy_teardown(function() group:close() end)
  busted.subscribe({ "test", "start" }, function(element, parent)
    if run:is_on() then
      if not is_named then run:rename(full_name(busted, is_shared and parent or element)) end
      is_named = true
      wrap(busted, group, element)
    end
    return nil, true
  end)
end

return M
