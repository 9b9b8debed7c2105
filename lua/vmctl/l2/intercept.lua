--- Intercepts: a Lua function takes selected frames out of the switch and decides which frames go on.
local background = require "vmctl.base.background"
local log = require "vmctl.log"
local match = require "vmctl.l2.match"
local options = require "vmctl.base.options"

local M = {}

local BATCH = 256
local QUEUE = 1 << 20 -- bytes: the default limit of its queue

---@class vmctl.L2Intercept
local methods = {}
local mt = { __name = "vmctl.L2Intercept", __index = methods }

-- The frames that go on in place of one.
local function frames_of(verdict, frame)
  if verdict == nil or verdict == true then return { frame } end
  if verdict == false then return {} end
  if type(verdict) == "string" then return { verdict } end
  if type(verdict) == "table" then return verdict end
  error("nothing, true, false, a frame or an array of frames expected, got " .. type(verdict), 0)
end

local function decide(self, frame)
  local ok, result = xpcall(function() return frames_of(self._fn(frame, self._port), frame) end, debug.traceback)
  if ok then return result end
  log.error("l2: %s: the function for frames of %s: %s", self._switch.name, self._port.name, result)
  return { frame }
end

local function pass_on(self, frames)
  for _, frame in ipairs(frames) do
    if self._closed or not self._port:_here() then return end
    local ok, err = self._switch._core:pass_on(self._port._index, frame)
    if not ok then log.error("l2: %s: %s", self._switch.name, err) end
  end
end

local function run(self)
  while not self._closed do
    local frames, _, code = self._core:recv_many(BATCH, math.huge)
    if not frames then
      if code ~= "ECLOSED" and code ~= "ECANCELED" then log.error("l2: %s: %s", self._switch.name, _) end
      return
    end
    for _, frame in ipairs(frames) do
      if self._closed then return end
      pass_on(self, decide(self, frame))
    end
  end
end

--- Has `fn(frame, port)` decide about frames that come from a port, before its faults. It returns nothing or true: the frame goes on;
--- false: it is dropped; a string: that frame goes on instead; an array: all of its frames. It may wait; later frames of its own wait for
--- it, and other frames overtake them. Its errors are logged, and the frame goes on. It is meant for rare frames, which `only` selects:
--- a frame for which its queue has no room is dropped and counted. Captures have the frames as they came, with the comment "taken".
--- Does not wait.
---@param port vmctl.L2SwitchPort|string
---@param fn fun(frame: string, port: vmctl.L2SwitchPort): nil|boolean|string|string[]
---@param opts? { only: vmctl.L2Match?, queue: integer? } queue: bytes that may wait for it (1 MiB)
---@return vmctl.L2Intercept|nil intercept with close() and lost(); string?, string? code ECLOSED
function M.intercept(switch, port, fn, opts)
  if type(fn) ~= "function" then error("intercept: a function expected, got " .. type(fn), 2) end
  opts = options.check(opts, { only = "table", queue = "integer>=1<=1073741824" }, "switch:intercept")
  local which = { only = opts.only }
  match.read(which, 2)
  if switch._closed then return switch:_fail_closed "intercept" end
  port = switch:_resolve(port, 3)
  if not port:_here() then return port:counts() end
  local self = setmetatable({ _switch = switch, _port = port, _fn = fn }, mt)
  self._core = switch._core:tap(opts.queue and math.tointeger(opts.queue) or QUEUE, true, port._index, which)
  background.spawn(("l2: a function for frames of %s"):format(port.name), run, self)
  return self
end

--- How many frames were lost because its queue was full.
---@return integer
function methods:lost()
  return self._core:lost()
end

--- Ends it: the port's frames pass the switch directly again. Frames in the queue are dropped. Idempotent; does not wait.
---@return true
function methods:close()
  self._closed = true
  self._core:close()
  return true
end

mt.__close = methods.close

return M
