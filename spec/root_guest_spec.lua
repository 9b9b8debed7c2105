-- Guests with a root of their own: stage 1 moves into an image or a disk, and says what keeps it from that.
-- Takes about 60 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest"
local roots = require "spec.support.roots"
local support = require "spec.support"

local BOOT = 60

describe("a guest with a root", function()
  local folder, image, disk

  local function run(body, limit)
    return support.run(function()
      folder = support.tmpdir()
      assert(core.fs.mkdir(folder .. "/tree"))
      roots.folder(folder .. "/tree")
      image, disk = roots.erofs(folder .. "/tree", folder .. "/image.erofs"), roots.disk(folder .. "/tree", folder .. "/disk.img")
      body()
    end, limit)
  end

  local function boot(options)
    local vm = assert(roots.launch(folder, options))
    local ready, err = vm:wait_ready(BOOT)
    if not ready then
      vm:close()
      error(err, 2)
    end
    return vm
  end

  local function say(vm, command) return assert(vm:run { "sh", "-c", command, check = true }).stdout end

  local function refused(code, part, options)
    local vm, err, got = roots.launch(folder, options)
    assert.is_nil(vm)
    assert.equal(code, got, err)
    assert.truthy(err:find(part, 1, true), err)
  end

  local function fails_to_boot(part, options)
    local vm <close> = assert(roots.launch(folder, options))
    local ready, err, code = vm:wait_ready(BOOT)
    assert.is_nil(ready)
    assert.equal("ERESET", code, err)
    assert.truthy(err:find("root: " .. part, 1, true), err)
  end

  it("is in an image, whose root it sees as it is; what it writes is gone with it", run(function()
    local vm <close> = boot { root = "erofs:" .. image }
    assert.equal("ID=little\n711 0:0\ninit\n", say(vm, "cat /etc/os-release; stat -c '%a %u:%g' /; cat /proc/1/comm"))
    assert.equal("256\n", say(vm, "cat /sys/block/vd*/queue/read_ahead_kb"))
    local loaded = say(vm, "ls /sys/bus/pci/devices; cat /proc/modules")
    if not loaded:find "^0000:" then -- a device that the machine has not, and will not have
      assert.is_nil(loaded:find("virtio_net", 1, true), loaded)
      assert.is_nil(loaded:find("virtio_pci", 1, true), loaded)
    end
    say(vm, "echo new > /etc/os-release; echo more > /more")
    assert(vm:shutdown())
    local again <close> = boot { root = { "erofs:" .. image, read_only = true } } -- nothing is laid over it
    assert.equal("ID=little\n/dev/vda / erofs\n", say(again, "cat /etc/os-release; grep ' / ' /proc/mounts | busybox cut -d ' ' -f 1-3"))
    assert.is_nil(again:read_file "/more")
    assert.truthy(select(2, again:write_file("/more", "x")):find("Read-only file system", 1, true))
  end, 2 * BOOT))

  it("is a folder, an archive or an image of one", run(function()
    local tree = folder .. "/tree"
    assert(os.execute(("tar -C '%s' -czf '%s/tree.tgz' ."):format(tree, folder)))
    local vm <close> = boot { root = "tar:" .. folder .. "/tree.tgz" }
    assert.equal("ID=little\n711\n", say(vm, "cat /etc/os-release; stat -c %a /"))
    assert.truthy(say(vm, "ls -l /proc/1/exe"):find "/bin/busybox\n$") -- its own init, since it has one
    refused("ENOENT", "index.json", { root = "oci:" .. tree })
  end, 2 * BOOT))

  it("keeps what it writes to an image, over a loss of power, for that image alone", run(function()
    local options = { root = { "erofs:" .. image, keep = folder .. "/kept.ext4", size = "64M" }, writes = "keep" }
    local vm <close> = boot(options)
    say(vm, "echo kept > /kept; sync /kept; sync")
    refused("EBUSY", "another guest uses it", options)
    assert(vm:kill())
    local again <close> = boot(options)
    assert.equal("kept\n711\n", say(again, "cat /kept; stat -c %a /"))
    assert(again:shutdown())
    local other = roots.erofs(folder .. "/tree", folder .. "/other.erofs")
    refused("EINVAL", "was kept for another root", { root = { "erofs:" .. other, keep = folder .. "/kept.ext4" }, writes = "keep" })
  end, 2 * BOOT))

  it("is on a disk with its own init and the agent beside it, and leaves the disk as it was", run(function()
    local before = assert(core.fs.stat(disk))
    local vm <close> = boot { root = "disk:" .. disk }
    assert.equal("init\nlittle\n", say(vm, "cat /proc/1/comm; . /etc/os-release; echo $ID; echo x > /x; sync"))
    assert.truthy(say(vm, "mount"):find("/dev/vda1 on / type ext4 (rw", 1, true))
    refused("EBUSY", "another guest uses it", { root = "disk:" .. disk, writes = "through" })
    assert(vm:shutdown())
    assert.same(before, core.fs.stat(disk))
  end, BOOT))

  it("keeps what it writes to a disk in a file of its own", run(function()
    local options = { root = { "disk:" .. disk .. "#little", keep = folder .. "/kept.qcow2" }, writes = "keep", init = "agent" }
    local vm <close> = boot(options)
    say(vm, "echo kept > /kept; sync")
    assert(vm:kill())
    local again <close> = boot(options)
    assert.equal("kept\n", say(again, "cat /kept"))
    assert(again:shutdown())
  end, 2 * BOOT))

  it("writes to the disk itself when told to, and mounts it read-only when told to", run(function()
    local vm <close> = boot { root = "disk:" .. disk .. "#1", writes = "through",
      init = { "/bin/sh", "-c", "while :; do /bin/busybox sleep 1; done", "a b", "", "c" } }
    assert.equal("sh\n", say(vm, "cat /proc/1/comm; echo through > /through; sync"))
    assert.equal("/bin/sh|-c|while :; do /bin/busybox sleep 1; done|a b||c|", say(vm, "/bin/busybox tr '\\0' '|' </proc/1/cmdline"))
    refused("EBUSY", "another guest writes it", { root = "disk:" .. disk })
    assert(vm:kill())
    local again <close> = boot { root = { "disk:" .. disk, read_only = true }, init = "agent" }
    assert.equal("through\n", say(again, "cat /through"))
    assert.not_equal(0, assert(again:run { "sh", "-c", "echo more > /more" }).exit_code)
    assert(again:shutdown())
  end, 2 * BOOT))

  it("says what keeps stage 1 from its root", run(function()
    local empty = folder .. "/empty"
    assert(core.fs.mkdir(empty))
    fails_to_boot("find the root on the disk: no file system that looks like one (vda: a table; vda1: ext4, no root in it); " ..
      "boot = \"firmware\" (--boot firmware) lets the disk's own loader start it", { root = "disk:" .. roots.disk(empty, empty .. ".img") })
    refused("ENOTSUP", ("root: %s.img: find the root on the disk: no file system that looks like one (vda: a table; vda1: ext4, no " ..
      "root in it)"):format(empty), { root = "disk:" .. empty .. ".img", kernel = false })
    fails_to_boot("start the init /no/such/init: No such file or directory", { root = "disk:" .. disk, init = { "/no/such/init" } })
  end, 2 * BOOT))

  it("says that the programs of its disk may be for another architecture", run(function()
    local tree, elf = folder .. "/foreign", "\x7fELF\2\1\1" .. ("\0"):rep(9) .. ("<I2I2"):pack(2, guest.arch == "aarch64" and 62 or 183)
    assert(os.execute(("cp -a '%s/tree' '%s'"):format(folder, tree)))
    assert(core.fs.replace(tree .. "/bin/busybox", elf .. ("\0"):rep(100)))
    assert(os.execute(("chmod 755 '%s/bin/busybox'"):format(tree)))
    roots.disk(tree, tree .. ".img")
    fails_to_boot("start the init /sbin/init (is it for another architecture?): Exec format error",
      { root = "disk:" .. tree .. ".img", boot = "ours" })
  end, 2 * BOOT))

  it("has our kernel where its disk has none of its own, which a guest finds out once", run(function()
    for _ = 1, 2 do
      local vm <close> = assert(roots.launch(folder, { root = "disk:" .. disk, kernel = false }))
      assert.equal("ours", vm.boot)
      assert.truthy(vm.boot_reason:find("has no /boot/vmlinuz-VERSION", 1, true), vm.boot_reason)
    end
    assert.equal(1, #core.fs.list(folder .. "/cache/kernels"))
    local vm <close> = assert(roots.launch(folder, { root = "disk:" .. disk }))
    assert.same({ "ours", "a kernel is named" }, { vm.boot, vm.boot_reason })
  end, BOOT))

  it("may lack the folders that file systems are mounted on", run(function()
    local tree = folder .. "/bare"
    assert(os.execute(("cp -a '%s/tree' '%s' && rmdir '%s'/dev '%s'/proc '%s'/sys '%s'/run"):format(folder, tree, tree, tree, tree, tree)))
    local vm <close> = assert(roots.launch(folder, { root = "disk:" .. roots.disk(tree, folder .. "/bare.img"), kernel = false }))
    assert(vm:wait_ready { timeout = BOOT })
    assert.equal("dev\nproc\nsys\n", say(vm, "cd /; ls -d dev proc sys"))
  end, 2 * BOOT))

  it("is refused, with the modules' names, where our kernel lacks some", run(function()
    local modules = folder .. "/modules"
    assert(core.fs.mkdir(modules))
    assert(core.fs.mkdir(modules .. "/kernel"))
    assert(core.fs.replace(modules .. "/modules.builtin", "kernel/drivers/block/virtio_blk.ko\nkernel/fs/erofs/erofs.ko\n"))
    refused("ENOTSUP", "needs: overlay (", { root = "erofs:" .. image, modules_dir = modules })
    refused("ENOTSUP", "needs: virtio_net, overlay (", { root = "erofs:" .. image, modules_dir = modules, network = "user" })
    refused("ENOTSUP", "needs: ext4 (", { root = { size = "64M" }, modules_dir = modules })
  end, BOOT))

  it("is refused before it starts where it cannot be", run(function()
    refused("ENOENT", "no/such", { root = "disk:" .. folder .. "/no/such" })
    refused("EINVAL", "is a directory, and no disk", { root = "disk:" .. folder })
    refused("EINVAL", "root 'toaster:/x': oci:DIR[:TAG]", { root = "toaster:/x" })
    refused("EINVAL", "is too little", { root = "disk:" .. disk, memory = "64M" })
    refused("EINVAL", "is for the init of a disk", { root = "erofs:" .. image, boot = "kernel" })
    refused("EINVAL", "is for the init of a disk", { root = "disk:" .. disk, boot = "kernel", init = "agent" })
    refused("EINVAL", "the disk chooses its partition", { root = "disk:" .. disk .. "#1", boot = "firmware" })
    refused("EINVAL", "no way 'telepathy'", { root = { "disk:" .. disk, ways = { "telepathy" } }, boot = "firmware" })
    refused("ENOENT", "has no /boot/vmlinuz-VERSION", { root = "disk:" .. disk, boot = "kernel" })
    refused("EINVAL", "needs a name", { root = "disk:" .. disk, writes = "keep" })
    assert(core.fs.replace(folder .. "/stands.qcow2", "QFI\xfb" .. (">I4I8I4"):pack(3, 512, 7) .. ("\0"):rep(512) .. "/secret"))
    refused("EINVAL", "stands on another file", { root = "disk:" .. folder .. "/stands.qcow2" })
    assert.has_error(function() return roots.launch(folder, { root = "disk:" .. disk, init = "toaster" }) end)
  end, BOOT))
end)
