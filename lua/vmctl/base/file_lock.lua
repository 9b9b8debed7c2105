--- Locks that several processes can have a file for (core.lock_file), with a wait.
local core = require "vmctl.core"
local task = require "vmctl.base.task"

local M = {}

local PAUSE = 0.02 -- seconds

--- Takes a lock. Waits while another process has it.
---@param path string of the lock's file, which is made if it is missing; the owner of the lock may remove it
---@param limit number seconds
---@return userdata|nil lock which the caller closes, string?, string? code EBUSY: another process still has it; ECANCELED; EACCES …
function M.take(path, limit)
  local deadline = core.now() + limit
  while true do
    local lock, err, code = core.lock_file(path)
    if lock or code ~= "EBUSY" or core.now() >= deadline then return lock, err, code end
    local ok
    ok, err, code = task.sleep(PAUSE)
    if ok == nil then return nil, err, code end
  end
end

return M
