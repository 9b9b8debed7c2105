--- Tells failures of a probe that mean "not yet" from those that mean "never".
local errors = require "vmctl.errors"

local M = {}

local function set(...)
  local members = {}
  for _, name in ipairs { ... } do members[name] = true end
  return members
end

-- Waiting does not help with these: the request is malformed, impossible or not allowed, the object is closed, or the wait was
-- ended.
local NEVER = set("EINVAL", "ECLOSED", "ENOTSUP", "ENOSYS", "EACCES", "EPERM", "ENAMETOOLONG", "ECANCELED", "EDEADLK")

-- A shortage of ours may pass, and a guest's name may come with its lease.
local ANYWHERE = set("ETIMEDOUT", "EMFILE", "ENFILE", "ERESOLVE")

-- Failures that are not final besides those of `errors.retryable`: a serial line carries other output of the boot before the agent's
-- answers, and a guest may do later what it refuses during the boot.
local kinds = {
  stereos = set("EPROTO", "ETOOBIG", "EREMOTE"),
  exec = set("EPROTO", "ETOOBIG", "EREMOTE"),
  port = set("EPROTO"),                        -- a part of the expected bytes, then the end
  forward = set("EPROTO", "EREMOTE"),          -- the agent says that the port is closed
  console = set(),
  command = set("EPROTO", "EREMOTE", "EEXIT"), -- a file is a command's answer as well
  system = set("EPROTO"),                      -- one that is degraded stays so
}

--- Tells if a failure of a probe is final.
---@param kind "stereos"|"exec"|"port"|"forward"|"console"|"command"|"system"|"fn" fn: all codes but the hopeless are "not yet"
---@param transport? string the kind of the probe's address
---@param code? string nil: a plain "no", which may change
---@return boolean
function M.is_final(kind, transport, code)
  if code == nil then return false end
  if NEVER[code] then return true end
  if kind == "fn" or ANYWHERE[code] or kinds[kind][code] then return false end
  return not errors.retryable(code, "connect", transport)
end

return M
