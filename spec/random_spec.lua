local assert = require "luassert"
local random = require "vmctl.base.random"

describe("vmctl.base.random", function()
  it("gives as many bytes as were asked for, others each time", function()
    for _, count in ipairs { 1, 16, 5000 } do assert.equal(count, #random.bytes(count)) end
    assert.not_equal(random.bytes(16), random.bytes(16))
  end)

  it("returns EIO where there is no source of them", function()
    local open = io.open
    io.open = function(path) return nil, path .. ": No such file or directory", 2 end -- luacheck: ignore
    local bytes, err, code = random.bytes(16)
    io.open = open -- luacheck: ignore
    assert.is_nil(bytes)
    assert.equal("no random bytes: /dev/urandom: No such file or directory", err)
    assert.equal("EIO", code)
  end)
end)
