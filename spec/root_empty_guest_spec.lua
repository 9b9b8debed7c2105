-- A guest whose root is an empty file system: nothing but the agent runs in it, on any architecture. Takes about 15 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local roots = require "spec.support.roots"
local support = require "spec.support"

local BOOT = guest.arch and 240 or 60

describe("a guest with an empty root", function()
  local folder

  local function boot(root, writes)
    local vm = assert(roots.launch(folder, { root = root, writes = writes, init = "agent" }))
    local ready, err = vm:wait_ready(BOOT)
    if ready then return vm end
    vm:close()
    error(err, 2)
  end

  it("has a file system that forgets what is written", support.run(function()
    folder = support.tmpdir()
    local vm <close> = boot { size = "64M" }
    assert(vm:list_files "/lost+found") -- which is ext4's alone
    assert(vm:write_file("/file", "gone"))
    assert(vm:shutdown())
    local again <close> = boot { size = "64M" }
    assert.is_nil(again:read_file "/file")
    assert(again:shutdown())
  end, 2 * BOOT))

  it("keeps what is written when told to, in a file of the size that it is given", support.run(function()
    folder = support.tmpdir()
    local root = { size = "64M", keep = folder .. "/kept.ext4" }
    local vm <close> = boot(root, "keep")
    assert(vm:write_file("/file", "kept"))
    assert(vm:shutdown())
    assert.equal(64 << 20, assert(core.fs.stat(root.keep)).size)
    local again <close> = boot(root, "keep")
    assert.equal("kept", again:read_file "/file")
    assert(again:shutdown())
  end, 2 * BOOT))

  it("is refused a size that is none", support.run(function()
    folder = support.tmpdir()
    for _, size in ipairs { "0", "4X", "100000T", -1 } do
      assert.equal("EINVAL", support.code(roots.launch(folder, { root = { size = size } })), size)
    end
    assert.equal("EINVAL", support.code(roots.launch(folder, { root = {} })))
  end, BOOT))
end)
