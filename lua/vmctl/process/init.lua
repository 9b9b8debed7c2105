--- Child processes of this machine.
local core = require "vmctl.core"
local interpreter = require "vmctl.process.interpreter"
local options = require "vmctl.base.options"
local signals = require "vmctl.signals"
local users = require "vmctl.process.users"

local M = {}

local WAIT_TIMEOUT = 600 -- seconds

---@class vmctl.Child
local methods = {}
local mt = { __name = "vmctl.Child", __index = methods }

local known = {
  cwd = "string", env = "table", clear_env = "boolean", stdin = "string|integer", stdout = "string|integer",
  stderr = "string|integer", tty = "boolean", rows = "integer", cols = "integer", group = "boolean", session = "boolean",
  death_signal = "string|integer", user = "string", sweep = "boolean",
  contain = "boolean", confine = "boolean", file = "string", fds = "table",
  landlock = "integer", open_files = "integer>0", groups = "table",
}

local STREAMS = { "stdin", "stdout", "stderr" }
local STDIO = { pipe = true, null = true, inherit = true }

local function check_stdio(opts)
  for i = 1, #STREAMS do
    local name = STREAMS[i]
    local how = opts[name]
    local fd = math.type(how) == "integer" and how >= 0
    if how ~= nil and not STDIO[how] and not fd and not (how == "stdout" and name == "stderr") then
      error(("spawn: option '%s': an fd or one of pipe, null, inherit expected, got %s"):format(name, how), 3)
    end
  end
end

local MORE_FDS = 29

local function check_fds(fds)
  for i, fd in ipairs(fds or {}) do
    if math.type(fd) ~= "integer" or fd < 0 or i > MORE_FDS then
      error(("spawn: option 'fds': at most %d descriptors expected"):format(MORE_FDS), 3)
    end
  end
end

--- The environment of this process.
---@return table<string, string>
function M.environment()
  return core.environ(true)
end

local function split(command)
  local argv, opts = {}, {}
  for key, value in pairs(command) do
    if math.type(key) == "integer" then argv[key] = value else opts[key] = value end
  end
  return argv, opts
end

-- The kernel says "no such file" about an existing program if its interpreter is missing.
local function failure(spec, err, code, step)
  if step ~= "exec" or code ~= "ENOENT" then return nil, err, code, step end
  local path = spec.env and spec.env.PATH
  if path == nil and not spec.clear_env then path = M.environment().PATH end
  local missing = interpreter.missing(spec.file or spec.argv[1], path)
  if missing then err = ("start %s: its interpreter %s: No such file or directory"):format(spec.argv[1], missing) end
  return nil, err, code, step
end

--- Starts a process. Does not wait.
---@param command table the program and its arguments, and options by name: cwd, env (added to ours, false
-- for one of ours that it shall not have; alone with clear_env),
-- stdin, stdout, stderr ("pipe", "null", "inherit", "stdout" for stderr, or an fd), tty with rows and cols, user ("name",
-- "uid", "uid:gid"), group (default true), session, death_signal, sweep (kill the rest of its group at its end),
-- contain (in a cgroup of its own, where that is possible: all processes in it are killed with its group), confine (without
-- capabilities, also as root, without a way to get more, and without core dumps), landlock (with confine: the descriptor of rules
-- that it takes on), open_files (at most), groups (with user: the numbers of its supplementary groups, instead of those it has), fds
-- (an array of at most 29 more descriptors: its 3, 4, …). Raises for a NUL byte in an argument, a variable, cwd or file
---@return vmctl.Child|nil child with stdin, stdout, stderr (streams), pid, wait, kill, sweep, close
---@return string? message, string? code
---@return string? step that failed: exec, chdir, user, pipe, fork, setuid …
function M.spawn(command)
  local argv, opts = split(command)
  options.check(opts, known, "spawn")
  check_stdio(opts)
  check_fds(opts.fds)
  if type(argv[1]) ~= "string" then error("spawn: the program's name expected", 2) end
  opts.argv, opts.group = argv, opts.group ~= false
  opts.death_signal = opts.death_signal and signals.number(opts.death_signal)
  if opts.user then
    local who, err, code = users.resolve(opts.user)
    if not who then return nil, ("start %s: %s"):format(argv[1], err), code, "user" end
    opts.uid, opts.gid, opts.groups = who.uid, who.gid, opts.groups or who.groups
  end
  local process, stdin, stdout, stderr = core.process(opts)
  if not process then return failure(opts, stdin, stdout, stderr) end
  if opts.tty then stdout = stdin end
  return setmetatable({
    _process = process, name = argv[1], pid = process:pid(), stdin = stdin, stdout = stdout, stderr = stderr,
  }, mt)
end

--- Waits for the end of the process.
---@param timeout? number seconds, 600 by default
---@return { exit_code: integer?, signal: string? }|nil record, string?, string? code ETIMEDOUT, ECANCELED, ECHILD
function methods:wait(timeout)
  local code, signal, name = self._process:wait(timeout or WAIT_TIMEOUT)
  if not code then return nil, ("%s: %s"):format(self.name, signal), name end
  if signal then return { signal = signals.name(signal) } end
  return { exit_code = code }
end

--- Sends a signal to the process and its group. Does not wait.
---@param signal? string|integer "TERM" by default
---@param alone? boolean to the process only, and not to the rest of its group
---@return true|nil, string?, string? code ESRCH once it has ended
function methods:kill(signal, alone)
  return self._process:kill(signals.number(signal or "TERM"), alone)
end

--- From now on the rest of its group is killed at its end, as with the option `sweep`. Does not wait.
function methods:sweep()
  self._process:sweep()
end

--- Kills it if it still runs, and closes its streams. Idempotent, never waits.
function methods:close()
  self._process:close()
  for i = 1, #STREAMS do
    local stream = self[STREAMS[i]]
    if stream then stream:close() end
  end
  return true
end

mt.__close = methods.close

function mt:__tostring()
  return ("vmctl.Child(%s, %d)"):format(self.name, self.pid)
end

--- A command whose stdin and stdout are one stream: the address `exec:`. Its end is the end of the stream; closing the
-- stream closes its stdin, and the process is ended with it.
---@return vmctl.Stream|nil, string?, string?
function M.stream(argv, label)
  return core.process_stream({ argv = argv, group = true, sweep = true }, label)
end

return M
