-- Disks on which stage 1 finds no root: told before a guest starts, where it can be seen from outside. Takes about 15 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local json = require "vmctl.json"
local root_fits = require "vmctl.machine.root_fits"
local roots = require "spec.support.roots"
local support = require "spec.support"

local BOOT, MIB, SECTOR = 60, 1 << 20, 512

-- Offsets and bytes by which these file systems are recognised: no program is here that writes them whole.
local MARKS = { f2fs = { 1024, "\x10\x20\xf5\xf2" }, xfs = { 0, "XFSB" }, btrfs = { 65600, "_BHRfS_M" }, LVM = { 536, "LVM2 001" },
  LUKS = { 0, "LUKS\xba\xbe" }, ext4 = { 1080, "\x53\xef" }, swap = { 4086, "SWAPSPACE2" } }

describe("what is on a disk", function()
  local function why(which, lacks, ...)
    local list = {}
    for i, type in ipairs { ... } do
      list[i] = { number = i, type = type ~= "" and type or nil, label = "l" .. i, uuid = "ab-" .. i, name = "n" .. i }
    end
    return root_fits.refusal(list, which, lacks, "/m")
  end

  it("is refused only where no partition can be mounted", function()
    local lacks = { xfs = true, f2fs = true }
    assert.truthy(why(nil, lacks):find("^it has neither a table of partitions nor a file system"))
    assert.is_nil(why(nil, lacks, "vfat", "xfs", "ext4"))
    assert.is_nil(why(nil, lacks, "LVM", "ext4"))
    for _, which in ipairs { 7, "7", "l7", "ab-7" } do
      assert.equal(("there is no partition %s, by number, label, UUID or name (partition 1: xfs 'l1', partition 2: nothing known 'l2')")
        :format(which), why(which, lacks, "xfs", ""))
    end
    assert.is_nil(why("l\u{e4}", lacks, "xfs")) -- the kernel may read it as another name
    assert.truthy(why(nil, lacks, "iso9660"):find "is an ISO image.*%-%-boot firmware")
    assert.is_nil(why(2, lacks, "iso9660")) -- a table may be behind it
    assert.truthy(why(nil, lacks, "vfat", "RAID"):find("partition 2 is a part of a RAID", 1, true))
    assert.truthy(why(nil, lacks, "vfat", "xfs", "f2fs", "xfs"):find(
      "partition 2 holds xfs, partition 3 holds f2fs, partition 4 holds xfs, and our kernel has no xfs, f2fs (neither built in nor below ",
      1, true))
    assert.truthy(why(nil, lacks, "vfat", "LVM"):find("^partition 2 is a physical volume of LVM"))
    assert.truthy(why(nil, lacks, "LUKS", "LVM"):find("^partition 1 is encrypted with LUKS"))
    assert.truthy(why(nil, lacks, "vfat", "", "swap"):find(
      "(partition 1: vfat 'l1', partition 2: nothing known 'l2', partition 3: swap 'l3')", 1, true))
  end)

  it("is looked at where the partition is that is asked for", function()
    for _, which in ipairs { 2, "2", "l2", "n2", "AB-2" } do
      assert.truthy(why(which, { xfs = true }, "ext4", "xfs"):find("^partition 2 holds xfs, "), which)
      assert.is_nil(why(which, {}, "LVM", "xfs"))
      assert.is_nil(why(which, {}, "LVM", "vfat"))
    end
  end)

  it("is not known where partitions are inside another", function()
    assert.is_nil(root_fits.refusal({ { number = 1, type = "swap" }, { number = 2, kind = "05" } }, nil, {}))
  end)
end)

