-- mount in a guest: the rules, and what is mounted when, with a kernel that only takes notes. guest_mount_spec.lua mounts.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest_root"
local mounts = require "vmctl.guest.mounts"
local support = require "spec.support"

local code, fs, run = support.code, core.fs, support.run
local done, refused = guest.assert_done, guest.assert_refused

-- A kernel: what it has mounted, as text of mountinfo, and all that it was told.
local function kernel()
  local self = { text = "", said = {}, fails = {} }
  local function fail(what)
    local name = table.remove(self.fails[what] or {}, 1)
    if name then return nil, what .. ": fails", name end
  end
  function self.mount(source, target, kind, flags, data)
    table.insert(self.said, table.concat({ "mount", source, target, kind, flags, data }, " "))
    local _, err, name = fail "mount"
    if err then return nil, err, name end
    local ro = flags:find "ro," and "ro" or "rw"
    self.text = self.text .. ("40 1 0:40 / %s %s,nosuid - %s %s %s\n"):format(target:gsub(" ", "\\040"), ro, kind, source, ro)
    return true
  end
  function self.unmount(target, lazy)
    table.insert(self.said, "unmount " .. target .. (lazy and " lazy" or ""))
    local _, err, name = fail "unmount"
    if err then return nil, err, name end
    return true
  end
  function self.mountinfo() return self.text end
  function self.load(kind)
    table.insert(self.said, "load " .. kind)
    return self.loads
  end
  return self
end

local function make()
  local system = kernel()
  local root = guest.make()
  return mounts.new { root = root, system = system }, system, root
end

local function share(path, tag, kind, read_only)
  return { tag = tag or "share0", guest_path = path, fs_type = kind or "9p", read_only = read_only or false }
end

describe("the path of a mount", function()
  it("is absolute and below nothing that is the system's", function()
    local fit = {
      ["/mnt"] = "/mnt", ["/mnt/a/"] = "/mnt/a", ["//mnt//a"] = "/mnt/a", ["/./mnt/."] = "/mnt", ["/home/a b"] = "/home/a b",
      ["/etcetera"] = "/etcetera", ["/runner"] = "/runner", ["/a/etc"] = "/a/etc", ["/..."] = "/...", ["/usr/bin"] = "/usr/bin",
    }
    for path, plain in pairs(fit) do assert.equal(plain, mounts.check_path(path)) end
    for _, path in ipairs { "", "mnt", "./mnt", "/mnt/../etc", "/..", "/mnt/..", "/a\0b", "/a\nb", "/" .. ("x"):rep(5000) } do
      assert.equal("EINVAL", code(mounts.check_path(path)), path)
    end
    for _, path in ipairs { "/", "//", "/.", "/./" } do assert.equal("EACCES", code(mounts.check_path(path)), path) end
    for _, top in ipairs { "nix", "etc", "bin", "boot", "dev", "proc", "sys", "run" } do
      for _, form in ipairs { "/%s", "/%s/", "//%s/x", "/./%s/x/y", "/%s//x" } do
        assert.equal("EACCES", code(mounts.check_path(form:format(top))), form:format(top))
      end
    end
  end)
end)

