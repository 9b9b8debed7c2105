--- How often a guest has begun anew: a reset, a reboot and a restore make all that the host knew of it void.
local background = require "vmctl.base.background"
local core = require "vmctl.core"

local M = {}

local FIRMWARE = 3  -- seconds between two resets of one reboot: no guest boots, works and reboots in less

---@class vmctl.Epoch
local methods = {}
local mt = { __name = "vmctl.Epoch", __index = methods }

--- Knows the way to the guest, and not the machine: tasks may hold it.
---@param clients vmctl.AgentClients
function M.new(clients)
  return setmetatable({ number = 1, _clients = clients, _listeners = {}, _news = core.queue() }, mt)
end

--- A new epoch begins: connections into the guest end, and who listens is told. Does not wait.
---@param why "reset"|"reboot"|"restore"
function methods:advance(why)
  self.number = self.number + 1
  self._clients:drop()
  self._news:wake()
  for fn in pairs(self._listeners) do background.spawn("on_epoch", fn, self.number, why) end
end

local function seconds(stamp) return stamp.seconds + stamp.microseconds / 1e6 end

--- QEMU has said that it resets the guest. A guest on a PC that reboots is reset by its kernel, and once or twice more by its
--- firmware: all of that is one beginning. Does not wait.
---@param event { data: { guest: boolean }, timestamp: { seconds: integer, microseconds: integer } }
function methods:on_reset(event)
  local at, before = seconds(event.timestamp), self._reset_at or -math.huge
  self._reset_at = at
  if event.data.guest and at - before < FIRMWARE then return end
  self:advance(event.data.guest and "reboot" or "reset")
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
