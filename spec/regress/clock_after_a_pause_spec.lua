-- A guest that had been paused, saved or restored had a clock that was late, and copies of one snapshot drew the same random
-- numbers.
local assert = require "luassert"
local core = require "vmctl.core"
local support = require "spec.support"
local template = require "spec.support.template"
local vmctl = require "vmctl"

local LIMIT = 120
local LATE = 3  -- seconds
local HOUR = 3600

describe("a guest that stood still", function()
  local vm

  lazy_setup(function() vm = template.start() end)

  lazy_teardown(function()
    if vm then vm:close() end
  end)

  it("has the right time again, and random numbers of its own", support.run(function()
    local function off() return tonumber(assert(vm:run { "date", "+%s" }).stdout) - os.time() end
    assert.is_true(math.abs(off()) <= 1, off())
    assert(vm:pause())
    vmctl.sleep(LATE)
    assert(vm:resume())
    assert.is_true(math.abs(off()) <= 1, off())
    assert(vm:snapshot "one")
    vmctl.sleep(LATE)
    local seen = {}
    for _ = 1, 2 do
      assert(vm:restore "one")
      local uuid = assert(vm:run { "cat", "/proc/sys/kernel/random/uuid" }).stdout
      assert.is_nil(seen[uuid])
      seen[uuid] = true
      assert.is_true(math.abs(off()) <= 1, off())
    end
  end, LIMIT))

  it("has its clock set after this host's clock has jumped, as a suspension makes it do", support.run(function()
    assert(vm:sync_clock())
    local real = core.unix_time
    core.unix_time = function() return real() + HOUR * 1000000000 end
    local ok, err = pcall(support.eventually, function()
      local off = tonumber(assert(vm:run { "date", "+%s" }).stdout) - os.time() -- this command, or the one before, notices it
      return math.abs(off - HOUR) <= 2
    end)
    core.unix_time = real
    assert.is_true(ok, err)
    assert.is_true(math.abs(assert(vm:sync_clock()) - HOUR) <= 2)
  end, LIMIT))

  it("has its clock set when that is asked for, and says by how much it was off", support.run(function()
    assert(vm:run { "date", "-s", "2001-02-03 04:05:06", check = true })
    assert.is_true(assert(vm:sync_clock()) < -600000000)
    assert.is_true(math.abs(assert(vm:sync_clock())) < 1)
  end, LIMIT))
end)
