-- A connect that is under way and then fails makes the socket writable: only SO_ERROR tells that it failed.
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

describe("a connect that fails later", function()
  it("returns the socket's error, not a stream", run(function()
    local listener = assert(vmctl.listen("tcp:127.0.0.1:0", { backlog = 0 }))
    local where = listener:address()
    local name
    repeat -- fill the backlog: further attempts get no answer
      name = code(vmctl.dial(where, { timeout = 0.05 }))
    until name
    assert.equal("ETIMEDOUT", name)
    local dialing = vmctl.spawn(function() return vmctl.dial(where, { timeout = 4 }) end)
    vmctl.yield()
    assert.equal("waiting", dialing:status())
    listener:close() -- the kernel's next attempt, a second after the first, is refused
    local s, message
    s, message, name = dialing:join()
    assert.is_nil(s)
    assert.equal("ECONNREFUSED", name)
    assert.truthy(message:find(tostring(where), 1, true))
    assert.equal("ECONNREFUSED", code(vmctl.dial(where)))
  end, 5))
end)
