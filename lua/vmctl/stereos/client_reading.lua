--- Reading the lines of a guest: replies, and lifecycle messages between them.
local core = require "vmctl.core"
local wire = require "vmctl.stereos.wire"

local M = {}

--- Reads to the next reply. Lifecycle messages and empty lines are no replies. A line that is no message ends the connection. Waits.
---@param self vmctl.StereosConnection
---@param timeout number seconds to the deadline, given to save a look at the clock
---@param deadline number
---@return string|nil kind, table|string payload_or_message, string? code
function M.read_reply(self, timeout, deadline)
  local stream, max = self._stream, self._max_line
  while true do
    local line, err, code = stream:read_line(max, timeout)
    if not line then return nil, err, code end
    local kind, payload = wire.parse(line)
    if kind == "lifecycle" then
      self._hub:publish(payload)
    elseif kind then
      return kind, payload
    elseif line ~= "" then
      return self:break_off(payload)
    end
    timeout = deadline - core.now()
    if timeout <= 0 then return nil, ("read %s: no reply in time"):format(stream:label()), "ETIMEDOUT" end
  end
end

return M
