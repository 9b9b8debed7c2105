-- Extended attributes in copies, through the tar of an agent on this machine.
local assert = require "luassert"
local copies = require "spec.support.copies"
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local support = require "spec.support"
local vmctl = require "vmctl"

local sh, run = copies.sh, support.run
local LIMIT = 60
local IS_ROOT = core.fs.identity() == 0
local CAPABILITY = ("<I4I4I4I4I4"):pack(0x02000001, 1 << 13, 0, 0, 0)
local ACL = ("<I4"):pack(2) .. ("<I2I2I4"):pack(1, 6, 0xffffffff) .. ("<I2I2I4"):pack(2, 4, 1000) .. ("<I2I2I4"):pack(4, 4, 0xffffffff)
  .. ("<I2I2I4"):pack(16, 4, 0xffffffff) .. ("<I2I2I4"):pack(32, 0, 0xffffffff)

-- A tree whose files have attributes; those of a path, by their names, come from `of`.
local function plant(folder)
  sh([[mkdir -p "$1/t/d"; cd "$1/t"; echo one >one; ln one two; ln -s one link; echo three >d/three; touch -d "1950-01-01 UTC" d]], folder)
  local root <close> = assert(fs.root(folder .. "/t"))
  assert(root:set_xattr("/", "user.top", "t"))
  assert(root:set_xattr("/one", "user.a=b%", "x\0y\n"))
  assert(root:set_xattr("/d", "user.d", ""))
  assert(root:set_xattr("/d/three", "system.posix_acl_access", ACL))
  assert(root:set_xattr("/d", "system.posix_acl_default", ACL))
  if not IS_ROOT then return end
  assert(root:set_xattr("/d/three", "security.capability", CAPABILITY))
  assert(root:set_xattr("/d/three", "trusted.t", "t"))
end

local function of(folder, path)
  local root <close> = assert(fs.root(folder))
  return assert(root:xattrs(path))
end

local function check(folder, with_privileges)
  assert.same({ ["user.top"] = "t" }, of(folder, "/"))
  assert.same({ ["user.a=b%"] = "x\0y\n" }, of(folder, "/one"))
  assert.same(of(folder, "/one"), of(folder, "/two"))
  assert.same({}, of(folder, "/link"))
  local three = of(folder, "/d/three")
  assert.same({ ["user.d"] = "", ["system.posix_acl_default"] = with_privileges ~= nil and ACL or nil }, of(folder, "/d"))
  assert.same({ ["security.capability"] = IS_ROOT and with_privileges and CAPABILITY or nil,
    ["system.posix_acl_access"] = with_privileges ~= nil and ACL or nil }, three)
  assert.equal(-631152000, core.fs.stat(folder .. "/d").mtime)
end

describe("extended attributes in a copy", function()
  it("are kept when they are asked for: of a push all that mean something there, of a pull those of users", run(function()
    copies.with_agent({}, function(client, folder)
      plant(folder)
      assert(vmctl.files.push(client, folder .. "/t", folder .. "/new/u", { xattrs = true }))
      check(folder .. "/new/u", true)
      assert(vmctl.files.push(client, folder .. "/t", folder .. "/new/u", { xattrs = true, exact = true })) -- onto what is there
      check(folder .. "/new/u", true)
      assert(vmctl.files.push(client, folder .. "/t", folder .. "/new/v", { xattrs = true, owner = "target" }))
      check(folder .. "/new/v", false)
      assert(vmctl.files.pull(client, folder .. "/t", folder .. "/other/w", { xattrs = true }))
      check(folder .. "/other/w", nil)
      assert(vmctl.files.push(client, folder .. "/t/link", folder .. "/single", { xattrs = true })) -- the file that it leads to
      assert.same({ ["user.a=b%"] = "x\0y\n" }, of(folder, "/single"))
    end)
  end, LIMIT))

  it("are left out otherwise", run(function()
    copies.with_agent({}, function(client, folder)
      plant(folder)
      assert(vmctl.files.push(client, folder .. "/t", folder .. "/u"))
      assert(vmctl.files.pull(client, folder .. "/t", folder .. "/v"))
      for _, name in ipairs { "/u", "/v" } do assert.same({}, of(folder .. name, "/one")) end
    end)
  end, LIMIT))

  it("are refused where the guest's tar or its helper has none, and nothing is copied", run(function()
    copies.with_agent("busybox", function(client, folder)
      plant(folder)
      assert.equal("ENOTSUP", support.code(vmctl.files.push(client, folder .. "/t", folder .. "/u", { xattrs = true })))
      local ok, err = vmctl.files.pull(client, folder .. "/t", folder .. "/v", { xattrs = true })
      assert.is_nil(ok)
      assert.matches("this tar has no extended attributes", err)
      for _, name in ipairs { "/u", "/v" } do assert.is_nil(core.fs.stat(folder .. name)) end
    end)
  end, LIMIT))

  it("fail a push that the guest's file system cannot keep, before anything is in its place", run(function()
    -- A tar that says of each attribute what GNU tar says where it cannot set it, and goes on.
    local says = [[case $1 in --xattrs) shift; echo "tar: setxattr: Cannot set 'user.x' extended attribute for file 'f'" >&2;; esac
      case $1 in --version) echo GNU;; *) PATH=/usr/bin:/bin exec tar "$@";; esac]]
    copies.with_agent({ tar = says }, function(client, folder)
      plant(folder)
      local ok, err, code = vmctl.files.push(client, folder .. "/t", folder .. "/u", { xattrs = true })
      assert.is_nil(ok)
      assert.equal("EREMOTE", code)
      assert.matches("Cannot set 'user.x' extended attribute", err)
      assert.is_nil(core.fs.stat(folder .. "/u"))
    end)
  end, LIMIT))
end)
