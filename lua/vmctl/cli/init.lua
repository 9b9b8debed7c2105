--- The vmctl command: what each subcommand is called, how it ends, and what a person or a program sees of that.
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local task = require "vmctl.base.task"

require "vmctl" -- reads VMCTL_LOG and VMCTL_TRACE

local M = {}

M.VERSION = "0.1.0"

--- Exit codes of the command line itself; `run`, `exec` and `shell` give the command's own, and 128 + n for signal n.
M.OK, M.NO, M.TIMED_OUT, M.FAILED = 0, 1, 124, 125

--- The subcommands, in the order of the help.
M.COMMANDS = {
  "run", "list", "exec", "shell", "cp", "ready", "health", "push", "forward", "switch", "console", "screenshot", "qmp", "test",
  "trace", "doctor", "completion",
}

local EXIT_CODES = [[
Exit codes:
   0     done
   1     it is not so: not healthy, a test failed, something is missing
   124   not in time
   125   vmctl failed: wrong usage, a target that is not to be reached
   126   the guest could not start the command (127: has no such command)
   128+n the command was ended by signal n
   other the command's own (run, exec, shell)

A TARGET is the name of a guest that `vmctl run` has started, an agent's address (unix:PATH, vsock:CID[:PORT], hybrid:PATH[:PORT],
tcp:HOST:PORT), or "host", this machine.

VMCTL_LOG=error|info|debug shows on standard error what goes on.]]

local function description_of(name)
  return require("vmctl.cli.commands." .. name)
end

--- The parser of the whole command line.
---@return table parser, table<string, table> commands by name: { parser =, module = }
function M.parser()
  local ok, argparse = pcall(require, "argparse")
  if not ok then return nil, "the command line needs argparse (Debian: lua-argparse; luarocks install argparse)" end
  local parser = argparse("vmctl", "Runs virtual machines, and commands, files and sockets in them."):epilog(EXIT_CODES)
  parser:flag("--version", "Print the version.")
  parser:command_target "command"
  parser:require_command(false)
  local commands = {}
  for _, name in ipairs(M.COMMANDS) do
    local module = description_of(name)
    local command = parser:command(name)
    command:flag("--json", "Print the result as one JSON document.")
    module.describe(command)
    commands[name] = { parser = command, module = module }
  end
  return parser, commands
end

local function takes_value(command, word)
  for _, option in ipairs(command._options) do
    for _, alias in ipairs(option._aliases) do
      if alias == word then return option._maxargs > 0 end
    end
  end
  return false
end

-- Where the guest's command begins: behind "--", or behind as many words as come before it that are no options.
local function split(args, command, words)
  local ours, i = { args[1] }, 2
  while args[i] and (words > 0 or args[i]:sub(1, 1) == "-") do
    local word = args[i]
    if word == "--" then
      i = i + 1
      break
    end
    ours[#ours + 1] = word
    if word:sub(1, 1) ~= "-" then
      words = words - 1
    elseif takes_value(command, word) and args[i + 1] then
      i = i + 1
      ours[#ours + 1] = args[i]
    end
    i = i + 1
  end
  if args[i] == "--" then i = i + 1 end
  return ours, { table.unpack(args, i) }
end

local function usage(parser, message)
  io.stderr:write(parser:get_usage(), "\n\nvmctl: ", message, "\n")
  return M.FAILED
end

local function fail(opts, message, code)
  output.failure(opts, message, code)
  return code == "ETIMEDOUT" and M.TIMED_OUT or M.FAILED
end

local function perform(module, opts)
  local status, message, code = task.run(function() return module.run(opts) end)
  if status == nil then return fail(opts, message or "failed", code) end
  return status
end

-- A mistake of ours shows where it was made; a target that misuses an option says only what is wrong.
local function explain(err)
  return log.enabled "debug" and debug.traceback(err, 2) or tostring(err)
end

--- Runs a command line.
---@param args string[]
---@return integer exit status
function M.main(args)
  local parser, commands = M.parser()
  if not parser then
    io.stderr:write("vmctl: ", commands, "\n")
    return M.FAILED
  end
  local rest
  local named = commands[args[1]]
  if named and named.module.words then args, rest = split(args, named.parser, named.module.words) end
  local parsed, opts = parser:pparse(args)
  if not parsed then return usage(named and named.parser or parser, opts) end
  if opts.version then
    print("vmctl " .. M.VERSION)
    return M.OK
  end
  if not opts.command then
    io.stdout:write(parser:get_help(), "\n")
    return M.FAILED
  end
  opts.rest = rest
  local ok, status = xpcall(perform, explain, named.module, opts)
  if not ok then return fail(opts, tostring(status), "EINVAL") end
  return status
end

return M
