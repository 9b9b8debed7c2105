-- A mistaken root is refused before anything boots, in a sentence that says what it is and what to do.
-- Also in asan: what disks hold is read by our C.
local assert = require "luassert"
local cc_image = require "spec.support.cc_image"
local core = require "vmctl.core"
local disk_contents = require "vmctl.machine.disk_contents"
local firmware = require "vmctl.machine.firmware"
local iso = require "vmctl.machine.iso"
local layers = require "spec.support.layers"
local root_fits = require "vmctl.machine.root_fits"
local roots = require "spec.support.roots"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 60

describe("a root that is named by mistake", function()
  local folder

  local function run(body)
    return support.run(function()
      folder = support.tmpdir()
      body()
    end, LIMIT)
  end

  -- The message is all that there is to go by: it has each of the words.
  local function refused(code, root, words, options)
    local all = { root = root }
    for name, value in pairs(options or {}) do all[name] = value end
    local vm, err, got = roots.launch(folder, all)
    assert.is_nil(vm)
    assert.equal(code, got, err)
    for _, word in ipairs(words) do assert.truthy(err:find(word, 1, true), ("%s: %s"):format(err, word)) end
  end

  local function save(name, bytes)
    assert(core.fs.replace(folder .. "/" .. name, bytes))
    return folder .. "/" .. name
  end

  it("is asked for by what it may have been meant for", run(function()
    local disk = save("d.img", "x")
    for given, meant in pairs {
      [disk] = "disk:" .. disk, [disk .. "#2"] = "disk:" .. disk .. "#2", [folder] = "dir:" .. folder,
      [save("r.tar.gz", "x")] = "tar:" .. folder .. "/r.tar.gz", ["debian:12"] = "docker://debian:12", alpine = "docker://alpine",
      ["localhost:5000/a/b:1"] = "docker://localhost:5000/a/b:1", ["docker:alpine"] = "docker://alpine", ["dsik:/a"] = "disk:a",
    } do
      refused("EINVAL", given, { "root '" .. given .. "': ", "; did you mean " .. meant .. "?" })
    end
    for _, given in ipairs { "/no/such.img", "./no", "no.qcow2", "x y" } do
      local _, err = roots.launch(folder, { root = given })
      assert.is_nil(err:find("did you mean", 1, true), err)
    end
  end))

  it("is told by its kind of disk, and how it is converted or unpacked", run(function()
    local path = save("d", "")
    refused("EINVAL", "disk:" .. path, { path .. " is empty" })
    for head, words in pairs {
      KDMV = { "VMDK", "qemu-img convert -O qcow2 " .. path }, ["# Disk DescriptorFile\n"] = { "VMDK", "qemu-img convert" },
      [("<"):rep(64) .. "\x7f\x10\xda\xbe"] = { "VDI of VirtualBox", "qemu-img convert" }, vhdxfile = { "VHDX", "qemu-img convert" },
      conectix = { "VHD", "qemu-img convert" }, ["QED\0"] = { "QED", "qemu-img convert" },
      ["\x1f\x8b\8\0"] = { "packed by gzip", "gzip -dk " .. path }, ["\xfd7zXZ\0"] = { "packed by xz", "xz -dk " .. path },
      ["\x28\xb5\x2f\xfd"] = { "packed by zstd", "zstd -d " .. path }, ["PK\3\4"] = { "packed by zip", "unpack it" },
      [layers.tar { { path = "a" } }] = { "tar archive", "tar:" .. path },
    } do
      save("d", head .. ("\0"):rep(4096))
      refused("EINVAL", "disk:" .. path, { "root: the disk " .. path .. " is ", table.unpack(words) })
      refused("EINVAL", "disk:" .. path, words, { writes = "through" })
      refused("EINVAL", "disk:" .. path, words, { boot = "firmware" })
    end
    refused("EINVAL", "disk:" .. folder, { folder .. " is a directory, and no disk", "dir:" .. folder })
    refused("ENOENT", "disk:" .. folder .. "/none", { "root: stat " .. folder .. "/none: No such file" })
  end))

  it("names the file that a qcow2 stands on, and says if that is missing", run(function()
    local path = folder .. "/top.qcow2"
    layers.run(folder, "truncate -s 1M base.img; env -u LD_PRELOAD qemu-img create -q -f qcow2 -b base.img -F raw top.qcow2")
    refused("EINVAL", "disk:" .. path, { path .. " stands on another file (base.img): ", "qemu-img convert -O qcow2 " .. path })
    core.fs.remove(folder .. "/base.img")
    refused("EINVAL", "disk:" .. path, { "(base.img, which is missing)" })
    save("top.qcow2", "QFI\xfb" .. (">I4I8I4"):pack(3, 1 << 62, 0xffffffff) .. ("\0"):rep(512))
    refused("EINVAL", "disk:" .. path, { path .. " stands on another file" })
  end))

  it("tells its firmware by its first sector, raw or qcow2", run(function()
    local path = folder .. "/d"
    for code, want in pairs { ["\xeb"] = "bios", ["\0"] = "efi" } do
      local sector = code .. ("\0"):rep(509) .. "\x55\xaa"
      save("d", sector .. ("\0"):rep(1 << 20))
      layers.run(folder, "env -u LD_PRELOAD qemu-img convert -O qcow2 d d.qcow2")
      local names = { raw = path, qcow2 = path .. ".qcow2" }
      if os.getenv "VMCTL_ASAN" then names.qcow2 = nil end -- with a sanitizer's library in it qemu-img does not end
      for format, name in pairs(names) do
        local file <close> = assert(core.fs.open(name))
        assert.equal(sector, disk_contents.first_sector(file, name, format))
      end
      local args = firmware.arguments({ ways = {} }, sector)
      assert.equal(want == "bios", args ~= nil and #args == 0) -- an EFI needs drives, or is not here
    end
    local args, err, code = firmware.arguments({ ways = {} }, "")
    assert.same({ nil, "EINVAL" }, { args, code })
    assert.truthy(err:find("--firmware", 1, true), err)
  end))

  it("has no loader only where that is certain", function()
    assert.truthy(root_fits.no_loader({}):find("it has no table of partitions", 1, true))
    assert.truthy(root_fits.no_loader { { number = 1, type = "ext4", kind = "83" } })
    for _, each in ipairs { { type = "vfat" }, { role = "EFI system partition" }, { kind = "EF" }, { kind = "05" },
      { type = "iso9660" } } do
      each.number = 2
      assert.is_nil(root_fits.no_loader { { number = 1, type = "ext4" }, each })
    end
  end)

  it("has no installed system: an ISO image, a text, a partition that is not there", run(function()
    local path = folder .. "/d"
    save("d", iso.make("live", { a = "b" }))
    refused("ENOTSUP", "disk:" .. path, { path .. ": it is an ISO image", "--boot firmware" })
    save("d", ("text\n"):rep(1000))
    refused("ENOTSUP", "disk:" .. path, { path .. ": it has neither a table of partitions nor a file system" })
    assert(core.fs.mkdir(folder .. "/tree"))
    assert(core.fs.remove(path))
    roots.disk(roots.folder(folder .. "/tree"), path)
    refused("ENOTSUP", "disk:" .. path, { path .. ": no loader is on it", "no EFI system partition (partition 1: ext4 'little')" },
      { boot = "firmware" })
    refused("ENOTSUP", "disk:" .. path .. "#7", { path .. ": there is no partition 7", "(partition 1: ext4 'little')" })
  end))

  it("can only be read, and shall be written", run(function()
    local path = save("d", ("x"):rep(4096))
    assert(os.execute(("chmod 755 '%s'; chmod 444 '%s'"):format(folder, path)))
    local result = assert(vmctl.host:run { "lua5.4", "-e", ([[
      print(require("vmctl.machine.root_disk").open(%q, true))
      print(require("vmctl.machine.root_disk").open(%q))]]):format(path, path), timeout = LIMIT,
      user = core.fs.identity() == 0 and "1234:1234" or nil, env = { LUA_PATH = package.path, LUA_CPATH = package.cpath } })
    local written, read = result.stdout:match "^([^\n]*)\n([^\n]*)"
    local words = 'can only be read here: writes = "discard" or "keep" (--writes) leaves it as it is'
    assert.equal(("nil\troot: %s %s\tEACCES"):format(path, words), written, result.stderr)
    assert.is_nil(read:find("nil", 1, true), read)
  end))

  it("is an archive or a folder without a root file system", run(function()
    layers.run(folder, [[mkdir src; echo 'int main' >src/a.c; tar -cf src.tar src; mkdir -p in/root/bin; cp "$(command -v sh)" in/root/bin
      tar -C in -czf in.tgz root; mkdir l; echo {} >l/index.json; echo {} >l/oci-layout]])
    local made = cc_image.docker(support.tmpdir(), { { ["etc/a"] = "1" } })
    for root, words in pairs {
      ["tar:" .. folder .. "/src.tar"] = { "it is no root file system: no file in it is a program", "(its top: src/)" },
      ["dir:" .. folder .. "/src"] = { "no file in it is a program", "(its top: a.c)" },
      ["tar:" .. folder .. "/in.tgz"] = { "all is inside the folder root/", "tar -C root/ -cf FILE ." },
      ["dir:" .. folder .. "/in"] = { "all is inside the folder root/: name that one" },
      ["tar:" .. made] = { "it has the files of an image: docker-archive:FILE" },
      ["dir:" .. folder .. "/l"] = { "it has the files of an image's layout: ", "oci:DIR" },
    } do
      for _ = 1, 2 do refused("EINVAL", root, { "root " .. root .. ": ", table.unpack(words) }) end -- the second time it is in the cache
    end
    refused("ENOTDIR", "dir:" .. folder .. "/src.tar", { "not a folder", "tar:FILE" })
    refused("EINVAL", "tar:" .. folder .. "/src", { "a folder, and no archive: dir:" .. folder .. "/src" })
    refused("EPROTO", "tar:" .. save("d", ("x"):rep(4096)), { "it is no tar archive", "disk:" .. folder .. "/d" })
  end))

  it("is an image by a tag that is not there: those that are there are told", run(function()
    local spec = layers.layout(folder, { { { path = "f", content = "1" } } }):gsub(":t$", "")
    refused("ENOENT", spec .. ":tt", { "the layout has no image 'tt' (it has t)" })
    refused("ENOENT", "oci:" .. folder, { folder .. "/index.json: No such file", "dir:DIR" })
    local layer = cc_image.tar { a = "1" }
    local id = "sha256:" .. core.sha256(layer):hex()
    save("d.tar", cc_image.tar { ["c.json"] = ('{"rootfs":{"diff_ids":["%s"]}}'):format(id), ["l.tar"] = layer,
      ["manifest.json"] = '[{"Config":"c.json","Layers":["l.tar"],"RepoTags":["tool:1","tool:2"]}]' })
    refused("ENOENT", "docker-archive:" .. folder .. "/d.tar:3", { "the archive has no image '3' (it has tool:1, tool:2)" })
  end))
end)
