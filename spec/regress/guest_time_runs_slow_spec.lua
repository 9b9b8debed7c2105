-- The default machine's time ran at half speed under emulation: its kernel dropped the TSC for a timer that loses ticks.
-- VMCTL_BOOTS says in how many boots in a row it must be right, beside a busy host then (`make test-boots`).
local assert = require "luassert"
local guest = require "spec.support.guest"
local log = require "vmctl.log"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local BOOTS = math.tointeger(tonumber(os.getenv "VMCTL_BOOTS")) or 1
local SECONDS, TOLERANCE = BOOTS > 1 and 15 or 4, 0.02
local SOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

-- Keeps every processor of this host busy until it is closed.
local function busy_host()
  local loops = {}
  for i = 1, BOOTS > 1 and tonumber((io.popen "nproc":read "l")) or 0 do
    loops[i] = assert(vmctl.process.spawn { "sh", "-c", "while :; do :; done", death_signal = "KILL" })
  end
  return setmetatable({}, { __close = function()
    for _, each in ipairs(loops) do each:close() end
  end })
end

-- Measures some seconds: those that the guest's clock counts, the least and the most that passed here, and that clock's source.
local function compare_clocks()
  local vm <close> = guest.boot()
  local function look() -- what the guest says lies between two looks at our own clock
    local before = vmctl.now()
    local uptime = tonumber(assert(vm:run { "cut", "-d ", "-f1", "/proc/uptime" }).stdout)
    return uptime, before, vmctl.now()
  end
  local load = assert(vm:start { "sh", "-c", "while :; do :; done" })
  local first, first_before, first_after = look()
  vmctl.sleep(SECONDS)
  local last, last_before, last_after = look()
  load:close()
  return last - first, last_before - first_after, last_after - first_before, assert(vm:run { "cat", SOURCE }).stdout
end

describe("a guest's time", function()
  it("runs as its host's does", support.run(function()
    local load <close> = busy_host() -- luacheck: ignore
    for i = 1, BOOTS do
      local passed, least, most, source = compare_clocks()
      if BOOTS > 1 then print(("# boot %d: %.2f s in %.2f to %.2f s, by %s"):format(i, passed, least, most, source:sub(1, -2))) end
      assert.is_true(passed <= most * (1 + TOLERANCE), passed)
      assert.is_true(passed >= least * (1 - TOLERANCE), passed)
      assert.not_matches("jiffies", source)
    end
  end, LIMIT * BOOTS))

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
