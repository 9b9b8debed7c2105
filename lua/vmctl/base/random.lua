--- Random bytes, as the kernel gives them.
local errors = require "vmctl.errors"

local SOURCE = "/dev/urandom"

local M = {}

--- So many random bytes. Does not wait.
---@param count integer
---@return string|nil bytes, string?, string? code EIO: there are none
function M.bytes(count)
  local file, err = io.open(SOURCE, "rb")
  if not file then return errors.fail("EIO", "no random bytes: %s", err) end
  local bytes = file:read(count)
  file:close()
  if not bytes or #bytes < count then return errors.fail("EIO", "no random bytes: %s has ended", SOURCE) end
  return bytes
end

return M
