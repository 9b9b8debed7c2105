-- A microvm's kernel on a busy host sometimes switched off the only timer that it had, and halted for ever: eight guests booted, and one
-- gave no answer. Here it is told to be without. Takes about 15 seconds.
local assert = require "luassert"
local guest = require "spec.support.guest"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120

describe("a guest whose kernel has no timer", function()
  it("is reset while its agent is waited for", support.run(function()
    local vm <close> = assert(guest.launch { append = "nolapic_timer" })
    if vm.accel ~= "tcg" or vm.command[3]:sub(1, 7) ~= "microvm" then return end -- others have more timers
    local news = vmctl.channel(4)
    vm:on_epoch(function(_, why) news:send(why) end)
    local first = vmctl.race {
      function() return news:recv(LIMIT) end,
      function() return (vm:wait_ready(LIMIT)) end,
    }
    assert.equal("reset", first)
  end, LIMIT))
end)
