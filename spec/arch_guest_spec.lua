-- Behaviour that depends on a guest's architecture: this machine's own, or the one of VMCTL_GUEST_ARCH (make test-arm64).
local assert = require "luassert"
local guest = require "spec.support.guest"
local platform = require "vmctl.machine.platform"
local support = require "spec.support"
local version = require "vmctl.base.version"

local GOOD_CLOCKS = { x86_64 = { tsc = true, ["kvm-clock"] = true }, aarch64 = { arch_sys_counter = true } }

describe("a guest of an architecture", function()
  it("runs on it, with a good clock, an agent of this version and numbers of 64 bits", support.run(function()
    local arch = guest.arch or platform.native()
    local vm <close> = guest.boot()
    local function output(command) return assert(vm:run(command)).stdout end
    assert.equal(arch .. "\n", output { "uname", "-m", check = true })
    local clock
    for _ = 1, 300 do -- "tsc-early" goes when the kernel has measured it again, a second or more after the boot
      clock = output { "cat", "/sys/devices/system/clocksource/clocksource0/current_clocksource", check = true }:match "%S+"
      if clock ~= "tsc-early" then break end
      output { "sleep", "0.1", check = true }
    end
    assert.is_true(GOOD_CLOCKS[arch][clock], clock)
    assert.equal("vmctl-agent " .. version .. "\n", output { guest.agent_inside, "--version", check = true })
    local record = assert(vm:run { "sh", "-c", "kill -SEGV $$" })
    assert.equal("SEGV", record.signal)
    assert(vm:run { "truncate", "-s", "5000000001", "/tmp/large", check = true })
    local found
    for _, file in ipairs(assert(vm:list_files "/tmp")) do
      if file.name == "large" then found = file.size end
    end
    assert.equal(5000000001, found)
    local bytes = ("\0\1\127\255abc"):rep(20000)
    assert(vm:write_file("/tmp/bytes", bytes))
    assert.is_true(bytes == vm:read_file "/tmp/bytes")
    assert(vm:shutdown())
  end, 600))
end)
