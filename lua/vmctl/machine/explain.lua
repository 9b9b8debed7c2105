--- What is told of a guest that is not as it should be.
local log = require "vmctl.log"
local text = require "vmctl.text"

local M = {}

local LAST_WORDS = 1    -- seconds in which a QEMU whose link has ended must have said why, and have ended
local TAIL_LINES = 16
local PANIC = 400       -- bytes of a panic's line

local BROKEN = { EOF = true, EPIPE = true, ECONNRESET = true, ERESET = true }

--- Whether a code says that the way to the guest has broken.
function M.is_broken(code)
  return BROKEN[code] == true
end

--- How QEMU ended, which it has.
---@param vm vmctl.Machine
---@return string
function M.ending(vm)
  local record = vm._fate.record
  return "QEMU ended with " .. (record.signal and "signal " .. record.signal or "exit code " .. tostring(record.exit_code))
end

-- A QEMU whose link has broken is about to end, and to say why.
local function await_last_words(vm)
  if vm._closed or not vm:wait(LAST_WORDS) then return end
  vm._tasks.stderr:join(LAST_WORDS)
  vm._tasks.console:join(LAST_WORDS)
end

-- The line of a kernel's last panic.
local function last_panic(console)
  local at = text.find_last(console, "Kernel panic")
  return at and log.one_line(console:sub(at, (console:find("[\r\n]", at) or #console + 1) - 1), PANIC)
end

--- A failure with all that is known: how QEMU ended and what it said, a kernel's panic, the console's last lines. Waits a
--- moment when the way to the guest has broken.
---@param vm vmctl.Machine
---@param what string
---@param code string
---@return nil, string message, string code
function M.explain(vm, what, code)
  if BROKEN[code] then await_last_words(vm) end
  local parts = { ("%s: %s"):format(vm.name, what) }
  if vm._fate.record then parts[#parts + 1] = "; " .. M.ending(vm) end
  local panic = last_panic(vm._console:text())
  if panic then parts[#parts + 1] = "; " .. panic end
  local said = vm._stderr and vm._stderr:tail(TAIL_LINES) or ""
  if said ~= "" then parts[#parts + 1] = "\nQEMU said:\n" .. said end
  local tail = vm._console:tail(TAIL_LINES)
  parts[#parts + 1] = tail ~= "" and "\nthe console's last lines:\n" .. tail or "\nnothing came on the console"
  return nil, table.concat(parts), code
end

return M
