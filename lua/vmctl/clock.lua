--- A virtual clock for specs: time-outs of minutes in milliseconds.
---
--- While it runs, time passes as ever as long as there is something to do. Where vmctl's loop would wait although no task is
--- ready and no descriptor has anything, its clock leaps to the next timer (or to the end of the wait) at once. Descriptors
--- that a task waits for may lead to other processes, which do not have this clock: as long as there are any, each leap is
--- preceded by `grace` seconds of real waiting for them, and their bytes are handled first. A wait without any time-out takes
--- real time, however long. `vmctl.now()`, sleeps, time-outs and the delays of switches and relays of this Lua
--- state follow the clock; other Lua states, child processes, the kernel's own time-outs and os.time do not.
---
--- Afterwards the clock is real again, from its present time on: it never goes back.
local core = require "vmctl.core"
local options = require "vmctl.base.options"

local M = {}

local GRACE = 0.01 -- seconds

-- The graces of the calls that run now: tasks may overlap, and the longest grace counts.
local running = {}

local function apply()
  local grace
  for _, each in pairs(running) do grace = math.max(grace or 0, each) end
  core.virtual(grace)
end

local guard = { __close = function(self)
  running[self] = nil
  apply()
end }

local function begin(grace)
  local self = setmetatable({}, guard)
  running[self] = grace
  apply()
  return self
end

--- Runs `fn` on a virtual clock, for all tasks of this Lua state, and gives its results; its error passes, and the clock is a
--- real one again in each case. Waits as `fn` does.
---@param fn function
---@param opts? { grace: number? } real seconds that descriptors get before each leap (0.01): 0 where no other process takes part
---@return any ...
function M.virtual(fn, opts)
  if type(fn) ~= "function" then error("clock.virtual: a function expected, got " .. type(fn), 2) end
  opts = options.check(opts, { grace = "number>=0<=1" }, "clock.virtual")
  local over <close> = begin(opts.grace or GRACE) -- luacheck: ignore
  return fn()
end

--- Tells if the clock is a virtual one now.
---@return boolean
function M.is_virtual()
  return next(running) ~= nil
end

return M
