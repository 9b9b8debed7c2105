--- vmctl exec: runs a command in a target.
local errors = require "vmctl.errors"
local guest_command = require "vmctl.cli.guest_command"
local targets = require "vmctl.cli.targets"
local output = require "vmctl.cli.output"
local units = require "vmctl.cli.units"

local M = { words = 1 }

--- Adds the options of a command, which `run` has as well.
function M.command_options(command)
  command:option("-e --env", "Set a variable of the command's environment."):argname("NAME=VALUE"):count "*"
  command:option("-C --cwd", "Its working directory."):argname "DIR"
  command:option("-u --user", "Run it as this user."):argname "USER"
  command:option("--timeout", "Seconds after which it is ended."):argname("SECONDS"):convert(units.seconds "--timeout")
  command:flag("-i --interactive", "Give it what is typed here (what comes from a file or pipe it gets anyway).")
  command:flag("-t --tty", "Give it a terminal, which is this one.")
end

function M.describe(command)
  command:summary "Run a command in a target."
  command:description("Runs a command in a target, with this program's input and output; its exit code is ours.\n" ..
    "  vmctl exec web -- uname -a\n  tar c . | vmctl exec web -C /srv -- tar x")
  command:argument("target", "A guest's name, an address, or host."):argname "TARGET"
  M.command_options(command)
end

local function environment(list)
  local env = {}
  for _, pair in ipairs(list or {}) do
    local name, value = pair:match "^([^=]+)=(.*)$"
    if not name then return nil end
    env[name] = value
  end
  return next(env) and env or nil
end

--- The command with its options, in the form that `start` takes.
---@param opts table of the command line
---@param may_be_own? boolean without words it is the program that the guest's image names
---@return table|nil, string?, string? code EINVAL
function M.command(opts, may_be_own)
  if not may_be_own and (not opts.rest or #opts.rest == 0) then return errors.fail("EINVAL", "a command expected, behind --") end
  local env = environment(opts.env)
  if #(opts.env or {}) > 0 and not env then return errors.fail("EINVAL", "--env: NAME=VALUE expected") end
  local command = { env = env, cwd = opts.cwd, user = opts.user }
  for i, word in ipairs(opts.rest) do command[i] = word end
  return command
end

-- Prints the whole result as JSON at the end.
local function report(target, command, opts)
  command.timeout = opts.timeout
  local result, err, code, partial = target:run(command)
  if not result then return nil, err, code, partial end
  output.result(opts, result)
  return guest_command.status(result)
end

--- Runs the command in a target. Waits.
---@param may_be_own? boolean as for command
---@return integer|nil status, string?, string?
function M.perform(target, opts, may_be_own)
  local command, err, code = M.command(opts, may_be_own)
  if not command then return nil, err, code end
  if opts.json then return report(target, command, opts) end
  local how = opts.tty and guest_command.terminal or guest_command.run
  return how(target, command, opts)
end

function M.run(opts)
  local target, err, code = targets.exec(opts.target)
  if not target then return nil, err, code end
  return M.perform(target, opts)
end

return M
