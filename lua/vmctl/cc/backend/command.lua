--- A command of an instance: set up, started once, waited for, killed.
local blocker = require "vmctl.cc.backend.blocker"
local core = require "vmctl.core"
local failure = require "vmctl.cc.backend.failure"
local job = require "vmctl.process.job"
local pieces = require "vmctl.base.pieces"
local signals = require "vmctl.signals"
local task = require "vmctl.base.task"
local users = require "vmctl.process.users"
local wire = require "vmctl.cc.wire"

local M = {}

local MOST_OUTPUT = wire.MAX - 16 -- bytes that an answer can carry
local ENDED = { EOF = true, ECLOSED = true, ECANCELED = true } -- of a read from a command: nothing is lost
local SIGNALLED = 128  -- + the signal's number: the exit code of a command that a signal has ended
-- A failed start has minus one of these as its exit code.
local NUMBERS = { EPERM = 1, ENOENT = 2, E2BIG = 7, ENOEXEC = 8, ENOMEM = 12, EACCES = 13, ENOTDIR = 20, EISDIR = 21,
  ETXTBSY = 26, ENAMETOOLONG = 36, ELOOP = 40 }
local EIO = 5

---@class vmctl.CcBackendCommand
local methods = {}
local mt = { __name = "vmctl.CcBackendCommand", __index = methods }

--- A command that has not been started.
---@param workspace vmctl.CcWorkspace where it runs: environment (a list of NAME=VALUE), user, folder(path)
---@param name string
---@param args string[] without the name
---@return vmctl.CcBackendCommand
function M.new(workspace, name, args)
  local self = setmetatable({ name = name, args = args, exit_code = 0, _workspace = workspace, _env = {}, _order = {} }, mt)
  for _, entry in ipairs(workspace.environment) do
    local key, value = entry:match "^([^=]+)=(.*)$"
    if key then self:set_env(key, value) end
  end
  self.dir = workspace.work_dir
  return self
end

function methods:set_env(key, value)
  if self._env[key] == nil then table.insert(self._order, key) end
  self._env[key] = value
end

function methods:get_env(key)
  return self._env[key] or ""
end

--- NAME=VALUE, in the order in which they were first set.
---@return string[]
function methods:environ()
  local list = {}
  for i, key in ipairs(self._order) do list[i] = key .. "=" .. self._env[key] end
  return list
end

