--- How often a guest has begun anew: a reset, a reboot and a restore make all that the host knew of it void.
local background = require "vmctl.base.background"
local core = require "vmctl.core"

local M = {}

local methods = {}
local mt = { __name = "vmctl.Epoch", __index = methods }

--- Knows the way to the guest, and not the machine: tasks may hold it.
---@param channel table of vmctl.machine.agent_channel
function M.new(channel)
  return setmetatable({ number = 1, _channel = channel, _listeners = {}, _news = core.queue() }, mt)
end

--- A new epoch begins: connections into the guest end, and who listens is told. Does not wait.
---@param why "reset"|"reboot"|"restore"
function methods:advance(why)
  self.number = self.number + 1
  self._channel:drop()
  self._news:wake()
  for fn in pairs(self._listeners) do background.spawn("on_epoch", fn, self.number, why) end
end

--- Calls `fn(number, why)` at the beginning of each epoch from now on.
---@return fun() cancel
function methods:listen(fn)
  local function call(...) return fn(...) end -- the same function may listen twice
  self._listeners[call] = true
  return function() self._listeners[call] = nil end
end

--- Waits until the epoch is later than `number`.
---@return true|nil, string?, string?
function methods:wait_beyond(number, timeout)
  local deadline = core.now() + timeout
  while self.number <= number do
    local ok, err, code = self._news:wait(deadline - core.now(), "wait for a new epoch")
    if not ok then return nil, err, code end
  end
  return true
end

return M
