--- A shell in a guest on this program's own terminal.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local signals = require "vmctl.signals"
local task = require "vmctl.base.task"

local M = {}

local READ = 4096       -- bytes of typing at a time
local LONGEST = 86400   -- seconds that a person may look around

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

-- Until the shell has ended: what it writes goes to the terminal, and what is typed to it.
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
      io.stdout:write(data)
      io.stdout:flush()
      data = process:read(math.huge)
    end
    typing:cancel()
    sizing:cancel()
    return true
  end)
end

--- Runs a command in a guest on the terminal. Waits until it has ended.
---@param vm vmctl.Machine
---@param command string[]|string
---@return true|nil, string?, string? ENOTTY: standard input or output is no terminal
function M.interact(vm, command)
  if not (core.isatty(0) and core.isatty(1)) then
    return errors.fail("ENOTTY", "a terminal is needed: standard input or output is none")
  end
  local argv = type(command) == "string" and { "sh", "-c", command } or table.move(command, 1, #command, 1, {})
  argv.tty, argv.timeout = true, LONGEST
  argv.rows, argv.cols = core.terminal_size(0)
  argv.env = { TERM = os.getenv "TERM" or "linux" }
  local process, err, code = vm:start(argv)
  if not process then return nil, err, code end
  local ok
  ok, err, code = relay(process)
  process:close()
  if not ok then return nil, err, code end
  return true
end

return M
