--- Child processes for the specs.
local assert = require "luassert"
local process = require "vmctl.process"

local M = {}

--- Starts a process; fails when that fails.
function M.spawn(command)
  return assert(process.spawn(command))
end

--- The standard output of a command, to its end.
function M.output_of(command)
  command.stdout = command.stdout or "pipe"
  local child <close> = M.spawn(command)
  local text = ""
  for chunk in function() return (child.stdout:read()) end do text = text .. chunk end
  assert(child:wait())
  return text
end

--- The command that runs a shell script.
function M.shell(script, options)
  local command = options or {}
  command[1], command[2], command[3] = "sh", "-c", script
  return command
end

--- Tells if the process has ended. A zombie counts as gone: its new parent may reap it late.
function M.gone(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  if not file then return true end
  local state = (file:read "a" or ""):match "%) (%a)"
  file:close()
  return state == nil or state == "Z"
end

--- A line of this process's /proc/self/status.
function M.status_field(name)
  for line in io.lines "/proc/self/status" do
    local value = line:match("^" .. name .. ":%s*(.*)$")
    if value then return value end
  end
end

return M
