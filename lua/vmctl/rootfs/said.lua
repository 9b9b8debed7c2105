--- The standard error of a program. It is read as it comes: a program that writes much would otherwise wait for ever.
local collect = require "vmctl.process.collect"
local log = require "vmctl.log"
local task = require "vmctl.base.task"
local text = require "vmctl.text"

local M = {}

local MOST = 4096      -- bytes that are kept
local SHOWN = 300      -- bytes of them in a message
local LAST = 1         -- seconds: others may still hold the pipe of a program that has ended

--- Calls a function while a child's standard error is read. Waits.
---@param child vmctl.Child with a pipe for its standard error
---@param fn fun(words: fun(): string): any, string?, string? words: the child's output, as one line; it waits a moment
---@return any, string?, string? the results of the function
function M.listen(child, fn)
  return task.scope(function(scope)
    local said = collect.collector(MOST)
    local hearer = task.spawn_in(scope, function()
      for data in function() return child.stderr:read(MOST, math.huge) end do collect.collect(said, data) end
    end)
    local result, err, code = fn(function()
      hearer:join(LAST)
      return log.one_line(text.trim_end(collect.collected(said)):sub(-SHOWN))
    end)
    scope:cancel()
    return result, err, code
  end)
end

return M
