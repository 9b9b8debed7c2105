--- A command in the machine, as an object (docs/wire/cc-ipc.md#command-0x04xx). Its state is kept here: the helper would
--- wait for ever for a command that was never started, and reports 0 for a running one. Each method
--- waits, takes a time-out in seconds as its last argument, and fails as client:call does. While a call waits for the
--- command's end, no other request can be sent on the connection, not even `kill`.
local options = require "vmctl.base.options"
local request = require "vmctl.cc.request"
local wire = require "vmctl.cc.wire"

local M = {}

---@class vmctl.CcCommand
local methods = {}
local mt = { __name = "vmctl.CcCommand", __index = methods }

local define, done, field = request.define, request.done, request.field

local calls = {
  free = define("CMD_FREE", "cmd:handle"), set_dir = define("CMD_SET_DIR", "cmd:handle dir:word"),
  set_env = define("CMD_SET_ENV", "cmd:handle name:word value:word"), get_env = define("CMD_GET_ENV", "cmd:handle name:word"),
  environ = define("CMD_ENVIRON", "cmd:handle"), start = define("CMD_START", "cmd:handle"),
  wait = define("CMD_WAIT", "cmd:handle"), run = define("CMD_RUN", "cmd:handle"), output = define("CMD_OUTPUT", "cmd:handle"),
  combined_output = define("CMD_COMBINED_OUTPUT", "cmd:handle"), exit_code = define("CMD_EXIT_CODE", "cmd:handle"),
  kill = define("CMD_KILL", "cmd:handle"),
}

local known = { "string", dir = "string", env = "table" }

-- Calls a request, unless the command was freed.
local function ask(self, name, timeout, ...)
  if not self._handle then return nil, ("cc command %s: freed"):format(self.name), "ECLOSED" end
  return calls[name](self.client, timeout, self._handle, ...)
end

local function set_up(self, opts, timeout)
  local ok, err, code, more = true, nil, nil, nil
  if opts.dir then ok, err, code, more = self:set_dir(opts.dir, timeout) end
  for name, value in pairs(opts.env or {}) do
    if not ok then break end
    ok, err, code, more = self:set_env(name, value, timeout)
  end
  if ok then return self end
  self:free(timeout)
  return nil, err, code, more
end

local function new(client, kind, words, opts, timeout)
  local ok, err, code = request.check_words(words, "cc command", 3)
  if not ok then return nil, err, code end
  local name = kind == wire.types.CMD_NEW and table.remove(words, 1) or nil
  local handle, why, how, more = field("uint64", client:call(kind, function(e)
    if name then e:string(name) end
    e:string_slice(words)
  end, timeout))
  if not handle then return nil, why, how, more end
  return set_up(setmetatable({ client = client, name = name or "the entrypoint", _handle = handle, _state = "new" }, mt), opts,
    timeout)
end

--- A command, which is not started yet.
---@param client vmctl.CcClient
---@param argv table the program and its arguments, and by name `dir` and `env` (added to its environment)
---@return vmctl.CcCommand|nil, string?, string?, table?
function M.new(client, argv, timeout)
  options.check(argv, known, "cc command")
  if #argv == 0 then error("cc command: the program's name expected", 2) end
  return new(client, wire.types.CMD_NEW, { table.unpack(argv) }, argv, timeout)
end

--- The image's entrypoint as a command.
---@param argv? table arguments in place of the image's, and `dir` and `env`
---@return vmctl.CcCommand|nil, string?, string?, table?
function M.entrypoint(client, argv, timeout)
  argv = options.check(argv or {}, known, "cc entrypoint")
  return new(client, wire.types.CMD_ENTRYPOINT, { table.unpack(argv) }, argv, timeout)
end

-- Before the start

--- Sets its working directory. Waits.
---@return true|nil, string?, string?, table?
function methods:set_dir(dir, timeout)
  return done(ask(self, "set_dir", timeout, dir))
end

--- Sets a variable of its environment.
---@return true|nil, string?, string?, table?
function methods:set_env(name, value, timeout)
  return done(ask(self, "set_env", timeout, name, value))
end

--- A variable of its environment; "" when it is not set.
---@return string|nil, string?, string?, table?
function methods:get_env(name, timeout)
  return field("string", ask(self, "get_env", timeout, name))
end

--- Its environment.
---@return table<string, string>|nil, string?, string?, table?
function methods:environ(timeout)
  local list, err, code, more = field("string_slice", ask(self, "environ", timeout))
  if not list then return nil, err, code, more end
  local variables = {}
  for _, entry in ipairs(list) do
    local name, value = entry:match "^([^=]+)=(.*)$"
    if name then variables[name] = value end
  end
  return variables
end

-- The run

-- A command runs once: a second start may be answered with the exit code of the first.
local function begin(self)
  if self._state == "new" then return true end
  return nil, ("cc command %s: already started"):format(self.name), "EBUSY"
end

--- Starts it. Does not wait for its end.
---@return true|nil, string?, string?, table? EBUSY: it has been started already
function methods:start(timeout)
  local ok, err, code, more = begin(self)
  if ok then ok, err, code, more = done(ask(self, "start", timeout)) end
  if not ok then return nil, err, code, more end
  self._state = "started"
  return true
end

local function ended(self, exit_code)
  self._state, self._exit_code = "ended", exit_code
  return exit_code
end

--- Waits for the end of a command that was started.
---@param timeout? number seconds, an hour by default; then the connection is closed
---@return integer|nil exit_code below 0: it could not be started (minus an errno)
---@return string? message
---@return string? code EINVAL: it was not started; and as client:call
---@return table? error
function methods:wait(timeout)
  if self._state == "ended" then return self._exit_code end
  if self._state == "new" then return nil, ("cc command %s: not started, so it has no end"):format(self.name), "EINVAL" end
  local exit_code, err, code, more = field("int32", ask(self, "wait", timeout))
  if not exit_code then return nil, err, code, more end
  return ended(self, exit_code)
end

--- Starts it and waits for its end.
---@param timeout? number seconds, an hour by default
---@return integer|nil exit_code, string?, string?, table? as `wait`
function methods:run(timeout)
  local ok, err, code = begin(self)
  if not ok then return nil, err, code end
  local exit_code, why, how, more = field("int32", ask(self, "run", timeout))
  if not exit_code then return nil, why, how, more end
  return ended(self, exit_code)
end

local function run_for_output(self, name, timeout)
  local ok, err, code = begin(self)
  if not ok then return nil, err, code end
  local d, why, how, more = ask(self, name, timeout)
  local output
  output, why, how, more = field("string", d, why, how, more)
  if not output then return nil, why, how, more end
  local exit_code
  exit_code, why, how = field("int32", d)
  if not exit_code then return nil, why, how end
  return output, ended(self, exit_code)
end

--- Runs it to its end; its standard error is dropped. (The reference's helper drops the output as well if the exit code is
--- not 0.)
---@return string|nil stdout
---@return integer|string|nil exit_code or the message
---@return string? code
---@return table? error
function methods:output(timeout)
  return run_for_output(self, "output", timeout)
end

--- As `output`, with its standard error in between.
---@return string|nil, string?, string?, table? as `output`
function methods:combined_output(timeout)
  return run_for_output(self, "combined_output", timeout)
end

--- The exit code as far as it is known.
---@return integer|nil exit_code
---@return boolean|string|nil is_final false: it may still run, which is reported as 0 too; or the message
---@return string? code EINVAL: it was not started
---@return table? error
function methods:exit_code(timeout)
  if self._state == "ended" then return self._exit_code, true end
  if self._state == "new" then return nil, ("cc command %s: not started"):format(self.name), "EINVAL" end
  local exit_code, err, code, more = field("int32", ask(self, "exit_code", timeout))
  if not exit_code then return nil, err, code, more end
  return exit_code, exit_code ~= 0
end

-- The end

local function forget(self, name, timeout)
  local handle = self._handle
  if not handle then return true end
  self._handle = nil
  return done(calls[name](self.client, timeout, handle))
end

--- Ends it, and frees it. (The reference's helper only frees it.)
---@return true|nil, string?, string?, table?
function methods:kill(timeout)
  return forget(self, "kill", timeout)
end

--- Frees it. A running command goes on, and its end is not reported. Idempotent.
---@return true|nil, string?, string?, table?
function methods:free(timeout)
  return forget(self, "free", timeout)
end

mt.__close = function(self) self:free() end

function mt:__tostring()
  return ("vmctl.CcCommand(%s, %s)"):format(self.name, self._handle and self._state or "freed")
end

return M
