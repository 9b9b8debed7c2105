--- VMCTL_LOG=error|info|debug: one line an event on standard error; bytes from a guest are made safe to show.
local M = {}

local LEVELS = { error = 1, info = 2, debug = 3 }
local level = LEVELS[os.getenv "VMCTL_LOG" or ""] or 0

--- Makes bytes from elsewhere safe for a terminal: control bytes but line feeds and tabs become '?'.
---@param bytes string
---@param limit? integer only the last so many bytes
function M.sanitize(bytes, limit)
  if limit and #bytes > limit then bytes = bytes:sub(-limit) end
  return (bytes:gsub("\27%[[%d;?]*%a", ""):gsub("[%z\1-\8\11-\31\127]", "?"))
end

function M.enabled(name) return LEVELS[name] <= level end

for name, number in pairs(LEVELS) do
  M[name] = number > level and function() end or function(fmt, ...)
    local text = M.sanitize(fmt:format(...)):gsub("\n", "\\n")
    io.stderr:write("vmctl: ", name, ": ", text, "\n")
  end
end

return M
