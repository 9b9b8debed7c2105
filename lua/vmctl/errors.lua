--- The one way to fail: nil, a sentence that names the operation and the target, a short stable code.
local M = {}

--- Fails: nil, message, code.
---@param code string
---@param fmt string
---@return nil, string, string
function M.fail(code, fmt, ...)
  local values = table.pack(...)
  for i = 1, values.n do
    if type(values[i]) == "table" or type(values[i]) == "userdata" then values[i] = tostring(values[i]) end
  end
  return nil, fmt:format(table.unpack(values, 1, values.n)), code
end

-- While a guest boots, its listener, its socket file or its driver may not be there yet: what each transport says then.
local RETRYABLE = {
  ENOENT = true, ECONNREFUSED = true, ECONNRESET = true, EAGAIN = true, ENODEV = true, EOF = true, EPIPE = true,
  ENOBUFS = true, EHOSTUNREACH = true, ENETUNREACH = true, ERESET = true,
}

--- May a failed attempt to connect be repeated? Only the connect step is: what was sent may have been done.
---@param code string
---@param phase "connect"|"request"
---@return boolean
function M.retryable(code, phase)
  return phase == "connect" and RETRYABLE[code] or false
end

return M
