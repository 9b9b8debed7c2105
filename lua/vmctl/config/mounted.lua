--- Mounts of guests that run no commands. A guest of the reference refuses to mount a share a second time, with a message that fits any
--- failure, and does not list its mounts: so the mounts of a client are remembered here.
local core = require "vmctl.core"

local M = {}

--- The message of a refusal that may mean "it is there".
M.DOUBT = "%s (this guest refuses a share that is mounted already, as it does one that the host does not share)"

local done = setmetatable({}, { __mode = "k" }) -- by client, then by path: { what =, at = }

local function sign(step)
  return ("%s %s %s"):format(step.tag, step.fs_type, step.read_only)
end

--- Remembers a mount that a client has made.
---@param client vmctl.StereosClient
---@param step table of kind "mount"
function M.note(client, step)
  local known = done[client] or {}
  done[client] = known
  known[step.path] = { what = sign(step), at = core.now() }
end

--- Tells, after a refusal, if an earlier push of this client has mounted the share, and the guest has not restarted since. Waits.
---@param client vmctl.StereosClient
---@param step table
---@param timeout number seconds
---@return boolean
function M.was_there(client, step, timeout)
  local entry = (done[client] or {})[step.path]
  if not entry or entry.what ~= sign(step) then return false end
  local health = client:get_health { timeout = timeout }
  return health ~= nil and core.now() - health.uptime_seconds - 1 <= entry.at
end

--- Tells if a failure is that of the program mount, in the reference's words. Our guests have a code, and know their mounts.
---@param step table
---@param err string
---@param code string
---@param ack? table
---@return boolean
function M.may_be_there(step, err, code, ack)
  return step.kind == "mount" and code == "EREMOTE" and type(ack) == "table" and (ack.code or "") == ""
    and err:find("exit status %d") ~= nil
end

return M
