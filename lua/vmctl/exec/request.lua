--- Makes the request for an agent's revision from a command as users write it.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local options = require "vmctl.base.options"
local quote = require "vmctl.exec.quote"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local find, math_type, next = string.find, math.type, next

local common = { cwd = "string", env = "table", user = "string", merge_stderr = "boolean", keep = "boolean" }
local alone = { tty = "boolean", rows = "integer", cols = "integer", timeout = "number" }

---@class vmctl.Command a program and its arguments, exactly as given, and options by name
---@field [integer] string
---@field cwd? string
---@field env? table<string, string> added to the environment that commands have there
---@field user? string
---@field merge_stderr? boolean stderr goes where stdout goes
---@field keep? boolean false: the rest of its process group is killed at its end (true)
---@field tty? boolean a terminal of its own
---@field rows? integer of the terminal
---@field cols? integer
---@field timeout? number seconds for all of it; of a command that is started, for each call of the process
---@field stdin? string|function|vmctl.Stream|boolean its input; of `start`: false for none, "whole": see vmctl.ExecClient.start
---@field check? boolean run: an exit code other than 0 is a failure, code "EEXIT"
---@field max_output? integer run: bytes kept of each stream, 64 MiB; the head and the tail of a longer one
---@field on_output? fun(data: string, stream: "stdout"|"stderr") run: is called instead of keeping the output
---@field retry? boolean|integer run: again when the connection was lost, so many times, or until the time is over
---@field on? table pipeline: the target in which this stage runs

-- The options of a command, by the call.
local known = {
  run = options.merge(common, alone, {
    stdin = "string|callable|vmctl.Stream", check = "boolean", max_output = "integer", on_output = "callable", retry = "boolean|integer>=0",
  }),
  start = options.merge(common, alone, { stdin = { false, "whole" } }), -- otherwise it can be written to
  pipeline = common,
}

local function check_argv(argv, where, level)
  local highest = 1
  for i in next, argv do
    if i > highest then highest = i end
  end
  for i = 1, highest do
    local arg = argv[i]
    if type(arg) ~= "string" then error(("%s: argument %d is no string"):format(where, i), level + 1) end
    if find(arg, "\0", 1, true) then error(("%s: argument %d holds a NUL byte"):format(where, i), level + 1) end
  end
end

local function check_env(env, where, level)
  for name, value in pairs(env) do
    local strings = type(name) == "string" and type(value) == "string"
    if not strings or name == "" or name:find "[=%z]" or value:find("\0", 1, true) then
      error(("%s: env holds something other than names and strings"):format(where), level + 1)
    end
  end
end

--- Splits { "cmd", "arg", …, cwd = … } (or a string: a shell command) into argv or command, and options. Raises for
-- anything else.
---@param command table|string
---@param where "run"|"start"|"pipeline" the call, which decides on the options
---@param level? integer whose line to name, as for `error`; 3, the caller of the calling function
---@return { argv: string[]?, command: string?, options: table }
function M.parse(command, where, level)
  level = level or 3
  local argv, opts = {}, {}
  if type(command) == "string" then
    argv[1] = command
  elseif type(command) == "table" then
    for key, value in next, command do
      if math_type(key) == "integer" then argv[key] = value else opts[key] = value end
    end
  else
    error(("%s: a command expected, a list or a string"):format(where), level)
  end
  options.check(opts, known[where], where, level + 1)
  check_argv(argv, where, level)
  if opts.env then check_env(opts.env, where, level) end
  if type(command) == "string" then return { command = command, options = opts } end
  return { argv = argv, options = opts }
end

--- A name for messages.
function M.title(parsed)
  local title = parsed.title or parsed.command or parsed.argv[1]
  return #title > 60 and title:sub(1, 57) .. "..." or title
end

local function base64_all(list)
  local encoded = {}
  for key, value in pairs(list) do encoded[key] = core.base64_encode(value) end
  return encoded
end

--- A command for agents of the reference, which give all of them to a shell.
---@param parsed table
---@param env_bytes table<string, string> variables that JSON cannot carry
---@return string
function M.shell_command(parsed, env_bytes)
  local command = parsed.argv and quote.command(parsed.argv, env_bytes) or quote.script(parsed.command, env_bytes)
  return parsed.options.merge_stderr and "{ " .. command .. "\n} 2>&1" or command
end

-- For our agent: the exact bytes.
local function exact_command(parsed)
  local argv = parsed.argv or { "/bin/sh", "-c", parsed.command }
  if not parsed.options.merge_stderr then return argv end
  return { "/bin/sh", "-c", 'exec "$@" 2>&1', "sh", table.unpack(argv) }
end

--- The command that an agent of the reference runs for a request that was made for one of ours: it knows no argv_b64, and would run
--- an empty command with success.
M.NOT_OURS = "echo 'vmctl: this request was made for another agent' >&2; exit 126"

--- Tells if a result is that of NOT_OURS.
---@param record { exit_code: integer?, stdout: string, stderr: string }
---@return boolean
function M.is_not_ours(record)
  return record.exit_code == 126 and (record.stderr .. record.stdout):find("vmctl: this request was made for another agent", 1, true) ~= nil
end

-- Refuses variables that an agent of the reference uses itself (docs/wire/exec.md#traps), and names that no shell can export.
local function check_reference_env(env_text, env_bytes)
  for name in pairs(env_text) do
    if name:find "^_?_?MATCHLOCK_" then return errors.fail("ENOTSUP", "env: the agent takes '%s' for its own", name) end
  end
  for name in pairs(env_bytes) do
    if not name:find "^[%a_][%w_]*$" then
      return errors.fail("ENOTSUP", "env: bytes that are not UTF-8 need a name that a shell knows, not '%s'", name)
    end
  end
  return true
end

local NONE = {}

--- The request and its mode.
---@param revision "vmctl"|"0.2"|"0.1.9"
---@param type integer the message type it will be sent as
---@return string|nil json, string?, string?
---@param token? string a name for the command, for agents of ours
function M.encode(parsed, revision, type, token)
  local opts = parsed.options
  local env_text, env_bytes = NONE, NONE
  if opts.env or type == T.EXEC_TTY then env_text, env_bytes = quote.split_env(opts.env) end
  if revision ~= "vmctl" then
    local ok, err, code = check_reference_env(env_text, env_bytes)
    if not ok then return nil, err, code end
  end
  local request = { working_dir = opts.cwd, user = opts.user, env = next(env_text) and json.object(env_text) or nil }
  if type == T.EXEC_TTY then
    request.rows, request.cols = opts.rows or 0, opts.cols or 0
    if not env_text.TERM then env_text.TERM = os.getenv "TERM" or "xterm" end
    request.env = json.object(env_text)
  end
  if revision == "vmctl" then
    request.argv_b64 = base64_all(exact_command(parsed))
    request.command = M.NOT_OURS
    request.env_b64 = next(env_bytes) and base64_all(env_bytes) or nil
    request.token = token
    if opts.keep == false then request.keep = false end
  else
    request.command = M.shell_command(parsed, env_bytes)
  end
  return json.encode(json.object(request))
end

return M
