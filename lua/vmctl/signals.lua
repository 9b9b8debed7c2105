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

local HIGHEST = 64
local REALTIME_FIRST = 34 -- as glibc counts them: 32 and 33 are its own

-- The number of "34", "RTMIN+1", "RTMAX-2"; nil for another text.
local function numbered(text)
  local base, offset = text:match "^RTM([AI][XN])([+-]?%d*)$"
  local number = math.tointeger(tonumber(base and (offset == "" and "0" or offset) or text:match "^%d+$"))
  if not number then return nil end
  if base == "IN" then number = REALTIME_FIRST + number end
  if base == "AX" then number = HIGHEST + number end
  local lowest = base and REALTIME_FIRST or 1
  return number >= lowest and number <= HIGHEST and number or nil
end

--- The number of a signal given as "TERM", "SIGTERM", "RTMIN+1", "SIG34" or a number; raises for another value.
---@param signal string|integer
---@return integer
function M.number(signal)
  if numbers[signal] then return numbers[signal] end
  if math.type(signal) == "integer" and signal >= 0 and signal <= HIGHEST then return signal end
  local text = type(signal) == "string" and signal:upper():gsub("^SIG", "")
  local number = text and (numbers[text] or numbered(text))
  if not number then error(("unknown signal '%s'"):format(tostring(signal)), 3) end
  return number
end

--- The name of a signal number, without SIG; "SIG34" and the like for real-time signals. `number` reads it back.
---@param number integer
---@return string
function M.name(number)
  return names[number] or ("SIG%d"):format(number)
end

---@class vmctl.SignalWatch
local watch = {}
local watch_mt = { __name = "vmctl.SignalWatch", __index = watch }

--- Makes signals of this process events to wait for, instead of their usual effect: for programs, not for libraries.
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
---@return string|nil name without SIG, string?, string? code ETIMEDOUT, ECLOSED, ECANCELED
function watch:next(timeout)
  local record, err, code = self._stream:read_exact(RECORD, timeout or math.huge)
  if not record then return nil, err, code end
  return M.name((string.unpack("=I4", record)))
end

--- Gives the signals their usual effect again. Idempotent, never waits.
function watch:close()
  self._stream:close()
  self._mask:close()
  return true
end

watch_mt.__close = watch.close

return M
