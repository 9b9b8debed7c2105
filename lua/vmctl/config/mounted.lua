--- Mounts of guests that run no commands. A guest of the reference refuses to mount a share a second time, in words that fit
--- any failure, and tells nobody what is mounted: so what a client has mounted is remembered here.
local core = require "vmctl.core"

local M = {}

--- The message of a refusal that may mean "it is there".
M.DOUBT = "%s (this guest refuses a share that is mounted already, as it does one that the host does not share)"

local done = setmetatable({}, { __mode = "k" }) -- by client, then by path: { what =, at = }

local function sign(step)
  return ("%s %s %s"):format(step.tag, step.fs_type, step.read_only)
end

--- Remembers that a client has brought a mount about.
---@param client vmctl.StereosClient
---@param step table of kind "mount"
function M.note(client, step)
  local known = done[client] or {}
  done[client] = known
  known[step.path] = { what = sign(step), at = core.now() }
end

--- After a refusal: is the share there since an earlier push of this client? Not if the guest has begun anew since. Waits.
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

--- Is a failure that of the program mount, in the reference's words? Our guests have a code, and know what is mounted.
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
