-- core.fs: a near root makes its calls at once, and leaves to a worker what may wait.
local assert = require "luassert"
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local support = require "spec.support"

local code = support.code

local function near_root(folder)
  local root <close> = assert(core.fs.root(folder))
  return assert(root:near())
end

describe("a near root", function()
  it("does what its root does", support.run(function()
    local near <close> = near_root(support.tmpdir())
    local file <close> = assert(near:open("a", "wcx"))
    assert(file:write "hi")
    assert.equal(2, assert(near:stat "a").size)
    assert.same({ "a" }, (assert(near:list "/")))
    assert(near:rename("a", "b"))
    assert.equal("ENOENT", code(near:stat "a"))
    assert.equal("EEXIST", code(near:open("b", "wcx")))
  end))

  it("opens no FIFO", support.run(function()
    local folder = support.tmpdir()
    local near <close> = near_root(folder)
    assert(os.execute("mkfifo " .. folder .. "/f"))
    assert.equal("fifo", assert(near:stat "f").type)
    assert.equal("EXDEV", code(near:open("f", "r")))
  end))

  it("enters no other file system", support.run(function()
    local root <close> = assert(core.fs.root "/")
    local near <close> = root:near()
    if not near then return pending "/ is on no local file system here" end
    assert.equal("EXDEV", code(near:stat "proc/self/status"))
    assert.equal("EXDEV", code(near:list "proc"))
    assert.equal("EXDEV", code(near:open("proc/uptime", "r")))
  end))

  it("is not to be had on a file system that may hang", support.run(function()
    local root <close> = assert(core.fs.root "/proc")
    assert.equal("EXDEV", code(root:near()))
  end))

  it("makes no difference to who uses vmctl.base.fs", support.run(function()
    local root <close> = assert(fs.root "/")
    local file <close> = assert(root:open("/proc/uptime", "r"))
    assert.matches("^%d+%.%d+ ", assert(file:read(64)))
    assert.equal("ENOENT", code(root:stat "/proc/none"))
  end))
end)
