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

  it("gets its owner and its times by its descriptor, wherever its name has gone", support.run(function()
    local folder, who = support.tmpdir(), core.fs.identity()
    for _, root in ipairs { assert(core.fs.root(folder)), assert(fs.root(folder)) } do
      local file <close> = assert(root:open("/a", "wcx", 384))
      assert(root:rename("/a", "/b"))
      assert(file:chown(who == 0 and 7 or -1, who == 0 and 8 or -1))
      assert(file:chtimes(-5, -1, 250000000))
      local seen = assert(root:stat "/b")
      assert.same({ -1, -750000000 }, { seen.mtime, seen.changed })
      if who == 0 then assert.same({ 7, 8 }, { seen.uid, seen.gid }) end
      assert.equal("EOVERFLOW", support.code(file:chown(1 << 32, 0)))
      assert.equal("EOVERFLOW", support.code(file:chown(0, (1 << 32) - 1)))
      assert.has_error(function() file:chtimes(0, 0, 1000000000) end)
      assert(file:close())
      assert.equal("ECLOSED", support.code(file:chown(-1, -1)))
      assert.equal("ECLOSED", support.code(file:chtimes(0, 0)))
      assert(root:remove "/b")
    end
  end))

  it("is renamed within its folder and into another one, and to no name that is none", support.run(function()
    local folder = support.tmpdir()
    local root <close> = assert(core.fs.root(folder, true))
    assert(root:mkdir "/d")
    assert(root:mkdir "/e")
    assert(root:open("/d/a", "wcx")):close()
    assert(root:rename("/d/a", "/d/b"))
    assert(root:rename("/d/b", "/e/b"))
    for _, name in ipairs { "/e/.", "/e/..", "/e/" .. ("n"):rep(256) } do
      assert.is_nil(root:rename("/e/b", name))
    end
    assert.equal("EINVAL", support.code(root:rename("/e/b", "/e/..")))
    assert.equal("EINVAL", support.code(root:rename("/e/", "/e/f")))
    assert.same({ "b" }, (assert(root:list "/e")))
    assert.same({}, (assert(root:list "/d")))
  end))
end)
