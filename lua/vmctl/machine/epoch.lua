--- Counts a guest's epochs. A reset, a reboot and a restore begin a new one: all state that the host has of the guest is then invalid.
local background = require "vmctl.base.background"
local core = require "vmctl.core"

local M = {}

local FIRMWARE = 3  -- seconds within which resets belong to one reboot, if no agent has answered between them

---@class vmctl.Epoch
local methods = {}
local mt = { __name = "vmctl.Epoch", __index = methods }

--- Makes the counter. It refers to the clients and not to the machine, so that tasks may hold it.
---@param clients vmctl.AgentClients
function M.new(clients)
  return setmetatable({ number = 1, _clients = clients, _listeners = {}, _news = core.queue() }, mt)
end

--- Begins a new epoch: ends the connections into the guest, and calls the listeners. Does not wait.
---@param why "reset"|"reboot"|"restore"
function methods:advance(why)
  self.number = self.number + 1
  self._clients:drop()
  self._news:wake()
  for fn in pairs(self._listeners) do background.spawn("on_epoch", fn, self.number, why) end
end

local function seconds(stamp) return stamp.seconds + stamp.microseconds / 1e6 end

--- Handles QEMU's RESET event. When a guest on a PC reboots, its kernel resets it, and its firmware once or twice more: all of these
--- begin one epoch. A reset after the agent has answered begins another one. Does not wait.
---@param event { data: { guest: boolean }, timestamp: { seconds: integer, microseconds: integer } }
function methods:on_reset(event)
  local at, before = seconds(event.timestamp), self._reset_at or -math.huge
  self._reset_at, self._heard = at, core.now()
  if event.data.guest and at - before < FIRMWARE and not self._clients:answers() then return end
  self:advance(event.data.guest and "reboot" or "reset")
end

--- Tells if the firmware may still reset the guest once more, after a reset of ours. Does not wait.
---@return boolean
function methods:is_in_firmware()
  return not self._clients:answers() and core.now() - (self._heard or -math.huge) < FIRMWARE
end

--- Calls `fn(number, why)` at the beginning of each epoch from now on.
---@return fun() cancel
function methods:listen(fn)
  local function call(...) return fn(...) end -- the same function may be registered twice
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
