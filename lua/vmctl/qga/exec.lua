--- Commands through a guest agent: starts them, polls them with growing pauses, kills them by a second command
--- (docs/wire/qmp-qga.md#guest-exec). Methods of vmctl.QgaClient.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local texts = require "vmctl.text"

local M = {}

local RUN = 60                                          -- seconds
local PAUSES = { 0.01, 0.02, 0.05, 0.1, 0.25 }          -- between polls; the last one is repeated. Each poll blocks the agent
local SAID = 400                                        -- bytes of a program's output in a message
local KILL = 5                                          -- seconds for ending a command that was given up
-- A given variable replaces the agent's whole environment, so PATH is added.
local PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

local known = { [1] = "string", stdin = "string", env = "table", capture = "boolean", timeout = "number", check = "boolean" }

---@class vmctl.QgaProcess
---@field pid integer  its number in the guest
local process = {}
local process_mt = { __name = "vmctl.QgaProcess", __index = process }

local function environment(env)
  if not env then return nil end
  local list = {}
  for name, value in pairs(env) do list[#list + 1] = name .. "=" .. value end
  if not env.PATH then list[#list + 1] = "PATH=" .. PATH end
  table.sort(list)
  return list
end

local function arguments_of(command)
  local arg = table.move(command, 2, #command, 1, {})
  return {
    path = command[1], arg = #arg > 0 and arg or nil, env = environment(command.env),
    ["input-data"] = command.stdin and core.base64_encode(command.stdin) or nil,
    ["capture-output"] = command.capture ~= false,
  }
end

local function check(command, where)
  if type(command) == "string" then return { "/bin/sh", "-c", command } end
  options.check(command, known, where, 4)
  if type(command[1]) ~= "string" then error(where .. ": a program expected", 3) end
  return command
end

local function start(client, command)
  local answer, err, code, problem = client:_execute("guest-exec", arguments_of(command))
  if not answer then return nil, err, code, problem end
  return setmetatable({ _client = client, _name = command[1], pid = answer.pid }, process_mt)
end

--- Starts a command. Waits until it is started.
---@param command table|string as for `run`, without timeout and check
---@return vmctl.QgaProcess|nil process with pid, wait(timeout), kill(signal), string?, string?, table?
function M.start(client, command)
  return start(client, check(command, "start"))
end

-- The agent reports the result once.
local function result_of(self, status)
  local stdout, stderr = core.base64_decode(status["out-data"] or ""), core.base64_decode(status["err-data"] or "")
  if not stdout or not stderr then
    return errors.fail("EPROTO", "%s on %s: output that is no base64", self._name, self._client)
  end
  return {
    exit_code = status.exitcode, signal = status.signal, stdout = stdout, stderr = stderr,
    stdout_truncated = status["out-truncated"] or false, stderr_truncated = status["err-truncated"] or false,
  }
end

--- Waits for the command's end. The agent tells the result once; this object keeps it.
---@param timeout? number seconds, 60 by default
---@return { exit_code: integer?, signal: integer?, stdout: string, stderr: string, stdout_truncated: boolean,
--- stderr_truncated: boolean }|nil result an agent keeps 16 MiB of each stream
---@return string?, string? code ETIMEDOUT: it goes on; EREMOTE: the agent does not know it (any more)
function process:wait(timeout)
  timeout = timeout or RUN
  local deadline, step = core.now() + timeout, 1
  while not self._result do
    local status, err, code, problem = self._client:_execute("guest-exec-status", { pid = self.pid },
      math.max(deadline - core.now(), self._client._timeout)) -- long enough not to lose a result on its way
    if not status then return nil, err, code, problem end
    if status.exited then
      self._result, err, code = result_of(self, status)
      if not self._result then return nil, err, code end
    else
      local left = deadline - core.now()
      if left <= 0 then
        return errors.fail("ETIMEDOUT", "%s on %s: it did not end within %g s", self._name, self._client, timeout)
      end
      local ok
      ok, err, code = core.sleep(math.min(PAUSES[math.min(step, #PAUSES)], left))
      if not ok then return nil, err, code end
      step = step + 1
    end
  end
  return self._result
end

--- Sends it a signal, by a second command: the agent has no command for that. Waits.
---@param signal? string "TERM" by default
---@return true|nil, string?, string?
function process:kill(signal)
  local helper, err, code, problem = start(self._client, { "kill", "-" .. (signal or "TERM"), tostring(self.pid) })
  if not helper then return nil, err, code, problem end
  local result
  result, err, code, problem = helper:wait(KILL)
  if not result then return nil, err, code, problem end
  if result.exit_code ~= 0 then
    return errors.fail("ESRCH", "kill %d on %s: %s", self.pid, self._client, log.one_line(texts.trim_end(result.stderr), SAID))
  end
  return true
end

--- Runs a command. Waits for its end; one that takes too long is killed. Its output comes after its end.
---@param command table|string { "program", "argument" …, stdin =, env =, capture =, timeout =, check = }; a string is for the
-- guest's shell. stdin: bytes; env: variables that replace the agent's (PATH is kept); capture: false drops output; timeout:
-- seconds, 60; check: an exit code other than 0 is a failure. A working directory or a user cannot be given
---@return table|nil result as of `wait`
---@return string? message
---@return string? code as `execute`; ETIMEDOUT; EEXIT with `check`, the fourth value is the result
function M.run(client, command)
  command = check(command, "run")
  local child, err, code, problem = start(client, command)
  if not child then return nil, err, code, problem end
  local result
  result, err, code, problem = child:wait(command.timeout)
  if not result then
    if code == "ETIMEDOUT" or code == "ECANCELED" then -- in a task of its own: this one may have no time left
      background.spawn("kill", child.kill, child, "KILL"):join(KILL)
    end
    return nil, err, code, problem
  end
  if command.check and result.exit_code ~= 0 then
    local how = result.signal and "signal " .. result.signal or "exit code " .. tostring(result.exit_code)
    return nil, ("%s on %s: %s"):format(command[1], client, how), "EEXIT", result
  end
  return result
end

return M
