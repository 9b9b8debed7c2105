-- A command that a real-time signal ends has a result like any other: the link to its agent is not lost.
local assert = require "luassert"
local agent = require "spec.support.agent"
local signals = require "vmctl.signals"
local support = require "spec.support"

describe("a command that a real-time signal ends", function()
  for number = 1, 64 do
    local stops = { [17] = true, [18] = true, [19] = true, [20] = true, [21] = true, [22] = true, [23] = true, [28] = true }
    if not stops[number] then
      it(("says so: %d"):format(number), support.run(function()
        agent.serve(function(client)
          local result = assert(client:run { "sh", "-c", ("kill -%d $$; sleep 30"):format(number) })
          assert.equal(signals.name(number), result.signal)
          assert.is_nil(result.exit_code)
        end)
      end))
    end
  end
end)
