--- The state of one running test: its name, artefacts, networks, conditions and result. The scenario, its machines, the test's body
--- and busted's hooks share it.
local artefacts = require "vmctl.scenario.artefacts"
local condition = require "vmctl.scenario.condition"
local failure = require "vmctl.scenario.failure"
local network = require "vmctl.scenario.network"
local private_folder = require "vmctl.scenario.private_folder"

local M = {}

local TIMEOUT, LIMIT = 60, 600 -- seconds: for each verb that is given none, for a test

---@class vmctl.TestRun
---@field name? string of the test that runs
---@field timeout number seconds for a verb that is given none
---@field limit number seconds for a test
---@field plan vmctl.ScenarioPlan of its networks
---@field configures boolean true if cards get addresses
local methods = {}
local mt = { __name = "vmctl.TestRun", __index = methods }

--- Makes a run, in which no test has begun. It serves one test after the other.
---@param opts vmctl.ScenarioOptions
---@param plan vmctl.ScenarioPlan of its networks
---@param end_machines fun() called at the end of a test, before its networks and artefacts are closed
---@return vmctl.TestRun
function M.new(opts, plan, end_machines)
  return setmetatable({
    timeout = opts.timeout or TIMEOUT, limit = opts.limit or LIMIT, plan = plan, configures = opts.configure ~= false,
    _opts = opts, _end_machines = end_machines,
  }, mt)
end

--- Begins a test. Does not wait.
---@param name string
---@return true|nil, string?, string?
function methods:begin(name)
  local files, folder, err, code
  files, err, code = artefacts.open(name, self._opts)
  if not files then return nil, err, code end
  folder, err, code = private_folder.open "vmctl-scenario"
  if not folder then return nil, err, code end
  self.name, self._artefacts, self._folder, self._networks = name, files, folder, {}
  self._outcome, self._raised, self._is_verbs, self._broken, self._conditions = nil, nil, false, nil, {}
  return true
end

--- True while a test is running.
---@return boolean
function methods:is_on() return self._artefacts ~= nil end

--- Sets the name of the running test, when busted knows it.
---@param name string
function methods:rename(name)
  self.name = name
  self._artefacts:rename(name)
end

--- The artefacts folder of the test: logs, captures, screenshots. Nil when no test runs.
---@return string|nil path
function methods:path()
  return self._artefacts and self._artefacts.path
end

--- Gives the path for a new file among the artefacts.
---@param name string
---@param ending? string ".png"
---@return string
function methods:file(name, ending)
  return self._artefacts:file(name, ending)
end

--- Marks a file or folder among the artefacts to be kept, whether the test fails or not. Ignores other paths.
---@param path string
function methods:keep(path)
  self._artefacts:keep(path)
end

--- Writes a file among the artefacts.
---@param name string
---@param text string
function methods:write(name, text)
  self._artefacts:write(name, text)
end

--- Adds a line to the test's commands.log, if one runs.
---@param text string as for string.format
function methods:note(text, ...)
  if self._artefacts then self._artefacts:note(text, ...) end
end

--- Adds a command's output to the test's commands.log, if a test runs.
---@param record { stdout: string?, stderr: string? }
function methods:note_output(record)
  if self._artefacts then self._artefacts:note_output(record) end
end

--- The networks by name. A test's first call makes them.
---@return table<string, vmctl.ScenarioNetwork>|nil, string?, string?
function methods:open_networks()
  if not self:is_on() then return nil, "no test is running", "ECLOSED" end
  for name, number in pairs(self.plan.numbers) do
    if not self._networks[name] then
      local made, err, code = network.open(name, number, {
        folder = self._folder.path, capture = self:file(name, ".pcapng"), seed = self._opts.seed,
      })
      if not made then return nil, err, code end
      self._networks[name] = made
    end
  end
  return self._networks
end

-- A failure's text, with the artefacts' path added.
local function told(self, text)
  local path = self:path()
  text = text .. (path and "\n  artefacts: " .. path or "")
  self:note("FAILED %s", text:match "[^\n]*")
  return text
end

--- Raises a verb's failure at the user's line, with the artefacts' path. After a failed condition, raises the condition's failure.
---@param text string
function methods:raise(text)
  self:check()
  self._raised = told(self, failure.location() .. text)
  error(self._raised, 0)
end

--- Checks a condition until the test ends. Waits for the first check.
---@param what string
---@param fn fun(): boolean?
---@param interval? number seconds
---@return vmctl.ScenarioCondition
function methods:watch(what, fn, interval)
  local watched = condition.watch(self, what, fn, interval)
  table.insert(self._conditions, watched)
  return watched
end

--- Records that a condition no longer holds. Cancels the body; each verb raises from now on.
---@param text string
function methods:break_off(text)
  if self._broken or not self:is_on() then return end
  self._broken = told(self, text)
  if self._body then self._body:cancel() end
end

--- True if a condition no longer holds.
---@return boolean
function methods:is_broken() return self._broken ~= nil end

--- Raises when a condition no longer holds.
function methods:check()
  if not self._broken or not self:is_on() then return end
  self._raised = self._broken
  error(self._broken, 0)
end

--- Sets the task that runs the test's body.
---@param body? vmctl.Task nil: it has ended
function methods:set_body(body)
  self._body = body
end

--- Records that the body returned. Artefacts whose paths it returned are kept.
---@param ... any results of the body
function methods:pass(...)
  self._outcome = "passed"
  for i = 1, select("#", ...) do
    local value = select(i, ...)
    if type(value) == "string" and self:is_on() then self:keep(value) end
  end
end

--- Records that the body ended with an error.
---@param err any
---@return string|nil text of the verb that raised it, without what other modules have appended. Nil: no verb raised it
function methods:fail(err)
  self._outcome = "failed"
  if self._broken then
    self._is_verbs = true
    return self._broken
  end
  local raised = type(err) == "string" and self._raised
  local from, to = (raised and err or ""):find(raised or "\0", 1, true)
  self._is_verbs = from ~= nil
  if not self._raised then self:note("FAILED %s", tostring(err):match "[^\n]*") end
  return from and err:sub(1, to) or nil
end

--- True if the body ended with an error of a verb.
---@return boolean
function methods:failed_in_verb() return self._is_verbs end

--- Ends the test: closes its machines, networks and artefacts. Idempotent, does not wait.
---@param failed? boolean the test's result; by default true when its body failed, or when a verb raised and the body never returned
---@return string|nil path of the artefacts, if they are kept
function methods:finish(failed)
  if not self:is_on() then return nil end
  if failed == nil then failed = self._outcome == "failed" or self._raised ~= nil and self._outcome ~= "passed" end
  for _, each in ipairs(self._conditions) do each:close() end
  self._end_machines()
  for _, each in pairs(self._networks) do each:close() end
  local path = self:path()
  local stays = self._artefacts:close(failed)
  self._folder:close()
  self._artefacts, self._folder, self._networks = nil, nil, nil
  return stays and path or nil
end

return M
