-- The confinement of a guest's QEMU: things that it may not do.
local assert = require "luassert"
local guest = require "spec.support.guest"
local process = require "vmctl.process"
local confinement = require "vmctl.machine.confinement"
local core = require "vmctl.core"
local named_paths = require "vmctl.machine.named_paths"
local own_user = require "vmctl.machine.own_user"
local support = require "spec.support"

local LIMIT = 120
local ROOT = core.fs.identity() == 0

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

-- A disk's first bytes, with the name of the disk that it stands on.
local function disk(path, below)
  write(path, (">c4I4I8I4"):pack("QFI\xfb", 2, 20, #below) .. below)
  return path
end

-- A folder that is its owner's alone, as home folders are.
local function home()
  local folder = support.tmpdir()
  assert(core.fs.chmod(folder, 448))
  return folder
end

describe("a confined process", function()
  it("has no capabilities, no way to get any, and dumps no core", support.run(function()
    local child <close> = assert(process.spawn { "sleep", "60", confine = true })
    local found
    support.eventually(function() -- the kernel lets us go on a moment before the new program has its capabilities
      found = assert(confinement.of(child.pid))
      return not found.capabilities
    end)
    assert.same({ false, true, false }, { found.sandbox, found.no_new_privileges, found.core_dumps })
    local plain <close> = assert(process.spawn { "sleep", "60" })
    assert.is_false(assert(confinement.of(plain.pid)).no_new_privileges)
  end))

  it("has as few open files as it is told", support.run(function()
    local child <close> = assert(process.spawn { "sh", "-c", "ulimit -Sn; ulimit -Hn", confine = true, open_files = 17, stdout = "pipe" })
    assert.equal("17\n17\n", child.stdout:read_exact(6, LIMIT))
    child:wait(LIMIT)
  end))

  it("uses no files but those that rules of Landlock allow", support.run(function()
    if not core.landlock_abi() then
      assert.is_nil((core.landlock()))
      return
    end
    local folder = support.tmpdir()
    assert(core.fs.mkdir(folder .. "/read", 448))
    assert(core.fs.mkdir(folder .. "/write", 448))
    for _, path in ipairs { "/read/a", "/write/a", "/a" } do write(folder .. path, "text") end
    local rules <close> = assert(core.landlock())
    for _, path in ipairs { "/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", folder .. "/read" } do
      core.landlock_allow(rules:fileno(), path)
    end
    assert(core.landlock_allow(rules:fileno(), folder .. "/write", true))
    assert.equal("ENOENT", support.code(core.landlock_allow(rules:fileno(), folder .. "/none")))
    local function try(script)
      local child <close> = assert(process.spawn { "sh", "-c", "unset LD_PRELOAD; " .. script, cwd = folder, confine = true,
        landlock = rules:fileno() }) -- a sanitizer's library would read more, of /proc for instance
      return assert(child:wait(LIMIT)).exit_code
    end
    assert.equal(0, try "cat read/a write/a; echo x >write/b && rm write/a")
    for _, script in ipairs { "cat a", "ls .", "echo x >read/a", "echo x >read/b", "rm read/a", "echo x >a" } do
      assert.not_equal(0, try(script), script)
    end
  end, LIMIT))
end)

describe("the files that arguments name", function()
  it("are found whatever the argument is, and those that disks stand on", support.run(function()
    local folder = support.tmpdir()
    for _, name in ipairs { "a,b", "c", "d" } do write(folder .. "/" .. name, "") end
    local base = disk(folder .. "/base", "")
    local middle = disk(folder .. "/middle", "base")
    local top = disk(folder .. "/top", middle)
    local found = named_paths.of { "-drive", ("if=none,file=%s/a,,b"):format(folder), "-bios", folder .. "/c",
      "-chardev", ("socket,path=%s/new.sock"):format(folder), ('{"driver":"file","filename":"%s/d"}'):format(folder), "-hda", top,
      "-device", "virtio-blk,drive=x", "tcp:127.0.0.1:1" }
    local said = {}
    for i, each in ipairs(found) do said[i] = { each.path, each.type, each.write } end
    assert.same({ { folder .. "/a,b", "file", true }, { folder .. "/c", "file", true }, { folder, "directory", true },
      { folder .. "/d", "file", true }, { top, "file", true }, { middle, "file", false }, { base, "file", false } }, said)
  end))

  -- Names that a guest writes into its raw disk, or that a disk from elsewhere has, are not the user's.
  it("are not those that the header of a disk names elsewhere", support.run(function()
    local folder, elsewhere = support.tmpdir(), support.tmpdir()
    write(elsewhere .. "/secret", "")
    assert(core.fs.symlink(elsewhere .. "/secret", folder .. "/link"))
    local up = "../" .. elsewhere:match "[^/]*$" .. "/secret"
    local planted = disk(folder .. "/planted", elsewhere .. "/secret")
    for _, name in ipairs { elsewhere .. "/secret", up, "link", "file:" .. elsewhere .. "/secret", "nbd://127.0.0.1/x", "json:{}" } do
      assert.equal("EACCES", support.code(named_paths.of { "-hda", disk(folder .. "/disk", name) }), name)
    end
    assert.equal("EACCES", support.code(named_paths.of { "-drive", "format=qcow2,file=" .. planted }))
    local data = (">c4I4I8"):pack("QFI\xfb", 3, 0) .. ("\0"):rep(56) .. (">I8"):pack(4) .. ("\0"):rep(24)
    write(folder .. "/data", data)
    write(folder .. "/vmdk", "# Disk DescriptorFile\nversion=1\nRW 1 FLAT \"" .. elsewhere .. "/secret\" 0\n")
    for _, name in ipairs { "/data", "/vmdk" } do
      assert.equal("EACCES", support.code(named_paths.of { "-hda", folder .. name }), name)
    end
    assert.equal(1, #named_paths.of { "-drive", "if=none,format=raw,file=" .. planted })
    assert.equal(1, #named_paths.of { "-blockdev", "driver=raw,file.driver=file,file.filename=" .. planted .. ",node-name=x" })
    assert.equal(1, #named_paths.of { '{"driver":"raw","file":{"driver":"file","filename":"' .. planted .. '"}}' })
    for _, more in ipairs { elsewhere, elsewhere .. "/secret" } do
      local found = assert(named_paths.of { "-hda", planted, more })
      assert.same({ elsewhere .. "/secret", false }, { found[#found].path, found[#found].write })
    end
  end))
end)

describe("a device of this machine", function()
  -- Of /dev/kvm in the same ways, with KVM behind it, spec/nested_spec.lua asks inside a guest.
  it("is for a user of QEMU's own by its group, for all, or for its owner alone", support.run(function()
    local path = support.tmpdir() .. "/kvm"
    write(path, "")
    assert(core.fs.chmod(path:match "^(.*)/", 493))
    local function group(mode, gid)
      if ROOT then assert(core.fs.chown(path, 0, gid)) end
      assert(core.fs.chmod(path, mode))
      return own_user.group_for(path)
    end
    assert.is_nil(group(438, 0)) -- 0666
    if ROOT then
      assert.equal(36, group(432, 36)) -- 0660, group kvm
      assert.is_false(group(432, 0)) -- the group is root's
      assert.is_false(group(416, 36)) -- 0640: no writing
    end
    assert.is_false(group(384, 0)) -- 0600
    assert.is_false(own_user.group_for(path .. "none"))
  end))
end)

describe("a guest's QEMU", function()
  -- Starts one whose guest need not come up. It answers when it has confined itself.
  local function launch(options)
    local vm = assert(guest.launch(options))
    assert(vm:qmp())
    return vm
  end

  it("is confined, and the guest works", support.run(function()
    local vm <close> = guest.boot { name = "confined" }
    local found = assert(vm:confinement())
    assert.same({ true, true, false, false },
      { found.sandbox, found.no_new_privileges, found.capabilities, found.core_dumps })
    assert.equal(core.landlock_abi() or false, found.landlock)
    assert.is_true(found.open_files <= 4096)
    assert.truthy(table.concat(vm.command, " "):find("spawn=deny", 1, true))
    assert.equal("yes\n", assert(vm:run { "echo", "yes" }).stdout)
    vm:kill()
    assert.equal("ECLOSED", support.code(vm:confinement()))
  end, LIMIT))

  it("is a user of its own where vmctl is root, wherever its kernel is", support.run(function()
    local id, reason = own_user.id()
    local folder = home()
    assert(core.fs.symlink(core.fs.real(guest.image), folder .. "/image"))
    local file <close> = assert(io.open(guest.kernel, "rb"))
    write(folder .. "/kernel", file:read "a")
    assert(core.fs.chmod(folder .. "/kernel", 384)) -- as some distributions have it
    local opts = { kernel = folder .. "/kernel", initrd = folder .. "/image" }
    local one <close> = guest.boot(opts)
    local two <close> = launch(opts)
    local first, second = assert(one:confinement()), assert(two:confinement())
    if not id then
      assert.equal(core.fs.identity(), first.uid)
      assert.equal(reason, first.user_reason)
      return
    end
    assert.equal("vmctl is root", first.user_reason)
    assert.equal(first.uid, first.gid)
    assert.not_equal(first.uid, second.uid)
    assert.is_true(first.uid >= 61184)
    assert(one:snapshot "one")
    assert(one:restore "one")
    assert.equal("yes\n", assert(one:run { "echo", "yes" }).stdout)
  end, LIMIT))

  it("opens no files but those that it was given", support.run(function()
    local folder = support.tmpdir()
    write(folder .. "/mine", "text")
    assert(core.fs.chmod(folder, 511))
    assert(core.fs.chmod(folder .. "/mine", 438))
    local function add(vm)
      return vm:qmp():execute("blockdev-add", { driver = "file", ["node-name"] = "mine", filename = folder .. "/mine" })
    end
    do
      local vm <close> = launch()
      local ok, message = add(vm)
      assert.equal(not core.landlock_abi(), ok ~= nil)
      if not ok then assert.truthy(message:find("Permission denied", 1, true), message) end
    end
    local vm <close> = launch { paths = { folder .. "/mine" } }
    assert(add(vm))
    local found = assert(vm:confinement())
    assert.equal(ROOT and own_user.id() ~= nil, found.uid ~= core.fs.identity())
  end, LIMIT))

  it("uses the disks that its arguments name, as the user who may", support.run(function()
    local folder = home()
    local path = folder .. "/disk"
    write(path, ("\0"):rep(1 << 20))
    local vm <close> = launch { machine = "q35", args = { "-drive", "if=virtio,format=raw,file=" .. path } }
    local found = assert(vm:confinement())
    assert.equal(core.fs.identity(), found.uid)
    if own_user.id() then assert.truthy(found.user_reason:find(path, 1, true), found.user_reason) end
    assert.is_false(found.capabilities)
    local nodes = assert(vm:qmp():execute "query-block")
    assert.equal(path, nodes[1].inserted.file)
  end, LIMIT))

  it("gets its cards' sockets connected", support.run(function()
    local l2 = require "vmctl.l2"
    local folder = home()
    local switch <close> = l2.switch {}
    assert(switch:listen("unix:" .. folder .. "/card,1", { name = "card" }))
    local vm <close> = launch { nics = { { connect = "unix:" .. folder .. "/card,1" } } }
    support.eventually(function() return switch:port "card-1" end)
    assert.equal(own_user.id() ~= nil, assert(vm:confinement()).uid ~= core.fs.identity())
  end, LIMIT))

  it("is not started with a disk that names a file which nobody has named to it", support.run(function()
    local folder = home()
    local path = disk(folder .. "/disk", "/etc/hostname")
    local vm, message, code = require("vmctl.machine").launch { kernel = guest.kernel, initrd = guest.image, args = { "-hda", path } }
    assert.is_nil(vm)
    assert.equal("EACCES", code)
    assert.truthy(message:find("/etc/hostname", 1, true), message)
  end))

  it("is not when that was asked for", support.run(function()
    local vm <close> = launch { name = "free", sandbox = false }
    local found = assert(vm:confinement())
    assert.is_false(found.sandbox)
    assert.is_false(found.no_new_privileges)
    assert.is_false(found.landlock)
    assert.equal(core.fs.identity(), found.uid)
  end, LIMIT))
end)
