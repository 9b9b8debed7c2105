--- Runs a command in a target with the standard input, output and error of this program, and with its terminal if it has one.
local core = require "vmctl.core"
local interrupt = require "vmctl.cli.interrupt"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local signals = require "vmctl.signals"
local task = require "vmctl.base.task"

local M = {}

local PIECE = 64 << 10
local CAME_OF_SIGNAL = 128

-- The standard input for a command. A terminal is read only with --interactive.
local function input(wanted)
  local there = core.fs.stat "/proc/self/fd/0"
  if not there or core.isatty(0) and not wanted then return nil end
  if there.type == "file" or there.type == "block" then
    return function() return io.stdin:read(PIECE) end
  end
  return core.standard_input()
end

--- The exit status of this program for a command's record.
---@return integer
function M.status(record)
  if record.signal then
    local known, number = pcall(signals.number, record.signal)
    return CAME_OF_SIGNAL + (known and number or 0)
  end
  return record.exit_code & 255
end

local function show(data, stream)
  if stream == "stderr" then
    io.stderr:write(data)
  else
    output.write(data)
  end
end

-- Passes signals that would end this program to the command; this program ends when the command has.
local function pass_on(process)
  return interrupt.handle(function(name)
    if not process:kill(name, 5) then process:close() end
  end)
end

local function follow_size(process, watch)
  while watch:next() do
    local rows, cols = core.terminal_size(0)
    if rows then process:resize(rows, cols, 5) end
  end
end

local function feed(process, source)
  local give = type(source) == "function" and source or function() return (source:read(PIECE, math.huge)) end
  for data in give do
    if not process:write(data, math.huge) then return end
  end
  process:close_stdin(math.huge)
end

local function follow(process, deadline)
  while true do
    local data, stream, code = process:read(deadline - core.now())
    if data then
      show(data, stream)
      if core.now() >= deadline then return nil, "it still runs", "ETIMEDOUT" end
    elseif code == "EOF" then
      return process:wait(deadline - core.now())
    else
      return nil, stream, code
    end
  end
end

local function attend(process, source, sizes, deadline)
  local passing <close> = pass_on(process) -- luacheck: ignore
  return task.scope(function(scope)
    if source then task.spawn_in(scope, feed, process, source) end
    if sizes then task.spawn_in(scope, follow_size, process, sizes) end
    local record, err, code = follow(process, deadline)
    scope:cancel()
    if not record then return nil, err, code end
    -- The terminal may be raw.
    if record.error then io.stderr:write("vmctl: ", log.one_line(record.error), core.isatty(2) and "\r\n" or "\n") end
    return M.status(record)
  end)
end

local function conclude(status, err, code)
  if status ~= nil or code ~= "ETIMEDOUT" then return status, err, code end
  return nil, "the command did not end in time", "ETIMEDOUT"
end

--- Runs a command and copies its output as it arrives. Waits.
---@param target vmctl.ExecClient|vmctl.Machine
---@param command table for `start`
---@param opts { interactive: boolean?, timeout: number? } interactive: standard input is read also when it is a terminal
---@return integer|nil status, string?, string?
function M.run(target, command, opts)
  local source = input(opts.interactive)
  command.stdin = source and "whole" or false
  local process <close>, err, code = target:start(command) -- luacheck: ignore
  if not process then return nil, err, code end
  if source == nil then process:close_stdin() end
  return conclude(attend(process, source, nil, core.now() + (opts.timeout or math.huge)))
end

--- Runs a command in a terminal of the target, connected to this program's terminal: keys and changes of size are passed on. Waits.
---@return integer|nil status, string?, string? code ENOTTY: standard input is no terminal
function M.terminal(target, command, opts)
  local rows, cols, code = core.terminal_size(0)
  if not rows then return nil, "standard input is no terminal: " .. cols, code end
  command.tty, command.rows, command.cols = true, rows, cols
  local source <close> = assert(core.standard_input()) -- luacheck: ignore
  local process <close>, err, why = target:start(command) -- luacheck: ignore
  if not process then return nil, err, why end
  local sizes <close> = assert(signals.watch { "WINCH" }) -- luacheck: ignore
  local raw <close> = assert(core.terminal_raw(0)) -- luacheck: ignore
  return conclude(attend(process, source, sizes, core.now() + (opts.timeout or math.huge)))
end

return M
