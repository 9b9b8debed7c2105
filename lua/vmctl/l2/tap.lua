--- A tap calls a Lua function for each frame that comes into a switch.
local background = require "vmctl.base.background"
local log = require "vmctl.log"

local M = {}

local BATCH = 256
local QUEUE = 4 << 20 -- bytes: the default limit of its queue

---@class vmctl.L2Tap
local methods = {}
local mt = { __name = "vmctl.L2Tap", __index = methods }

local function hand_out(self, fn, frames, indices)
  local at, handles = 1, self._switch._by_index
  local function rest()
    while at <= #frames and not self._closed do
      local frame, index = frames[at], indices[at]
      at = at + 1
      fn(frame, handles[index])
    end
  end
  local said
  while at <= #frames and not self._closed do
    local ok, err = xpcall(rest, debug.traceback)
    if not ok and not said then log.error("l2: %s: the function of a tap: %s", self._switch.name, err) end
    said = said or not ok -- once for a batch
  end
end

local function run(self, fn)
  while not self._closed do
    local frames, indices, code = self._core:recv_many(BATCH, math.huge)
    if not frames then
      if code ~= "ECLOSED" and code ~= "ECANCELED" then log.error("l2: %s: %s", self._switch.name, indices) end
      return
    end
    hand_out(self, fn, frames, indices)
  end
end

--- Begins to watch a switch.
function M.tap(switch, fn, opts)
  local self = setmetatable({ _switch = switch, _core = switch._core:tap(opts.queue or QUEUE, opts.lossy or false) }, mt)
  background.spawn(("l2: a tap of %s"):format(switch.name), run, self, fn)
  return self
end

--- How many frames a lossy tap has left out.
---@return integer
function methods:lost()
  return self._core:lost()
end

--- Ends it; its function is not called any more. Idempotent; does not wait.
---@return true
function methods:close()
  self._closed = true
  self._core:close()
  return true
end

mt.__close = methods.close

return M
