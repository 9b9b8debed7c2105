--- A busted on one spec file, in a process group of its own: its output is read to its end, and it is ended in steps.
local core = require "vmctl.core"
local process = require "vmctl.process"
local task = require "vmctl.base.task"

local M = {}

local READ = 64 * 1024
local LINGER = 2            -- seconds for which a process that it left behind may hold its output
local REPORT, LAST = 20, 5  -- seconds from a signal to SIGTERM: for busted's report and its guests; from there to SIGKILL

local function read_all(stream, take)
  while true do
    local bytes = stream:read(READ, math.huge)
    if not bytes or bytes == "" then return end
    take(bytes)
  end
end

--- Ends a child: by the signal, then by SIGTERM, then by SIGKILL. Waits at most 25 seconds.
---@param child vmctl.Child
---@param name string signal
function M.stop(child, name)
  child:kill(name, true)
  if child:wait(REPORT) then return end
  child:kill "TERM"
  if not child:wait(LAST) then child:kill "KILL" end
end

--- Runs a command to its end. Waits.
---@param command table as for vmctl.process.spawn; its output is taken
---@param opts { limit: number, take: fun(bytes: string), started: fun(child: vmctl.Child)? } limit: seconds
---@return { exit_code: integer?, signal: string?, late: boolean?, seconds: number }|nil record, string?, string?
function M.run(command, opts)
  command.stdin, command.stdout, command.stderr = "null", "pipe", command.stderr or "stdout"
  command.death_signal, command.session, command.sweep = "TERM", true, true
  local began = core.now()
  local child <close>, err, code = process.spawn(command) -- luacheck: ignore
  if not child then return nil, err, code end
  if opts.started then opts.started(child) end
  return task.scope(function()
    local reader = task.spawn(read_all, child.stdout, opts.take)
    local record, late = child:wait(opts.limit), nil
    if not record then
      late = true
      M.stop(child, "TERM")
      record = child:wait(LAST) or { signal = "KILL" }
    end
    reader:join(LINGER)
    reader:cancel()
    return { exit_code = record.exit_code, signal = record.signal, late = late, seconds = core.now() - began }
  end)
end

return M