-- The argument of process.spawn.
local function describe(self, stdout, stderr)
  local spec = table.move(self.args, 1, #self.args, 2, { self.name })
  spec.env, spec.clear_env, spec.user = {}, true, self._workspace.user
  for name, value in pairs(self._env) do spec.env[name] = value end
  users.complete(spec.env, self._workspace.user)
  spec.stdin, spec.stdout, spec.stderr = "null", stdout, stderr
  return spec
end

-- A failed start also sets the exit code, except when PATH has no such program.
local function fail_start(self, path, message, code)
  local looked_up = not self.name:find("/", 1, true) and code == "ENOENT"
  if not looked_up then self.exit_code = -(NUMBERS[code] or EIO) end
  if looked_up then message = "executable file not found in $PATH" end
  return failure.of("exec", path, message, code)
end

--- Starts it. Does not wait.
---@param stdout? "pipe"|"null"
---@param stderr? "stdout"|"null"
---@return true|nil, string?, integer?, table?
function methods:start(stdout, stderr)
  if self._started then return failure.say("exec", self.name, "already started") end
  self._started = true
  local spec = describe(self, stdout or "null", stderr or "null")
  local dir, err, code, where = self._workspace:folder(self.dir)
  if not dir then
    self.exit_code = -(NUMBERS[code] or EIO)
    return failure.of("chdir", where or self.dir, err, code)
  end
  spec.cwd = dir
  self._child, err, code = job.start(spec)
  if not self._child then return fail_start(self, self.name, err, code) end
  return true
end

-- Notes how it ended.
local function settle(self, record)
  self.exit_code = record.exit_code or SIGNALLED + signals.number(record.signal)
  self._ended = true
  self._child:close()
  return self.exit_code
end

--- Waits for its end.
---@return integer|nil exit_code, string?, integer?, table?
function methods:wait()
  if self._ended then return self.exit_code end
  if not self._started then return failure.say("wait", self.name, "not started") end
  if not self._child then
    if self.exit_code ~= 0 then return self.exit_code end
    return failure.say("exec", self.name, "it could not be started")
  end
  local record, err, code = self._child:wait(math.huge)
  if self._ended then return self.exit_code end -- another task has waited as well, or it was killed
  if not record then return failure.of("wait", self.name, err, code) end
  return settle(self, record)
end

--- The exit code; 0 while it runs.
function methods:known_exit_code()
  local record = self._child and not self._ended and self._child:wait(0)
  if record then settle(self, record) end
  return self.exit_code
end

-- Reads all output; output beyond the limit is dropped and reported. What ended the reading comes last.
local function collect(stream)
  local kept, size = pieces.new(), 0
  local data, err, code = stream:read(math.maxinteger, math.huge)
  while data do
    size = size + #data
    if size <= MOST_OUTPUT then kept:add(data) end
    data, err, code = stream:read(math.maxinteger, math.huge)
  end
  return kept, size, err, code
end

--- Runs it and gives its output, however it ends. Waits.
---@param stderr "null"|"stdout" drop its standard error, or mix it into the output
---@return string|nil output, integer|string exit_code, integer?, table?
function methods:output(stderr)
  local ok, err, code, where = self:start("pipe", stderr)
  if not ok then
    if self.exit_code ~= 0 then return "", self.exit_code end
    return nil, err, code, where
  end
  return task.scope(function(scope)
    local kept, size, ended, how = pieces.new(), 0, nil, "EOF"
    local reader = task.spawn_in(scope, function() kept, size, ended, how = collect(self._child.stdout) end)
    local child <close> = self._child
    local exit_code
    exit_code, err, code, where = self:_await_output(child, reader)
    scope:cancel()
    if not exit_code then return nil, err, code, where end
    if not ENDED[how] then return failure.of("output", self.name, ended, how) end
    if size > MOST_OUTPUT then return failure.say("output", self.name, ("%d bytes are too many for one answer"):format(size)) end
    return kept:text(), exit_code
  end)
end

-- Waits for the end of the command and of its own output.
function methods:_await_output(child, reader)
  local record, err, code = child:wait(math.huge)
  if not record then
    if not self._ended then return failure.of("wait", self.name, err, code) end
    return self.exit_code
  end
  if not reader:join(job.LINGER) then
    reader:cancel()
    reader:join(job.LINGER)
    job.leave_output(child)
  end
  return settle(self, record)
end

--- Passes the output of a command that was started with a pipe on, as it comes, until the command and its output have ended. A pipe that
--- other processes still hold open then is closed when it has been silent for a moment. Waits.
---@param write fun(bytes: string): any a false value ends it: nobody wants more
---@return integer|nil exit_code, string?, integer?, table?
function methods:pass_output(write)
  local child <close> = self._child
  return task.scope(function(scope)
    local passed = 0
    local reader = task.spawn_in(scope, function()
      for data in function() return child.stdout:read(wire.PIECE, math.huge) end do
        if not write(data) then return child.stdout:close() end -- else the command would wait for a reader, and we for it
        passed = passed + #data
      end
    end)
    local record, err, code = child:wait(math.huge)
    if not record and not self._ended then return failure.of("wait", self.name, err, code) end
    repeat
      local before = passed
      local is_over = reader:join(job.LINGER) or passed == before
    until is_over
    scope:cancel()
    job.leave_output(child)
    return record and settle(self, record) or self.exit_code
  end)
end

--- Ends it if it runs. Does not wait: tasks that wait for it are woken by its end.
function methods:kill()
  if self._child and not self._ended then self._child:kill "KILL" end
end

--- Tells if it runs.
function methods:is_running()
  return self._child ~= nil and self:known_exit_code() == 0 and not self._ended
end

--- Kills it and closes its handles.
function methods:close()
  self:kill()
  if self._child then self._child:close() end
end

--- A workspace where commands run on this machine.
---@class vmctl.CcWorkspace
---@field environment string[]
---@field user? string
---@field work_dir string
local workspace = {}
local workspace_mt = { __name = "vmctl.CcWorkspace", __index = workspace }

--- Makes a workspace.
---@param root vmctl.Root
---@param options { environment: string[], user: string?, work_dir: string? }
---@return vmctl.CcWorkspace
function M.workspace(root, options)
  return setmetatable({
    environment = options.environment, user = options.user, work_dir = options.work_dir or "/",
    _root = root,
  }, workspace_mt)
end

--- The path on this machine of a folder of the instance.
---@return string|nil, string?, string?
---@return string? where the part of the path that is no folder
function workspace:folder(path)
  if path == "" then path = "/" end
  local where, code, err = blocker.find(self._root, path)
  if where then return nil, err, code, where end
  return self._root:real(path)
end

--- The environment of this process, as a list.
function M.environment()
  return core.environ()
end

return M
