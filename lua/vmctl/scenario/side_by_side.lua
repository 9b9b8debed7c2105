--- The same call for many machines at once.
local task = require "vmctl.base.task"

local M = {}

--- Calls `fn(machine)` for all machines concurrently. The first failure cancels the other calls. Waits.
---@param list vmctl.ScenarioMachine[]
---@param fn fun(machine: vmctl.ScenarioMachine): any, string?, string?
---@return true|nil, string?, string? as the first call that failed
function M.call(list, fn)
  local why, how
  task.scope(function(scope)
    for _, machine in ipairs(list) do
      task.spawn_in(scope, function()
        local ok, err, code = fn(machine)
        if ok or why then return end
        why, how = err, code
        scope:cancel()
      end)
    end
  end)
  if why then return nil, why, how end
  return true
end

return M
