--- Signal names and numbers of Linux (the same on x86-64 and arm64), and waiting for signals of one's own.
local core = require "vmctl.core"

local M = {}

local RECORD = 128 -- bytes of the kernel's signalfd_siginfo, which begins with the number

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

local watch = {}
local watch_mt = { __name = "vmctl.SignalWatch", __index = watch }

--- Takes signals of this process as something to wait for, in place of what they do else: for programs, not for libraries.
--- Children that vmctl starts get them as usual. Does not wait.
---@param list (string|integer)[] e.g. { "TERM", "INT", "WINCH" }
---@return vmctl.SignalWatch|nil watch with next(timeout), close(); string?, string?
function M.watch(list)
  local set = {}
  for i, signal in ipairs(list) do set[i] = M.number(signal) end
  local stream, mask, code = core.signals(set)
  if not stream then return nil, mask, code end
  return setmetatable({ _stream = stream, _mask = mask }, watch_mt)
end

--- The next signal. Waits.
---@param timeout? number seconds; for ever by default
---@return string|nil name without SIG, string?, string? ETIMEDOUT, ECLOSED, ECANCELED
function watch:next(timeout)
  local record, err, code = self._stream:read_exact(RECORD, timeout or math.huge)
  if not record then return nil, err, code end
  return M.name((string.unpack("=I4", record)))
end

--- From now on they do again what they did before. Idempotent, never waits.
function watch:close()
  self._stream:close()
  self._mask:close()
  return true
end

watch_mt.__close = watch.close

return M
