--- A client's lifecycle messages, as they come.
local core = require "vmctl.core"
local dialling = require "vmctl.stereos.client_dial"
local log = require "vmctl.log"

local M = {}

local REDIAL = { 0.1, 2 } -- first and longest pause between attempts of an iterator to connect again

--- The next lifecycle message. Connects again as often as needed. Waits.
---@param self vmctl.StereosClient
---@param listener table of its hub
---@param deadline number
---@return { state: string, message: string }|nil, string?, string? code ETIMEDOUT, ECLOSED, ECANCELED
function M.next(self, listener, deadline)
  local pause = REDIAL[1]
  while true do
    local event = listener:take()
    if event then return event end
    if self._closed then return nil, "closed", "ECLOSED" end
    local connection, err, code = dialling.connected(self, math.min(deadline, core.now() + self._dial_timeout))
    if connection then
      connection:attend()
    elseif code == "ECANCELED" then
      return nil, err, code
    end
    local left = deadline - core.now()
    local ok, why
    ok, why, code = listener:wait(connection and left or math.min(pause, left))
    if not ok and (code ~= "ETIMEDOUT" or core.now() >= deadline) then return nil, err or why, code end
    pause = connection and REDIAL[1] or math.min(2 * pause, REDIAL[2])
  end
end

--- Calls `fn(event)` for each message until the client is closed. An error of `fn` is logged. Waits.
---@param self vmctl.StereosClient
---@param listener table of its hub
---@param fn fun(event: { state: string, message: string })
function M.call_each(self, listener, fn)
  while true do
    local event = M.next(self, listener, math.huge)
    if not event then return end
    local ok, err = xpcall(fn, debug.traceback, event)
    if not ok then log.error("stereos: on_lifecycle of %s: %s", dialling.label(self), err) end
  end
end
return M
