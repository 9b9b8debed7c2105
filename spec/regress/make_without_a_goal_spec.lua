-- `make` alone built one object, because a rule for it stood before the one for everything.
local assert = require "luassert"

describe("make without a goal", function()
  it("builds what `make all` does", function()
    local pipe <close> = assert(io.popen "make -rpn help 2>/dev/null")
    assert.equal("all", pipe:read "a":match "%.DEFAULT_GOAL := (%S+)")
  end)
end)
