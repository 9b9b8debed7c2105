--- Guests that lose their only timer. The kernel of an emulated microvm measures its APIC's timer against the TSC at boot; a busy host
--- that stops it for a tenth of a second right then makes it count nearly nothing: "APIC frequency too slow, disabling apic timer". It has
--- no other timer, and halts for ever at its first pause. No option of its command line prevents that, so such a guest is recognised by
--- the state of its APIC, and reset: it has not done anything yet.
local core = require "vmctl.core"
local log = require "vmctl.log"

local M = {}

local FIRST, PAUSE = 8, 4 -- seconds until the first look, and between two
local RESET, MOST = 10, 3 -- seconds for a reset, and how many of them
-- The timer's register while it is measured, and from then on if it was switched off: 0xffffffff divided by 16.
local LEFT = "initial_count = 268435455"

local function say(control, command)
  local text = control:execute("human-monitor-command", { ["command-line"] = command }, RESET)
  return type(text) == "string" and text or ""
end

-- The timer was switched off after it was measured, or never set up: a kernel that still has to set it up does not halt.
local function is_lost(control)
  local apic = say(control, "info lapic")
  local line = apic:match "LVTT%s[^\n]*" or ""
  return line:find("masked", 1, true) ~= nil and (apic:find(LEFT, 1, true) or line:find("(vec 0)", 1, true)) ~= nil
    and say(control, "info registers"):find("HLT=1", 1, true) ~= nil
end

--- Resets a guest that has lost its timer, up to three times, until its agent has answered or the task is cancelled. Waits.
---@param control vmctl.Control
---@param clients vmctl.AgentClients
function M.watch(control, clients)
  local before, resets = false, 0
  local ok = core.sleep(FIRST)
  while ok and resets < MOST and not clients:answers() do
    local lost = is_lost(control)
    if lost and before then
      log.error("%s: its kernel has lost its timer, because this machine was busy: it starts again", control:name())
      control:reset { timeout = RESET }
      resets = resets + 1
      lost = false
    end
    before = lost
    ok = core.sleep(PAUSE)
  end
end

return M