describe("a disk that is no root for our kernel", function()
  local folder

  local function run(body, limit)
    return support.run(function()
      folder = support.tmpdir()
      body()
    end, limit)
  end

  -- Partitions of a MiB each, behind each other from `first` on; other words are the ext4 that is there already.
  local function mark(path, ...)
    local file <close> = assert(core.fs.open(path, true))
    local entries, place = {}, 31
    for i, type in ipairs { ... } do
      local known = MARKS[type]
      local first, size = known and place or 1, known and 1 or 30
      entries[i] = ("<BBBBBBBBI4I4"):pack(0, 0, 0, 0, 0x83, 0, 0, 0, first * MIB // SECTOR, size * MIB // SECTOR)
      if known then
        assert(file:seek(place * MIB + known[1], 0))
        assert(file:write(known[2]))
        place = place + 1
      end
    end
    assert(file:seek(446, 0))
    assert(file:write(table.concat(entries) .. ("\0"):rep(16 * (4 - #entries)) .. "\x55\xaa"))
    if place > 32 then assert(file:truncate(place * MIB)) end
    return path
  end

  local function disk(has_root, ...)
    local tree = folder .. "/tree"
    if not core.fs.stat(tree) then
      assert(core.fs.mkdir(tree))
      if has_root then roots.folder(tree) end
    end
    core.fs.remove(folder .. "/disk.img")
    return mark(roots.disk(tree, folder .. "/disk.img"), ...)
  end

  local function refused(part, options)
    local vm, err, code = roots.launch(folder, options)
    assert.is_nil(vm)
    assert.equal("ENOTSUP", code, err)
    assert.truthy(err:find(part, 1, true), err)
  end

  it("is refused before it starts, with what is on it and what to do", run(function()
    local first = disk(false, "f2fs", "swap")
    local text = ("root: %s: partition 1 holds f2fs, and our kernel has no f2fs (neither built in nor below "):format(first)
    refused(text, { root = "disk:" .. first })
    refused(": name a kernel that has it (kernel, modules_dir), or let the disk's own loader start it (boot = \"firmware\", --boot " ..
      "firmware)", { root = "disk:" .. first, boot = "ours", init = "agent" })
    refused(text, { root = "disk:" .. first, kernel = false })
    refused("partition 2: swap", { root = "disk:" .. first .. "#2" })
    refused("partition 1 is a physical volume of LVM", { root = "disk:" .. disk(false, "LVM") })
    refused("partition 2 is encrypted with LUKS", { root = "disk:" .. disk(false, "bare", "LUKS") .. "#2" })
    local modules = folder .. "/modules"
    assert(core.fs.mkdir(modules))
    assert(core.fs.mkdir(modules .. "/kernel"))
    assert(core.fs.replace(modules .. "/modules.builtin", "kernel/drivers/block/virtio_blk.ko\n"))
    for _, type in ipairs { "xfs", "btrfs", "ext4" } do
      local path = disk(false, type)
      refused(("partition 1 holds %s, and our kernel has no %s ("):format(type, type), { root = "disk:" .. path, modules_dir = modules })
    end
  end, BOOT))

  it("is read by qemu-img where it is a qcow2, once", run(function()
    local path = folder .. "/disk.qcow2"
    assert(os.execute(("qemu-img convert -c -O qcow2 '%s' '%s'"):format(disk(false, "f2fs", "swap"), path)))
    for _ = 1, 2 do refused("partition 1 holds f2fs", { root = "disk:" .. path }) end
    local names = core.fs.list(folder .. "/cache/disks")
    assert.equal(1, #names)
    local kept = folder .. "/cache/disks/" .. names[1]
    assert.equal("swap", json.decode(assert(io.open(kept)):read "a")[2].type)
    assert(core.fs.replace(kept, "{}"))
    refused("partition 1 holds f2fs", { root = "disk:" .. path }) -- what is no list is read anew
  end, BOOT))

  it("is one with a root all the same, if that is on another partition", run(function()
    local vm <close> = assert(roots.launch(folder, { root = "disk:" .. disk(true, "f2fs", "LVM", "root") }))
    assert(vm:wait_ready(BOOT))
    assert.truthy(assert(vm:run "mount").stdout:find("/dev/vda3 on / type ext4", 1, true))
    assert(vm:shutdown())
  end, BOOT))

  it("is told by stage 1 where only that can see it", run(function()
    local vm <close> = assert(roots.launch(folder, { root = "disk:" .. disk(false, "bare", "f2fs", "LVM") }))
    local ready, err, code = vm:wait_ready(BOOT)
    assert.same({ nil, "ERESET" }, { ready, code })
    assert.truthy(err:find("root: find the root on the disk: no file system that looks like one (vda: a table; vda1: ext4, no root " ..
      "in it; vda2: f2fs, the kernel has not its module; vda3: LVM, not opened here); boot = \"firmware\"", 1, true), err)
  end, BOOT))
end)
