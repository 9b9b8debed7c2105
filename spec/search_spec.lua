-- Patterns of users, searched for in bytes of a guest.
local assert = require "luassert"
local search = require "vmctl.text.search"

describe("vmctl.text.search", function()
  it("finds what string.find finds, wherever it is", function()
    for _, at in ipairs { 0, 1, 2000, 2047, 2048, 4000, 4090, 4095, 4096, 6000, 9000, 20000 } do
      local text = ("-"):rep(at) .. "web login: \nnext" .. ("."):rep(5000)
      for _, pattern in ipairs { "%w+ login:", "login", "%f[%w]web%f[%W]", "(w)(e)b", "n.-t", "log.n: \nne", "[^-.]+" } do
        assert.equal(text:sub(text:find(pattern)), (search.find(text, pattern)), pattern)
      end
      assert.is_nil((search.find(text, "%f[%w]eb")))
      assert.is_nil((search.find(text, "never%d")))
    end
  end)

  it("takes an end of the pattern for the end of the text", function()
    local text = ("x\n"):rep(10000) .. "login: "
    assert.equal("login: ", (search.find(text, "login: $")))
    assert.is_nil((search.find(text .. "y", "login: $")))
    assert.is_nil((search.find(text, "x\n$")))
    assert.equal("a$", (search.find("a$b", "a%$")))
    assert.equal("%", (search.find("a%", "%%$")))
  end)

  it("takes a beginning of the pattern for the beginning of the text", function()
    assert.equal("ab", (search.find("abc", "^ab")))
    assert.is_nil((search.find(("x"):rep(10000) .. "ab", "^ab")))
    assert.equal("abc", (search.find("abc", "^abc$")))
    assert.is_nil((search.find("abc" .. ("x"):rep(10000), "^abc$")))
  end)

  it("goes on where it has looked, when more text comes", function()
    local text, from = "", 1
    local found
    for i = 1, 20000 do
      text = text .. (i == 15000 and "needle 7" or "hay ")
      if i % 500 == 0 and not found then
        local match, next_at = search.find(text, "n%l+ %d", from)
        found = match
        assert.is_true(next_at >= from)
        assert.is_true(found ~= nil or next_at >= #text - search.MATCH)
        from = next_at
      end
    end
    assert.equal("needle 7", found)
  end)
end)
