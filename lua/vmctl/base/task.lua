--- Tasks: coroutines that wait, in scopes that end them all. Every call that may wait can be made in a task (it yields)
-- or in a plain script (it drives the loop until it is done).
local core = require "vmctl.core"
require "vmctl.base.same_version"

local M = {}

--- A message handler for xpcall: an error that comes from a task inside keeps its traceback.
function M.traceback(err)
  if type(err) ~= "string" or err:find("\nstack traceback:", 1, true) then return err end
  return debug.traceback(err, 2)
end

-- Checks an argument's type. Raises at the line that called the caller.
local function check(what, value, kind)
  local found = type(value)
  if found == kind or kind == "function" and (getmetatable(value) or {}).__call then return end
  error(("%s: a %s expected, got %s"):format(what, kind, found), 3)
end

local function finish(scope, ok, ...)
  if not ok then scope:cancel() end
  local fine, first = scope:wait()
  if not fine then error(first, 0) end
  if not ok then error((...), 0) end
  return ...
end

--- Runs `fn(scope, …)` here and now; the tasks that it spawns belong to the scope. Waits until all of them have ended. When
-- one of them fails (or fn does), the others are cancelled and the first error comes out, with its traceback. The failure
-- of a cancelled task does not count; only a task that joins it gets it.
---@param fn fun(scope: vmctl.Scope, ...): ...
---@return any ... what fn returned
function M.scope(fn, ...)
  check("scope", fn, "function")
  local scope <close> = core.scope()
  return finish(scope, xpcall(fn, M.traceback, scope, ...))
end

local function call(_, fn, ...)
  return fn(...)
end

local function call_as_task(scope, fn, ...)
  return core.spawn(scope, fn, ...):join()
end

--- Runs `fn(…)` as a task, and the loop until that task and all that it spawned have ended. Inside a task: a scope of its
-- own. May be called anywhere.
---@return any ... what fn returned; raises its error, or the first of its tasks'. nil, message, EDEADLK when all of them
-- wait for each other; they are cancelled then
function M.run(fn, ...)
  check("run", fn, "function")
  return M.scope(core.in_task() and call or call_as_task, fn, ...)
end

--- Starts `fn(…)` as a task of the innermost scope. Does not wait; the task runs when the caller waits next.
---@param fn fun(...): ...
---@param ... any
---@return vmctl.Task task with join(timeout), cancel(), status()
M.spawn = core.spawn_here

--- As `spawn`, in a scope given by `vmctl.scope`.
---@param scope vmctl.Scope one that has not ended
---@param fn fun(...): ...
---@param ... any
---@return vmctl.Task
M.spawn_in = core.spawn

--- Calls `fn(item, index)` for each item, all at once (or `concurrency` at a time), and waits for all.
---@param list any[]
---@param fn fun(item: any, index: integer): any the first value counts
---@param options? { concurrency: integer? }
---@return any[] results the first result of each call, in the order of the list (`n` is their number)
function M.map(list, fn, options)
  check("map", list, "table")
  check("map", fn, "function")
  local results, following, total = { n = #list }, 1, #list
  local workers = options and options.concurrency or total
  if math.type(workers) ~= "integer" or (workers < 1 and total > 0) then
    error("option 'concurrency': a number above 0 expected", 2)
  end
  local function worker()
    while following <= total do
      local i = following
      following = i + 1
      results[i] = fn(list[i], i)
    end
  end
  M.scope(function(scope)
    for _ = 1, math.min(workers, total) do core.spawn(scope, worker) end
  end)
  return results
end

--- `vmctl.all(list, fn)` is `map` with no limit; `vmctl.all { f, g, … }` calls functions side by side.
---@return any[] results
function M.all(list, fn)
  check("all", list, "table")
  if fn ~= nil then check("all", fn, "function") end
  return M.map(list, fn or function(f) return f() end)
end

--- Runs functions side by side until the first returns; the others are cancelled.
---@param functions fun()[]
---@return any ... the results of the first one
function M.race(functions)
  check("race", functions, "table")
  local winner
  M.scope(function(scope)
    for _, fn in ipairs(functions) do
      core.spawn(scope, function()
        local results = table.pack(fn())
        if not winner then
          winner = results
          scope:cancel()
        end
      end)
    end
  end)
  if not winner then return nil, "race: no function", "EINVAL" end
  return table.unpack(winner, 1, winner.n)
end

local restore = { __close = function(self) core.limit(nil, self[1]) end }

--- Calls `fn(…)`; no wait inside it, and none of the tasks that it spawns, lasts longer than `seconds` from now. The wait
-- during which the time ends, and the next one, fail with ETIMEDOUT; one that is begun after these raises, so that code that
-- waits again and again comes to its end. In closing methods (`<close>`) waits only fail.
---@param seconds number
---@return any ... what fn returned
function M.timeout(seconds, fn, ...)
  check("timeout", seconds, "number")
  check("timeout", fn, "function")
  local before <close> = setmetatable({ core.limit(seconds) }, restore) -- luacheck: ignore
  return (function(...) return ... end)(fn(...))
end

--- Waits.
---@param seconds number
---@return true|nil, string?, string? code ECANCELED; ETIMEDOUT when a vmctl.timeout around it ends first
M.sleep = core.sleep

--- Lets other tasks and the loop have their turn.
---@return true
M.yield = core.yield

--- Seconds on the monotonic clock.
---@return number seconds
M.now = core.now

--- Makes a generator: a function that resumes `fn` where its last coroutine.yield left it. Waits inside it go through to
-- the task that calls it.
---@param fn fun(...): ...
---@return fun(...): ... generator
M.wrap = core.wrap

--- True in a task, false in a plain script.
---@return boolean
M.in_task = core.in_task

return M
