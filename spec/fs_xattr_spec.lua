-- Extended attributes of a root's files.
local assert = require "luassert"
local child = require "spec.support.child"
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local support = require "spec.support"

local run, code = support.run, support.code
local IS_ROOT = core.fs.identity() == 0

-- A root with a file, a link to it and a folder; the same by workers, and without.
local function each_root(fn, strict)
  for _, module in ipairs { core.fs, fs } do
    local folder = support.tmpdir()
    assert(core.fs.replace(folder .. "/f", "x"))
    assert(core.fs.symlink("f", folder .. "/l"))
    assert(core.fs.mkdir(folder .. "/d"))
    local root <close> = assert(module.root(folder, strict))
    fn(root, folder)
  end
end

describe("vmctl.Root: extended attributes", function()
  it("are set, replaced and read with any bytes; there are none at first", run(function()
    each_root(function(root)
      for _, path in ipairs { "/", "/f", "/l", "/d" } do assert.same({}, root:xattrs(path)) end
      for path, value in pairs { ["/"] = "t", ["/f"] = "x\0y", ["/d"] = "" } do
        assert(root:set_xattr(path, "user.a", "before"))
        assert(root:set_xattr(path, "user.a", value))
        assert(root:set_xattr(path, "user.b=c", "2"))
        assert.same({ ["user.a"] = value, ["user.b=c"] = "2" }, root:xattrs(path))
      end
    end)
  end))

  it("of a link are its own, and not those of what it leads to", run(function()
    each_root(function(root)
      assert(root:set_xattr("/f", "user.a", "1"))
      assert.same({}, root:xattrs "/l")
      assert.equal("EPERM", code(root:set_xattr("/l", "user.a", "2"))) -- Linux has none of these on links
      if not IS_ROOT then return end
      assert(root:set_xattr("/l", "trusted.l", "3"))
      assert.same({ ["trusted.l"] = "3" }, root:xattrs "/l")
      assert.same({ ["user.a"] = "1" }, root:xattrs "/f")
    end)
  end))

  it("are none of a file that is not there, of a closed root, and of what is outside", run(function()
    each_root(function(root, folder)
      assert.equal("ENOENT", code(root:xattrs "/none"))
      assert.equal("ENOENT", code(root:set_xattr("/none", "user.a", "1")))
      assert.equal("ENOTSUP", code(root:set_xattr("/f", "nobody.a", "1")))
      assert(core.fs.symlink("/etc", folder .. "/out"))
      assert.equal("ENOENT", code(root:xattrs "/out/passwd"))
      root:close()
      assert.equal("ECLOSED", code(root:xattrs "/f"))
    end)
    each_root(function(root, folder)
      assert(core.fs.symlink("d", folder .. "/way"))
      assert.equal("ELOOP", code(root:xattrs "/way/x"))
    end, true)
  end))

  -- A file that seemed to have gone would be left out of a snapshot, unseen.
  it("without /proc are a failure of their own, and no file that has gone", run(function()
    if not os.execute "unshare -m umount -l /proc 2>/dev/null" then return end -- nobody but root can
    local script = 'print(select(3, require("vmctl.core").fs.root("/tmp"):xattrs "/"))'
    assert.equal("ENOSYS\n", child.output_of { "unshare", "-m", "sh", "-ec", 'umount -l /proc; exec "$@"', "sh", "lua5.4", "-e", script })
  end))

  it("have names without NUL bytes", run(function()
    local root <close> = assert(core.fs.root(support.tmpdir()))
    assert.equal("EINVAL", code(root:set_xattr("/", "user.a\0b", "1")))
    assert.equal("EINVAL", code(root:xattrs "/\0"))
  end))
end)

describe("vmctl.Root: a time", function()
  it("beyond 2262 has its nanoseconds", run(function()
    each_root(function(root)
      for _, seconds in ipairs { -631152000, 0, 7258118400, 13569465600 } do
        assert(root:chtimes("/f", 0, seconds, 500000000))
        local found = assert(root:stat "/f")
        assert.same({ seconds, 500000000 }, { found.mtime, found.nsec })
      end
    end)
  end))
end)