describe("mountinfo", function()
  it("is understood, with optional fields and escapes", function()
    local text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
      .. "37 35 0:40 / /a\\040b\\134c ro,nosuid shared:1 master:2 - virtiofs my\\040tag ro\n"
      .. "38 35 0:41 / /c rw - 9p  rw\n"
    assert.same({
      { path = "/mnt2", type = "ext3", source = "/dev/root", read_only = false },
      { path = "/a b\\c", type = "virtiofs", source = "my tag", read_only = true },
      { path = "/c", type = "9p", source = "", read_only = false },
    }, mounts.parse(text))
    assert.is_true(#mounts.parse(guest.content "/proc/self/mountinfo") > 0)
  end)
end)

describe("mount", function()
  it("mounts either type, without devices and set-user-id programs", run(function()
    local m, system, root = make()
    done(true, m:mount(share "/mnt/a"))
    done(true, m:mount(share("/mnt/b", "share1", "virtiofs", true)))
    assert.same({
      ("mount share0 %s/mnt/a 9p nosuid,nodev trans=virtio,version=9p2000.L"):format(root),
      ("mount share1 %s/mnt/b virtiofs ro,nosuid,nodev"):format(root),
    }, system.said)
  end))

  it("gives what it has mounted to the user agent where there is one", run(function()
    local m, system, root = make()
    local mount, owner_before = system.mount, nil
    system.mount = function(source, target, ...)
      owner_before = fs.stat(target).uid
      return mount(source, target, ...)
    end
    done(true, m:mount(share "/workspace/deep/er"))
    assert.equal(fs.identity(), owner_before) -- what is chowned is the share
    local above, folder = fs.stat(root .. "/workspace/deep"), fs.stat(root .. "/workspace/deep/er")
    assert.same({ 493, guest.UID, guest.GID }, { folder.mode, folder.uid, folder.gid })
    assert.same({ 493, (fs.identity()) }, { above.mode, above.uid })
    assert(os.remove(root .. "/etc/passwd"))
    done(true, m:mount(share "/other"))
    assert.equal(fs.identity(), fs.stat(root .. "/other").uid)
  end))

  it("mounts once what is asked for twice", run(function()
    local m, system = make()
    done(true, m:mount(share "/mnt/a b"))
    done(false, m:mount(share "/mnt/a b"))
    done(false, m:mount(share "//mnt/./a b/"))
    assert.equal(1, #system.said)
  end))

  it("does not put one share over another", run(function()
    local m, system = make()
    done(true, m:mount(share "/mnt/a"))
    local others = { share("/mnt/a", "share1"), share("/mnt/a", nil, "virtiofs"), share("/mnt/a", nil, nil, true) }
    for _, other in ipairs(others) do
      refused("EBUSY", "9p 'share0'", m:mount(other))
    end
    assert.equal(1, #system.said)
  end))

  it("refuses other types, tags that are none, and forbidden paths, before anything is made", run(function()
    local m, system, root = make()
    refused("EINVAL", "fs_type", m:mount(share("/mnt", "a", "ext4")))
    refused("EINVAL", "fs_type", m:mount(share("/mnt", "a", "")))
    for _, tag in ipairs { "", "a\0b", "a\nb", ("x"):rep(256) } do refused("EINVAL", "tag", m:mount(share("/mnt", tag))) end
    refused("EACCES", "/etc", m:mount(share "/etc/x"))
    refused("EINVAL", "absolute", m:mount(share "mnt"))
    assert.same({}, system.said)
    assert.is_nil(fs.stat(root .. "/mnt"))
  end))

  it("applies its rules to what links lead to", run(function()
    local m, system, root = make()
    assert(fs.symlink("etc", root .. "/harmless"))
    assert(fs.symlink("/etc", root .. "/outside"))
    assert(fs.symlink("gone", root .. "/broken"))
    assert(fs.symlink("home", root .. "/users"))
    refused("EACCES", "/etc", m:mount(share "/harmless/x"))
    refused("EACCES", "root folder", m:mount(share "/outside/x"))
    refused("ENOENT", "/broken", m:mount(share "/broken"))
    done(true, m:mount(share "/users/x"))
    assert.matches("/home/x 9p", system.said[1])
  end))

  it("loads the kernel's module when that is missing, once", run(function()
    local m, system = make()
    system.fails.mount, system.loads = { "ENODEV" }, true
    done(true, m:mount(share "/mnt"))
    assert.equal("load 9p", system.said[2])
    assert.equal(3, #system.said)
    m, system = make()
    system.fails.mount = { "ENODEV" }
    refused("ENODEV", "no virtiofs", m:mount(share("/mnt", nil, "virtiofs")))
  end))

  it("says that the host shares nothing of that name, and forgets what failed", run(function()
    local m, system = make()
    system.fails.mount = { "ENOENT" }
    refused("ENOENT", "shares nothing with this tag", m:mount(share "/mnt"))
    m:unmount_all()
    assert.equal(1, #system.said)
  end))

  it("takes all off at the end, the last one first, by force where it must", run(function()
    local m, system, root = make()
    done(true, m:mount(share "/a"))
    done(true, m:mount(share "/a/b"))
    done(false, m:mount(share "/a"))
    system.said, system.fails.unmount = {}, { "EBUSY" }
    m:unmount_all()
    m:unmount_all()
    assert.same({ ("unmount %s/a/b"):format(root), ("unmount %s/a/b lazy"):format(root), ("unmount %s/a"):format(root) },
      system.said)
  end))
end)

describe("fs.mount", function()
  it("mounts onto a path without links only", run(function()
    local tried = guest.in_namespace(([[
      local fs = require "vmctl.core".fs
      local root = assert(fs.real(%q))
      assert(fs.mkdir(root .. "/a"))
      assert(fs.mkdir(root .. "/a/b"))
      assert(fs.symlink("a", root .. "/link"))
      for _, path in ipairs { "/link", "/link/b", "/a/../a", "/a/", "/none" } do
        local ok, _, code = fs.mount("tmpfs", root .. path, "tmpfs")
        assert(not ok and (code == "ELOOP" or code == "ENOTDIR" or code == "ENOENT"), path .. code)
      end
      assert(fs.mount("tmpfs", root .. "/a/b", "tmpfs", "ro,nosuid"))
      assert(not io.open(root .. "/a/b/file", "w"))
      assert(fs.filesystem(root .. "/a/b") == "tmpfs")
      assert(fs.unmount(root .. "/a/b"))
      assert(not fs.unmount(root .. "/a/b"))
      assert(not pcall(fs.mount, "tmpfs", root .. "/a/b", "tmpfs", "ro,odd"))
      io.stderr:write "fine"
    ]]):format(support.tmpdir()))
    if not tried then pending "no mount namespaces here" end
  end))
end)
