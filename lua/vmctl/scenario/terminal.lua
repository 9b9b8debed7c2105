--- Connects a shell in a guest, or its console, to this program's terminal.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local signals = require "vmctl.signals"
local task = require "vmctl.base.task"

local M = {}

local READ = 4096       -- bytes of input at a time
local LONGEST = 86400   -- seconds of an interactive shell
local WRITE = 10        -- seconds for a console to take the input
local LEAVE = "\29"     -- Ctrl-]

local function show(data)
  io.stdout:write(data)
  io.stdout:flush()
  return true
end

local function type_into(process, input)
  while true do
    local data = input:read(READ, math.huge)
    if not data or not process:write(data, math.huge) then return end
  end
end

local function follow_size(process, watch)
  while watch:next(math.huge) do
    local rows, columns = core.terminal_size(0)
    if rows then process:resize(rows, columns) end
  end
end

-- Copies output to the terminal and input to the shell, until the shell has ended.
local function relay(process)
  local input <close>, err, code = core.standard_input()
  if not input then return nil, err, code end
  local watch <close> = assert(signals.watch { "WINCH" })
  local raw <close>, why, how = core.terminal_raw(0)
  if not raw then return nil, why, how end
  return task.scope(function(scope)
    local typing = task.spawn_in(scope, type_into, process, input)
    local sizing = task.spawn_in(scope, follow_size, process, watch)
    local data = process:read(math.huge)
    while data do
      show(data)
      data = process:read(math.huge)
    end
    typing:cancel()
    sizing:cancel()
    return true
  end)
end

--- True if standard input and output are a terminal.
---@return true|nil, string?, string? code ENOTTY: standard input or output is no terminal
function M.has_terminal()
  if core.isatty(0) and core.isatty(1) then return true end
  return errors.fail("ENOTTY", "a terminal is needed: standard input or output is none")
end

local function finish(before, begin, ok, ...)
  core.limit(nil, before + (core.now() - begin))
  if not ok then error(..., 0) end
  return ...
end

--- Calls `fn(…)` without a time limit, and moves the caller's limit by the time that the call took.
---@param fn fun(...): ...
---@return any ... results of fn
function M.at_leisure(fn, ...)
  local begin, before = core.now(), core.limit(math.huge)
  core.limit(nil, math.huge)
  return finish(before, begin, pcall(fn, ...))
end

local function type_keys(vm)
  local input <close>, err, code = core.standard_input()
  if not input then return nil, err, code end
  while true do
    local data = input:read(READ, math.huge)
    local at = data and data:find(LEAVE, 1, true)
    if at then data = data:sub(1, at - 1) end
    if not data or data ~= "" and not vm:console_write(data, WRITE) or at then return true end
  end
end

local function converse(vm)
  local raw <close>, err, code = core.terminal_raw(0)
  if not raw then return nil, err, code end
  return task.race {
    function() return vm:follow_console(show) end,
    function() return type_keys(vm) end,
  }
end

--- Connects a guest's serial console to the terminal, until Ctrl-] is typed or the console ends. Waits.
---@param vm vmctl.Machine
---@return true|nil, string?, string? code ENOTTY: standard input or output is no terminal
function M.console(vm)
  local ok, err, code = M.has_terminal()
  if not ok then return nil, err, code end
  io.stdout:write(("The console of %s; Ctrl-] leaves it.\r\n"):format(vm.name))
  return M.at_leisure(converse, vm)
end

--- Runs a command in a guest on the terminal. Waits until it has ended.
---@param vm vmctl.Machine
---@param command string[]|string
---@return true|nil, string?, string? code ENOTTY: standard input or output is no terminal
function M.interact(vm, command)
  local there, why, how = M.has_terminal()
  if not there then return nil, why, how end
  local argv = type(command) == "string" and { "sh", "-c", command } or table.move(command, 1, #command, 1, {})
  argv.tty, argv.timeout = true, LONGEST
  argv.rows, argv.cols = core.terminal_size(0)
  argv.env = { TERM = os.getenv "TERM" or "linux" }
  local process, err, code = vm:start(argv)
  if not process then return nil, err, code end
  local ok
  ok, err, code = M.at_leisure(relay, process)
  process:close()
  if not ok then return nil, err, code end
  return true
end

return M
