--- Adds to a failure the known facts about the guest.
local log = require "vmctl.log"
local text = require "vmctl.text"

local M = {}

local LAST_WORDS = 1    -- seconds for a QEMU whose link has ended to print the reason and end
local TAIL_LINES = 16
local PANIC = 800       -- bytes of a panic's line

local BROKEN = { EOF = true, EPIPE = true, ECONNRESET = true, ERESET = true }

--- True if a code means that the connection to the guest was lost.
function M.is_broken(code)
  return BROKEN[code] == true
end

---@class vmctl.Report
local methods = {}
local mt = { __name = "vmctl.Report", __index = methods }

--- Makes the report of a guest, for errors.
---@param name string
---@param process vmctl.QemuProcess
---@param console vmctl.Console
---@param beside? vmctl.MachineBeside
function M.new(name, process, console, beside)
  return setmetatable({ _name = name, _process = process, _console = console, _beside = beside }, mt)
end

--- Makes a failure that includes how QEMU ended, if it has. Does not wait.
---@param what string
---@param code string
---@return nil, string message, string code
function methods:brief(what, code)
  return nil, self._process:record() and what .. "; " .. self._process:ending() or what, code
end

-- The line of a kernel's last panic, or the sentence of stage 1's end.
local function last_panic(console)
  local at = text.find_last(console, "vmctl-agent: root: ") or text.find_last(console, "Kernel panic")
  return at and log.one_line(console:sub(at, (console:find("[\r\n]", at) or #console + 1) - 1), PANIC)
end

--- Makes a failure that includes how QEMU ended and its error output, a kernel panic, and the console's last lines. Waits up to a
--- second when the connection to the guest was lost.
---@param what string
---@param code string
---@return nil, string message, string code
function methods:explain(what, code)
  local process, console = self._process, self._console
  if BROKEN[code] then
    process:await_last_words(LAST_WORDS)
    if process:record() then console:await_end(LAST_WORDS) end
  end
  local parts = { ("%s: %s"):format(self._name, what) }
  if process:record() then parts[#parts + 1] = "; " .. process:ending() end
  local panic = last_panic(console:text())
  if panic then parts[#parts + 1] = "; " .. panic end
  local said = process:last_words(TAIL_LINES)
  if said ~= "" then parts[#parts + 1] = "\nQEMU said:\n" .. said end
  local served = self._beside and self._beside:last_words() or ""
  if served ~= "" and process:record() then parts[#parts + 1] = "\nvirtiofsd said:\n" .. served end
  local tail = console:tail(TAIL_LINES)
  parts[#parts + 1] = tail ~= "" and "\nthe console's last lines:\n" .. tail or "\nnothing came on the console"
  return nil, table.concat(parts), code
end

return M
