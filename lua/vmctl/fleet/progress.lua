--- Shows progress: on a terminal one line that is written anew, elsewhere a plain line now and then.
local core = require "vmctl.core"
local log = require "vmctl.log"
local options = require "vmctl.base.options"

local M = {}

local WIDTH = 78                -- columns of the line
local SOON, NOW_AND_THEN = 0.1, 10 -- seconds between two lines: on a terminal; elsewhere

---@class vmctl.FleetProgress
local methods = {}
local mt = { __name = "vmctl.FleetProgress", __index = methods }

local function to_output(text)
  io.stderr:write(text)
  io.stderr:flush()
end

--- Makes one. Does not wait.
---@param opts? { write: fun(text: string)?, terminal: boolean?, every: number? } write: to standard error by default; terminal: whether
--- that is one (it is looked at); every: seconds between two lines (0.1 on a terminal, else 10)
---@return vmctl.FleetProgress
function M.new(opts)
  opts = options.check(opts, { write = "callable", terminal = "boolean", every = "number>=0" }, "fleet.progress")
  local terminal = opts.terminal
  if terminal == nil then terminal = not opts.write and core.isatty(2) end
  return setmetatable({
    _write = opts.write or to_output, _live = terminal, _every = opts.every or terminal and SOON or NOW_AND_THEN, _next = -math.huge,
  }, mt)
end

--- Shows a line, unless the last one was shown a moment ago. Does not wait.
---@param text string
function methods:update(text)
  self._last = text
  local now = core.now()
  if now < self._next then return end
  self._next = now + self._every
  self:_show(text)
end

function methods:_show(text)
  self._last, self._shown = nil, text
  text = log.one_line(text, WIDTH)
  self._write(self._live and "\r\27[K" .. text or text .. "\n")
  self._open = self._live
end

--- Shows a line that stays, whenever the last one was: the end of a wave, a failure. One that was the last plain line is there already.
--- Does not wait.
---@param text string
function methods:say(text)
  local is_there = not self._live and text == self._shown
  self._last, self._shown = nil, text
  if is_there then return end
  self._write((self._open and "\r\27[K" or "") .. log.one_line(text, 1000) .. "\n")
  self._open = false
end

--- Shows the last line if it was not shown, and ends it. Idempotent; does not wait.
---@return true
function methods:close()
  if self._last then self:_show(self._last) end
  if self._open then self._write "\n" end
  self._open = false
  return true
end

mt.__close = methods.close

return M
