--- One test from its beginning to its end: its name, its files, its networks, and how it went. All that belongs to the running
--- test is in this object. The scenario, its machines, the test's body and busted's hooks ask it and tell it.
local artefacts = require "vmctl.scenario.artefacts"
local core = require "vmctl.core"
local failure = require "vmctl.scenario.failure"
local network = require "vmctl.scenario.network"

local M = {}

local TIMEOUT, LIMIT = 60, 600 -- seconds: for each verb that is given none, for a test

---@class vmctl.TestRun
---@field name? string of the test that runs
---@field timeout number seconds for a verb that is given none
---@field limit number seconds for a test
---@field networks table<string, integer> the number of each network
---@field configures boolean whether cards get addresses
local methods = {}
local mt = { __name = "vmctl.TestRun", __index = methods }

--- Makes a run in which no test has begun yet. It is used for one test after the other.
---@param opts vmctl.ScenarioOptions
---@param networks table<string, integer> the number of each network
---@param end_machines fun() is called when a test ends, before its networks and files go
---@return vmctl.TestRun
function M.new(opts, networks, end_machines)
  return setmetatable({
    timeout = opts.timeout or TIMEOUT, limit = opts.limit or LIMIT, networks = networks, configures = opts.configure ~= false,
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
  folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-scenario")
  if not folder then return nil, err, code end
  self.name, self._artefacts, self._folder, self._networks = name, files, folder, {}
  self._outcome, self._raised, self._is_verbs = nil, nil, false
  return true
end

--- Whether a test has begun and has not ended.
---@return boolean
function methods:is_on() return self._artefacts ~= nil end

--- Gives the test that has begun its name, once it is known.
---@param name string
function methods:rename(name)
  self.name = name
  self._artefacts:rename(name)
end

--- The folder of what the test leaves: logs, captures, screenshots. Nil when none runs.
---@return string|nil path
function methods:path()
  return self._artefacts and self._artefacts.path
end

--- A path for a file among the artefacts.
---@param name string
---@param ending? string ".png"
---@return string
function methods:file(name, ending)
  return self._artefacts:file(name, ending)
end

--- Writes a file of the artefacts.
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

--- Adds what a command wrote to the test's commands.log, if one runs.
---@param record { stdout: string?, stderr: string? }
function methods:note_output(record)
  if self._artefacts then self._artefacts:note_output(record) end
end

--- The networks, made at the first call of a test.
---@return table<string, vmctl.ScenarioNetwork>|nil, string?, string?
function methods:open_networks()
  if not self:is_on() then return nil, "no test is running", "ECLOSED" end
  for name, number in pairs(self.networks) do
    if not self._networks[name] then
      local made, err, code = network.open(name, number, {
        folder = self._folder, capture = self:file(name, ".pcapng"), seed = self._opts.seed,
      })
      if not made then return nil, err, code end
      self._networks[name] = made
    end
  end
  return self._networks
end

--- Raises a verb's failure, at the user's line; it says where the artefacts are.
---@param text string
function methods:raise(text)
  local path = self:path()
  text = failure.location() .. text .. (path and "\n  artefacts: " .. path or "")
  self._raised = text
  self:note("FAILED %s", text:match "[^\n]*")
  error(text, 0)
end

--- The body came to its end.
function methods:pass()
  self._outcome = "passed"
end

--- The body ended with an error.
---@param err any
---@return string|nil text of the verb that raised it: other parts of vmctl may have put words behind it. Nil: no verb did
function methods:fail(err)
  self._outcome = "failed"
  local raised = type(err) == "string" and self._raised
  local from, to = (raised and err or ""):find(raised or "\0", 1, true)
  self._is_verbs = from ~= nil
  if not self._raised then self:note("FAILED %s", tostring(err):match "[^\n]*") end
  return from and err:sub(1, to) or nil
end

--- Whether the body ended with what a verb raised.
---@return boolean
function methods:failed_in_verb() return self._is_verbs end

--- Ends the test: machines, networks, files. Idempotent; does not wait.
---@param failed? boolean whether it did; default: its body did, or a verb raised and the body never came to its end
---@return string|nil path of the artefacts, if they stay
function methods:finish(failed)
  if not self:is_on() then return nil end
  if failed == nil then failed = self._outcome == "failed" or self._raised ~= nil and self._outcome ~= "passed" end
  self._end_machines()
  for _, each in pairs(self._networks) do each:close() end
  local path = self:path()
  local stays = self._artefacts:close(failed)
  artefacts.remove(self._folder)
  self._artefacts, self._folder, self._networks = nil, nil, nil
  return stays and path or nil
end

return M
