-- The second of two reboots in a row was taken for the firmware's part of the first, where the guest had booted in less than three
-- seconds: its epoch stayed, and calls into it ended as lost.
local assert = require "luassert"
local epoch = require "vmctl.machine.epoch"

local function reset_at(seconds) return { data = { guest = true }, timestamp = { seconds = seconds, microseconds = 0 } } end

describe("a reset soon after another", function()
  local answered
  local clients = { drop = function() answered = false end, answers = function() return answered end }

  it("is one of firmware where no agent has answered between them, else a reboot", function()
    local epochs = epoch.new(clients)
    epochs:on_reset(reset_at(10))
    epochs:on_reset(reset_at(11))
    assert.equal(2, epochs.number)
    answered = true
    epochs:on_reset(reset_at(12))
    assert.equal(3, epochs.number)
    epochs:on_reset(reset_at(12))
    assert.equal(3, epochs.number)
    epochs:on_reset(reset_at(16))
    assert.equal(4, epochs.number)
  end)
end)
