local core = require "vmctl.core"

describe("core.sha256", function()
  local known = { -- FIPS 180-4's examples, and lengths around a block's end
    [""] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq = "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    [("a"):rep(1000000)] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
  }
  for text, hex in pairs(known) do
    it(("gives the standard's digest of %d bytes"):format(#text), function()
      assert.equal(hex, core.sha256(text):hex())
      assert.equal(hex, (core.sha256(text):digest():gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
    end)
  end

  it("does not care in which pieces the bytes come", function()
    local text = ("0123456789abcdef"):rep(20)
    for length = 0, 130 do
      local whole = core.sha256(text:sub(1, length)):hex()
      for _, step in ipairs { 1, 7, 63, 64, 65 } do
        local hash = core.sha256()
        for at = 1, length, step do hash:update(text:sub(at, math.min(at + step - 1, length))) end
        assert.equal(whole, hash:hex())
      end
    end
  end)

  it("gives the same of many bytes, for which it may have the processor's own instructions, and of few at a time", function()
    local bytes = {}
    for i = 1, 1 << 16 do bytes[i] = string.char((i * 40503 >> 5) % 256) end
    local text = table.concat(bytes)
    for _, length in ipairs { 65536, 65537, 65599, 65600, 130000, 196608 } do
      local long = text:rep(3):sub(1, length)
      local few = core.sha256()
      for at = 1, length, 32768 do few:update(long:sub(at, math.min(at + 32767, length))) end
      assert.equal(few:hex(), core.sha256(long):hex())
      assert.equal(few:update(long):hex(), core.sha256(long):update(long):hex())
    end
  end)

  it("goes on after a digest", function()
    local hash = core.sha256 "a"
    local first = hash:hex()
    assert.equal(first, hash:hex())
    assert.equal(core.sha256("abc"):hex(), hash:update("b"):update("c"):hex())
  end)

  it("agrees with sha256sum on arbitrary bytes", function()
    local path = os.tmpname()
    local bytes = {}
    for i = 1, 5000 do bytes[i] = string.char((i * 7919) % 256) end
    local file = assert(io.open(path, "wb"))
    file:write(table.concat(bytes)):close()
    local pipe = assert(io.popen("sha256sum " .. path))
    assert.equal(pipe:read(64), core.sha256(table.concat(bytes)):hex())
    pipe:close()
    os.remove(path)
  end)
end)
