--- Handles the signals that end the command line. A command is a task: INT, TERM or HUP cancels it, so that its resources are
--- closed, and the exit status is 128 + n. A second signal ends the program at once. A command that handles these signals itself
--- (passes them on, powers its guest off) calls `handle`.
local channel = require "vmctl.base.channel"
local signals = require "vmctl.signals"
local task = require "vmctl.base.task"

local M = {}

local OF_SIGNAL = 128

local handler

local restore = { __close = function(self) handler = self.before end }

--- Calls `fn(name)` for each such signal, in a task of its own, until the returned guard is closed.
---@param fn fun(name: string)
---@return table guard to be closed
function M.handle(fn)
  local guard = setmetatable({ before = handler }, restore)
  handler = fn
  return guard
end

--- Waits for the first such signal, which then counts as the regular end of the command.
---@param came? vmctl.Channel what is sent there ends the wait, too; it must hold one value
function M.wait(came)
  came = came or channel.channel(1)
  local guard <close> = M.handle(function(name) came:send(name, 0) end) -- luacheck: ignore
  return came:recv(math.huge)
end

-- Cancels `work` at the first signal without a handler, and ends the program at the next one. PIPE is watched, so that a write to a
-- closed pipe fails with an error instead of ending the program.
local function attend(watch, scope, work)
  local stopped
  while true do
    local name = watch:next()
    if not name then return end
    if name ~= "PIPE" then
      if stopped then os.exit(OF_SIGNAL + signals.number(name), false) end
      if handler then
        task.spawn_in(scope, handler, name)
      else
        stopped = name
        work.signal = name
        work.task:cancel()
      end
    end
  end
end

--- Runs `fn()` under these rules. Waits.
---@param fn fun(): ...
---@return any ... what fn returned; { signal_status = } when a signal has ended it
function M.guard(fn)
  local watch <close> = assert(signals.watch { "INT", "TERM", "HUP", "PIPE" }) -- luacheck: ignore
  return task.run(function()
    return task.scope(function(scope)
      local work = {}
      work.task = task.spawn_in(scope, fn)
      task.spawn_in(scope, attend, watch, scope, work)
      local results = table.pack(pcall(work.task.join, work.task, math.huge))
      scope:cancel()
      if work.signal then return { signal_status = OF_SIGNAL + signals.number(work.signal) } end
      if not results[1] then error(results[2], 0) end
      return table.unpack(results, 2, results.n)
    end)
  end)
end

return M
