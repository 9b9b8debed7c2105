local core = require "vmctl.core"
local support = require "spec.support"

local encode, decode, code = core.base64_encode, core.base64_decode, support.code

-- RFC 4648, section 10
local vectors = {
  { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
  { "foobar", "Zm9vYmFy" },
}

local function bytes_of(length)
  local bytes = {}
  for i = 1, length do bytes[i] = string.char((i * 167 + length) & 255) end
  return table.concat(bytes)
end

describe("base64", function()
  for _, vector in ipairs(vectors) do
    it(("has '%s' for '%s'"):format(vector[2], vector[1]), function()
      assert.equal(vector[2], encode(vector[1]))
      assert.equal(vector[1], decode(vector[2]))
    end)
  end

  it("uses the standard alphabet", function()
    assert.equal("+/+/", encode "\xfb\xff\xbf")
    assert.equal("\xfb\xff\xbf", decode "+/+/")
  end)

  it("gives back all byte values, in texts of all lengths up to 300", function()
    for length = 0, 300 do
      local bytes = bytes_of(length)
      local text = encode(bytes)
      assert.equal((length + 2) // 3 * 4, #text)
      assert.equal(bytes, decode(text))
    end
  end)

  it("gives back a megabyte", function()
    local bytes = bytes_of(1024):rep(1024)
    assert.is_true(decode(encode(bytes)) == bytes)
  end)

  local bad = {
    { "a length that is no multiple of four", "Z", "Zg", "Zg=", "Zm9vY", "Zg===" },
    { "a character that is no digit", "Zm9!", "!m9v", "Zm9v\0AAA", "Zm\xc39v" .. "AAA", "Zm9vZm9*Zm9v" },
    { "the alphabet for URLs", "-_-_", "Zm9-" },
    { "white space and line breaks", "Zm9v\n", "Zm9v\r\n\r\n", " Zm9vYg=", "Zm 9" },
    { "padding in the middle", "Zg==Zg==", "Zm8=Zm9v", "Z=9v", "=m9v", "Zm=v" },
    { "padding alone", "====", "A===", "==" },
    { "bits that padding leaves over", "Zh==", "Zm9=", "/x==", "AB==" },
  }
  for _, case in ipairs(bad) do
    it("refuses " .. case[1], function()
      for i = 2, #case do assert.equal("EPROTO", code(decode(case[i])), case[i]) end
    end)
  end

  it("raises for what is no string", function()
    assert.has_error(function() encode(nil) end)
    assert.has_error(function() decode {} end)
  end)
end)
