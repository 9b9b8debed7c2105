-- An agent that is gone was still called ready, since a remembered revision was taken for an answer.
local assert = require "luassert"
local server = require "vmctl.exec.server"
local support = require "spec.support"
local vmctl = require "vmctl"

local code = support.code

-- A client whose agent is there as long as `far.alive`.
local function with_agent(fn)
  return support.run(function()
    vmctl.scope(function(scope)
      local far = { alive = true }
      local client = assert(vmctl.exec.client(function()
        local near, there = assert(vmctl.pair())
        if far.alive then vmctl.spawn_in(scope, server.converse, there, {}) else there:close() end
        return near
      end))
      fn(client, far)
    end)
  end)
end

describe("ready", function()
  it("is asked of the agent each time", with_agent(function(client, far)
    assert(client:ready(5))
    far.alive = false
    assert.equal("ETIMEDOUT", code(client:ready(0.2)))
    far.alive = true
    assert(client:ready(5))
  end))

  it("forgets the agent whose link was lost", with_agent(function(client, far)
    assert(client:ready(5))
    assert.equal("vmctl", client.revision)
    far.alive = false
    assert.equal("ERESET", code(client:run { "true" }))
    assert.is_nil(client.revision)
  end))
end)
