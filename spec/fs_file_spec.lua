-- A file of a root: reading with a count in front of the bytes.
local assert = require "luassert"
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local support = require "spec.support"

describe("a file of a root", function()
  it("is read with the number of its bytes in front of them, as string.pack writes it", support.run(function()
    local folder = support.tmpdir()
    local bytes = ("0123456789"):rep(30000)
    assert(core.fs.replace(folder .. "/file", bytes))
    for _, root in ipairs { assert(core.fs.root(folder)), assert(fs.root(folder)) } do
      local file <close> = assert(root:open("/file", "r"))
      assert.is_true(file:read_counted(70000) == (">I1s4"):pack(0, bytes:sub(1, 70000)))
      assert.is_true(file:read_counted(1 << 20) == (">I1s4"):pack(0, bytes:sub(70001)))
      assert.equal("\0\0\0\0\0", file:read_counted(10))
      assert.has_error(function() file:read_counted(-1) end)
      local writer <close> = assert(root:open("/new", "wcx", 384))
      assert.equal("EBADF", support.code(writer:read_counted(1)))
      assert(os.remove(folder .. "/new"))
    end
  end))
end)
