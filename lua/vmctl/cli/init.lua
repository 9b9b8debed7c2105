--- The vmctl command: parses the command line, runs the subcommand, and turns its result into output and an exit status.
local core = require "vmctl.core"
local interrupt = require "vmctl.cli.interrupt"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local trace = require "vmctl.trace"
local version = require "vmctl.base.version"

require "vmctl" -- reads VMCTL_LOG and VMCTL_TRACE

local M = {}

--- Exit codes of vmctl itself; `run`, `exec` and `shell` exit with the command's code, or with 128 + n for signal n.
M.OK, M.NO, M.TIMED_OUT, M.FAILED = 0, 1, 124, 125
local READER_LEFT = 141 -- 128 + SIGPIPE

--- The subcommands, in the order of the help.
M.COMMANDS = {
  "run", "create", "start", "stop", "rm", "ps",
  "list", "exec", "shell", "cp", "ready", "health", "push", "forward", "switch", "console", "logs", "screenshot",
  "qmp", "test", "report", "trace", "image", "images", "doctor", "serve", "completion",
}

local EXIT_CODES = [[
Exit codes:
   0     done
   1     it is not so: not healthy, a test failed, something is missing
   124   not in time
   125   vmctl failed: wrong usage, a target that cannot be reached, output that cannot be written
   126   the guest could not start the command (127: has no such command)
   128+n the command was ended by signal n, or vmctl was: 130 Ctrl-C, 143 TERM, 141 the reader of its output has left
   other the command's own (run, exec, shell)

A TARGET is the name of a guest that `vmctl run` or `vmctl start` has started, an agent's address (unix:PATH,
vsock:CID[:PORT], hybrid:PATH[:PORT], tcp:HOST:PORT), or "host", this machine.

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
    if module.json ~= false then command:flag("--json", module.json or "Print the result as one JSON document.") end
    module.describe(command)
    commands[name] = { parser = command, module = module }
  end
  return parser, commands
end

local function find_option(command, word)
  for _, option in ipairs(command._options) do
    for _, alias in ipairs(option._aliases) do
      if alias == word then return option end
    end
  end
end

local function takes_value(command, word)
  local option = find_option(command, word)
  return option ~= nil and option._maxargs > 0
end

-- Picks out the options that the subcommand knows, wherever they stand before "--"; the rest is another program's.
local function pick(args, command)
  local ours, rest, i = { args[1] }, {}, 2
  while args[i] and args[i] ~= "--" do
    local known = find_option(command, args[i]:match "^%-%-[^=]+" or args[i])
    local list = known and ours or rest
    list[#list + 1] = args[i]
    if known and takes_value(command, args[i]) and args[i + 1] then
      i = i + 1
      ours[#ours + 1] = args[i]
    end
    i = i + 1
  end
  return ours, table.move(args, i + 1, #args, #rest + 1, rest)
end

-- The index at which the guest's command begins: after "--", or after the subcommand's own positional arguments.
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

-- "--arg -drive": the value of an option may begin with "-". argparse accepts such a value only after "=".
local function join_values(args, command)
  local joined, i = {}, 1
  while args[i] do
    local word, following = args[i], args[i + 1]
    if word:find "^%-%-." and following and following:find "^%-." and following ~= "--" and takes_value(command, word) then
      word = word .. "=" .. following
      i = i + 1
    end
    joined[#joined + 1] = word
    i = i + 1
  end
  return joined
end

local function wants_json(args)
  for _, word in ipairs(args) do
    if word == "--" then return false end
    if word == "--json" then return true end
  end
  return false
end

local function usage(args, parser, message)
  if wants_json(args) then
    output.failure({ json = true }, message, "EINVAL")
  else
    io.stderr:write(parser:get_usage(), "\n\nvmctl: ", message, "\n")
  end
  return M.FAILED
end

local function fail(opts, message, code, partial)
  output.failure(opts, message, code, partial)
  return code == "ETIMEDOUT" and M.TIMED_OUT or M.FAILED
end

-- The text of an error: with its traceback when VMCTL_LOG is debug.
local function explain(err)
  local text = tostring(err)
  if log.enabled "debug" then return text end
  local at = text:find("\nstack traceback:", 1, true)
  return at and text:sub(1, at - 1) or text
end

local function perform(module, opts)
  local status, message, code, partial = interrupt.guard(function() return module.run(opts) end)
  if type(status) == "table" then return status.signal_status end
  if status == nil then return fail(opts, message or "failed", code, partial) end
  local traced = trace.status()
  if status == M.OK and traced and traced.dropped > 0 then -- VMCTL_TRACE asked for all of it
    output.failure(opts, ("trace to %s: %d records are missing"):format(trace.path(), traced.dropped), traced.code)
    return output.INCOMPLETE
  end
  return status
end

local function main(args)
  local parser, commands = M.parser()
  if not parser then
    io.stderr:write("vmctl: ", commands, "\n")
    return M.FAILED
  end
  local rest
  local named, is_bare = commands[args[1]], args[#args] == "--"
  if named and named.module.words == "any" then
    args, rest = pick(args, named.parser)
  elseif named and named.module.words then
    args, rest = split(args, named.parser, named.module.words)
  end
  if named then args = join_values(args, named.parser) end
  local parsed, opts = parser:pparse(args)
  if not parsed then return usage(args, named and named.parser or parser, opts) end
  if opts.version then
    output.write("vmctl " .. version .. "\n")
    return M.OK
  end
  if not opts.command then
    output.write(parser:get_help(), "\n")
    return M.FAILED
  end
  opts.rest, opts.is_bare = rest, is_bare
  local ok, status = xpcall(perform, function(err) return output.lost(err) or explain(err) end, named.module, opts)
  if ok then return status end
  if output.lost(status) then error(status, 0) end
  return fail(opts, status, "EINVAL")
end

--- Runs a command line.
---@param args string[]
---@return integer exit status
function M.main(args)
  assert(core.open_standard_fds())
  local ok, status = xpcall(main, function(err) return output.lost(err) or debug.traceback(err, 2) end, args)
  if ok then return status end
  local lost = output.lost(status)
  if not lost then error(status, 0) end
  if lost.reader_left then return READER_LEFT end
  io.stderr:write("vmctl: ", lost.message, "\n")
  return M.FAILED
end

return M
