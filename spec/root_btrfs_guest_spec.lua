-- Disks whose root is in a subvolume of a btrfs, as those of Fedora, openSUSE, Ubuntu and Debian's installer are.
-- Takes about 40 seconds.
local assert = require "luassert"
local core = require "vmctl.core"
local layers = require "spec.support.layers"
local roots = require "spec.support.roots"
local support = require "spec.support"

local BOOT = 60
local has_tools = os.execute "PATH=$PATH:/usr/sbin:/sbin; command -v mkfs.btrfs >/dev/null && command -v btrfs >/dev/null"

-- A btrfs whose root is at its top, with the program that makes subvolumes.
local function make(folder)
  assert(core.fs.mkdir(folder .. "/tree"))
  roots.folder(folder .. "/tree")
  layers.run(folder, [[PATH=$PATH:/usr/sbin:/sbin; program=$(command -v btrfs)
    cp "$program" tree/bin/btrfs
    for f in $(ldd "$program" | grep -o '/[^ ]*'); do mkdir -p "tree${f%/*}"; cp -L "$f" "tree$f"; done
    for name in mkdir mv rm cp umount; do ln -s busybox tree/bin/$name; done
    truncate -s 160M disk.img; mkfs.btrfs -q -L little --rootdir tree disk.img]])
  return "disk:" .. folder .. "/disk.img"
end

(has_tools and describe or pending)("a root in a subvolume of a btrfs", function()
  local folder, disk

  local function boot(options)
    options.root = options.root or disk
    local vm = assert(roots.launch(folder, options))
    local ready, err = vm:wait_ready(BOOT)
    if ready then return vm end
    vm:close()
    error(err, 2)
  end

  local function say(vm, command) return assert(vm:run { "sh", "-ec", command, check = true, timeout = BOOT }).stdout end

  -- Where the root is, as the guest's kernel has mounted it.
  local function place(options)
    local vm <close> = boot(options or {})
    local mounts = say(vm, "cat /proc/mounts")
    assert.equal("init\nID=little\n", say(vm, "cat /proc/1/comm /etc/os-release"))
    assert(vm:kill())
    return mounts:match "\n/dev/vda / btrfs %S*subvol=([^ ,]+)" or mounts
  end

  -- A guest of the disk that changes it, whose top is then at /top. Each call leaves a copy of what the disk has become.
  local function changing()
    local vm, count = boot { writes = "through", init = "agent" }, 0
    return vm, function(command)
      say(vm, "mkdir -p /top; mount -t btrfs -o subvolid=5 /dev/vda /top; " .. command .. "; umount /top; /bin/busybox sync")
      count = count + 1
      layers.run(folder, ("cp --sparse=always disk.img disk%d.img"):format(count))
      return ("disk:%s/disk%d.img"):format(folder, count)
    end
  end

  it("is found at the top, by the usual names, by any name, and by what is the default", support.run(function()
    folder = support.tmpdir()
    disk = make(folder)
    assert.equal("/", place())
    local vm <close>, change = changing() -- luacheck: ignore
    assert.equal("/system", place { root = change [[
      btrfs subvolume create /top/data; echo x >/top/data/file
      mkdir /top/@; cp -a /etc /top/@ # a folder, and no subvolume
      btrfs subvolume create /top/system; cp -a /bin /sbin /etc /lib /lib64 /top/system
      cd /top/system; mkdir -p dev proc sys run tmp root; cd /
      rm /top/etc/os-release /top/etc/passwd /top/sbin/init]] }) -- the top is a root no more
    assert.equal("/root", place { root = change
      "cd /top; rm -r @ root; for name in @rootfs @ root; do btrfs subvolume snapshot system $name; done; cd /" })
    assert.equal("/@", place { root = change "mv /top/root /top/other" .. "#little" })
    assert.equal("/@rootfs", place { root = change "btrfs subvolume set-default /top/@rootfs" })
  end, 12 * BOOT))
end)
