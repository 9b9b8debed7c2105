--- The frames of a switch: for a mirror port, from a script, and for its functions.
local options = require "vmctl.base.options"
local watch = require "vmctl.l2.tap"

local M = {}

--- Makes a port the mirror: it gets a copy of every frame that comes in, before any fault, and nothing else. nil: no port is.
---@param port? vmctl.L2SwitchPort|string
---@return true|nil, string?, string? code ECLOSED
function M.mirror(switch, port)
  if switch._closed then return switch:_fail_closed "mirror" end
  port = port and switch:_resolve(port, 3)
  if port and not port:_here() then return port:counts() end
  switch._core:mirror(port and port._index)
  return true
end

--- Handles a frame as if it had come from a port. Does not wait.
---@param port vmctl.L2SwitchPort|string
---@param frame string 14 to 69632 bytes
---@return true|nil, string?, string? code EINVAL, ECLOSED
function M.inject(switch, port, frame)
  if switch._closed then return switch:_fail_closed "inject" end
  port = switch:_resolve(port, 3)
  if not port:_here() then return port:counts() end
  return switch._core:inject(port._index, frame)
end

--- Calls `fn(frame, port)` once for each incoming frame, before any fault. It may wait: when its queue is full (`queue` bytes,
--- 4 MiB) the switch waits as well, or, if `lossy`, frames are left out and counted. Its errors are logged.
---@param fn fun(frame: string, port: vmctl.L2SwitchPort)
---@param opts? { lossy: boolean?, queue: integer? }
---@return vmctl.L2Tap|nil tap with close() and lost(), string?, string?
function M.tap(switch, fn, opts)
  if type(fn) ~= "function" then error("tap: a function expected, got " .. type(fn), 2) end
  opts = options.check(opts, { lossy = "boolean", queue = "integer>=1<=1073741824" }, "switch:tap")
  if switch._closed then return switch:_fail_closed "tap" end
  return watch.tap(switch, fn, opts)
end

return M
