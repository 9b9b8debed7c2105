-- A batch with something that is no payload raised in the middle of it, and left the stream corked.
local support = require "spec.support"

local run, pair = support.run, support.pair

describe("a batch that holds what is no payload", function()
  it("raises, names which one, and leaves the stream as it was", run(function()
    local near, far = pair { format = { type = 1, max = 100 } }
    local ok, message = pcall(near.write_frames, near, 1, { "whole", {} })
    assert.is_false(ok)
    assert.truthy(message:find("frame 2", 1, true))
    assert.has_error(function() near:write_frames({ 2, 999 }, { "also whole", "x" }) end)
    assert.is_true(near:write_frame(3, "next"))
    assert.equal(0, near:stats().buffered_out)
    local payloads, types = far:read_frames()
    assert.same({ "whole", "also whole", "next" }, payloads)
    assert.same({ 1, 2, 3 }, types)
  end))
end)
