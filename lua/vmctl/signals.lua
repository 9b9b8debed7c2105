--- Signal names and numbers of Linux (the same on x86-64 and arm64).
local M = {}

local names = {
  "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
  "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR",
  "SYS",
}

local numbers = {}
for number, name in ipairs(names) do numbers[name] = number end

--- The number of a signal given as "TERM", "SIGTERM" or a number; raises for what is none.
---@param signal string|integer
---@return integer
function M.number(signal)
  if math.type(signal) == "integer" and signal >= 0 and signal <= 64 then return signal end
  local number = type(signal) == "string" and numbers[signal:upper():gsub("^SIG", "")]
  if not number then error(("unknown signal '%s'"):format(tostring(signal)), 3) end
  return number
end

--- The name of a signal number, without SIG; "SIG34" and the like for real-time signals.
---@param number integer
---@return string
function M.name(number)
  return names[number] or ("SIG%d"):format(number)
end

return M
