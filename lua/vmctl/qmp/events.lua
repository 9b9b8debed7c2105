--- Passes the events of a monitor to its listeners. A slow listener delays no other: it loses the oldest events that it has
--- not fetched.
local core = require "vmctl.core"

local M = {}

M.KEPT = 256             -- events for one listener
M.KEPT_BYTES = 1 << 20   -- bytes of them, as they came

---@class vmctl.QmpHub
local hub = {}
local hub_mt = { __name = "vmctl.QmpHub", __index = hub }

--- A connection publishes its events here.
---@param kept? integer events kept for each listener
function M.hub(kept)
  return setmetatable({ _kept = kept or M.KEPT, _listeners = setmetatable({}, { __mode = "k" }) }, hub_mt)
end

--- Hands an event to all listeners. Never waits.
---@param event table
---@param size integer bytes of its line
function hub:publish(event, size)
  for listener in pairs(self._listeners) do listener:_put(event, size) end
end

--- Ends it: listeners get the remaining events, and then the reason. Never waits.
function hub:finish(err, code)
  self._over, self._code = self._over or err, self._code or code
  for listener in pairs(self._listeners) do listener._news:wake() end
end

---@class vmctl.QmpListener
local listener = {}
local listener_mt = { __name = "vmctl.QmpListener", __index = listener }

--- Listens from now on, until `close` or the collector ends it. Does not wait.
function hub:listen()
  local made = setmetatable({ _hub = self, _news = core.queue(), _events = {}, _sizes = {}, _bytes = 0, _lost = 0 }, listener_mt)
  self._listeners[made] = true
  return made
end

local function take_out(self, i)
  self._bytes = self._bytes - table.remove(self._sizes, i)
  return table.remove(self._events, i)
end

function listener:_put(event, size)
  local events = self._events
  while #events > 0 and (#events >= self._hub._kept or self._bytes + size > M.KEPT_BYTES) do
    take_out(self, 1)
    self._lost = self._lost + 1
  end
  events[#events + 1], self._sizes[#events + 1] = event, size
  self._bytes = self._bytes + size
  self._news:wake()
end

--- The number of events that were dropped since the last call. Does not wait.
---@return integer
function listener:lost()
  local lost = self._lost
  self._lost = 0
  return lost
end

--- Takes out the oldest event that fits. Does not wait.
---@param fits? fun(event: table): boolean any event without it
---@return table|nil
function listener:take(fits)
  for i, event in ipairs(self._events) do
    if not fits or fits(event) then return take_out(self, i) end
  end
end

--- Waits for an event that fits, and takes it out.
---@param fits? fun(event: table): boolean
---@param timeout number seconds
---@return table|nil event, string?, string? code ETIMEDOUT, ECANCELED; ERESET, ECLOSED: there will be none
function listener:next(fits, timeout)
  local deadline = core.now() + timeout
  while true do
    local event = self:take(fits)
    if event then return event end
    if self._hub._over then return nil, self._hub._over, self._hub._code end
    local ok, err, code = self._news:wait(deadline - core.now(), "no such event")
    if not ok then return nil, err, code end
  end
end

--- Drops the events that came until now. Does not wait.
function listener:clear()
  self._events, self._sizes, self._bytes, self._lost = {}, {}, 0, 0
end

function listener:close()
  self._hub._listeners[self] = nil
end

listener_mt.__close = listener.close

return M
