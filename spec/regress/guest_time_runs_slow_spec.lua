-- The default machine's time ran at half speed under emulation: its kernel dropped the TSC for a timer that loses ticks.
local assert = require "luassert"
local guest = require "spec.support.guest"
local log = require "vmctl.log"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local SECONDS, TOLERANCE = 10, 0.02
local SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

describe("a guest's time", function()
  it("runs as its host's does", support.run(function()
    local vm <close> = guest.boot()
    -- What the guest says lies between two looks at our own clock.
    local function look()
      local before = vmctl.now()
      local uptime = tonumber(assert(vm:run { "cut", "-d ", "-f1", "/proc/uptime" }).stdout)
      return uptime, before, vmctl.now()
    end
    local load = assert(vm:start { "sh", "-c", "while :; do :; done" })
    local first, first_before, first_after = look()
    vmctl.sleep(SECONDS)
    local last, last_before, last_after = look()
    load:close()
    local passed = last - first
    assert.is_true(passed <= (last_after - first_before) * (1 + TOLERANCE), passed)
    assert.is_true(passed >= (last_before - first_after) * (1 - TOLERANCE), passed)
    assert.not_matches("jiffies", assert(vm:run { "cat", SOURCE }).stdout)
  end, LIMIT))

  it("is warned of by wait_ready, once, where its kernel has no good clock", support.run(function()
    local lines, write = {}, log.write
    log.write = function(text) lines[#lines + 1] = text end
    log.set_level "error"
    local ok, err = pcall(function()
      local vm <close> = guest.boot { append = "clocksource=refined-jiffies" }
      assert.matches("jiffies", assert(vm:run { "cat", SOURCE }).stdout)
      assert(vm:wait_ready(LIMIT))
    end)
    log.write = write
    log.set_level(os.getenv "VMCTL_LOG" or "off")
    assert(ok, err)
    local _, count = table.concat(lines):gsub("warning: its clock source is refined%-jiffies", "")
    assert.equal(1, count)
  end, LIMIT))
end)
