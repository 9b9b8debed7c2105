--- The task behind a port's handler of frames.
local core = require "vmctl.core"
local background = require "vmctl.base.background"
local errors = require "vmctl.errors"
local log = require "vmctl.log"

local M = {}

local BATCH = 256
local QUIET = { EOF = true, ECLOSED = true, ECANCELED = true } -- ends of reading that are not logged

-- Passes frames to the current handler. When it is removed, the remaining frames are kept for `recv`.
local function hand_out(self, frames)
  local at = 1
  while at <= #frames and self._handler do
    local ok, err = xpcall(function()
      while at <= #frames and self._handler do
        local frame = frames[at]
        at = at + 1
        self._handler(frame, self)
      end
    end, debug.traceback)
    if not ok then log.error("l2: %s: the handler of frames: %s", self._label, err) end
  end
  table.move(frames, at, #frames, #self._kept + 1, self._kept)
end

-- The handler's task: runs until the handler is removed.
local function attend(self)
  while self._handler do
    self._reading = true
    local frames, err, code = self:_take_kept(BATCH), nil, nil
    if not frames then frames, err, code = self:_receive(BATCH, math.huge) end
    self._reading = false
    if not frames then
      if not QUIET[code] then log.info("l2: %s: %s", self._label, err) end
      return
    end
    hand_out(self, frames)
  end
end

-- The task may end some time after the handler was removed. The next reader, or the next handler, waits for that.
local function run(self)
  attend(self)
  local leaving, following = self._leaving, self._cancelled and self._handler
  self._task, self._leaving, self._cancelled, self._handler = nil, nil, nil, nil
  if leaving then leaving:wake() end
  if following then M.set(self, following) end -- set while this task was ending
end

--- Sets, replaces or (nil) removes a port's handler. Does not wait.
function M.set(self, fn)
  if fn and self._reading and not self._task then
    return errors.fail("EBUSY", "set a handler of %s: a task reads", self._label)
  end
  self._handler = fn
  if fn and not self._task and not self._ended then
    self._task = background.spawn("l2: " .. self._label, run, self)
  elseif not fn and self._task and self._reading and not self._cancelled then
    self._leaving, self._cancelled = core.queue(), true
    self._task:cancel()
  end
  return true
end

return M
