--- Checks periodically if the other side of a session is still there. Both sides ask.
local task = require "vmctl.base.task"

local M = {}

local function ask(session, seconds)
  local ok, _, code = task.timeout(seconds, session.ping, session, seconds)
  return ok ~= nil, code
end

--- Asks again and again, until there is no answer. A script may keep its loop busy for longer than it waits for an answer, which then
--- is late here, not there: it asks twice. Waits.
---@param session vmctl.YamuxSession
---@param limit number seconds within which the other side has to answer
---@return string|nil code ETIMEDOUT: it has not; nil: the session has ended otherwise, or this task shall
function M.watch(session, limit)
  local part = limit / 3
  while task.sleep(part) do
    local ok, code = ask(session, part)
    if code == "ETIMEDOUT" then ok, code = ask(session, part) end
    if not ok then return code == "ETIMEDOUT" and code or nil end
  end
end

return M
