-- The doctor's findings on disks and in folders. Takes about 15 seconds.
local assert = require "luassert"
local doctor = require "vmctl".doctor
local guest = require "spec.support.guest"
local partitions = require "vmctl.machine.partitions"
local roots = require "spec.support.roots"
local support = require "spec.support"

local MIB = 1 << 20

local function reader(bytes)
  return function(offset, size) return bytes:sub(offset + 1, offset + size) end
end

local function at(size, ...)
  local pieces, place = {}, 0
  for i = 1, select("#", ...), 2 do
    local offset, text = select(i, ...)
    pieces[#pieces + 1] = ("\0"):rep(offset - place) .. text
    place = offset + #text
  end
  return table.concat(pieces) .. ("\0"):rep(size - place)
end

local SIGNED = "\x55\xaa"

local function mbr(...)
  local entries = {}
  for i, each in ipairs { ... } do entries[i] = ("<BBBBBBBBI4I4"):pack(0, 0, 0, 0, each[1], 0, 0, 0, each[2], each[3]) end
  return at(512, 446, table.concat(entries), 510, SIGNED)
end

local function utf16(text) return (text:gsub(".", "%0\0")) end

local ESP = "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b"

local function gpt(entries, place, count, size)
  return at(512 * 34, 0, mbr { 0xee, 1, 99 }, 512, at(512, 0, "EFI PART", 72, ("<I8I4I4"):pack(place or 2, count or 128, size or 128)),
    1024, entries)
end

describe("the partitions of a disk", function()
  local function list(bytes, size) return partitions.list(reader(bytes), size or #bytes) end

  it("are those of its MBR, with the file systems on them", function()
    local bytes = at(MIB, 0, mbr({ 0x83, 64, 128 }, { 0x82, 512, 8 }, { 0, 0, 0 }, { 0x0c, 600, 1 << 20 }),
      64 * 512, at(2048, 1080, "\x53\xef", 1144, "root"), 512 * 512, at(4096, 1052, "pages", 4086, "SWAPSPACE2"))
    local found = assert(list(bytes))
    assert.same({ { 1, 64 * 512, 128 * 512, "ext4", "root" }, { 2, 512 * 512, 4096, "swap", "pages" }, { 4, 600 * 512, 1 << 29 } },
      { { found[1].number, found[1].start, found[1].size, found[1].type, found[1].label },
        { found[2].number, found[2].start, found[2].size, found[2].type, found[2].label },
        { found[3].number, found[3].start, found[3].size, found[3].type, found[3].label } })
  end)

  it("are those of its GPT, with their names and roles", function()
    local entries = at(128 * 128, 0, at(128, 0, ESP, 32, ("<I8I8"):pack(40, 47), 56, utf16 "boot"),
      256, at(128, 0, ("x"):rep(16), 32, ("<I8I8"):pack(48, 2047)))
    local found = assert(list(gpt(entries) .. at(MIB, 0, "")))
    assert.same({ { number = 1, start = 40 * 512, size = 4096, name = "boot", role = "EFI system partition" },
      { number = 3, start = 48 * 512, size = 2000 * 512 } }, found)
  end)

  it("are one where a file system has the whole disk, and none where nothing is known", function()
    assert.same({ { number = 0, start = 0, size = 70000, type = "btrfs", label = "b" } }, list(at(70000, 65600, "_BHRfS_M", 65835, "b")))
    local id, mark = "\1\2\3\4\5\6\7\8\9\10\11\12\13\14\15\255", "\x10\x20\xf5\xf2"
    assert.same({ "f2fs", nil, "01020304-0506-0708-090a-0b0c0d0e0fff" }, { partitions.identify(at(2048, 1024, mark, 1132, id)) })
    assert.same({}, list(at(4096, 0, "text")))
    assert.same({}, list "")
  end)

  it("of a damaged table are refused", function()
    local function refused(bytes, text) assert.same({ nil, text, "EINVAL" }, { list(bytes) }) end
    refused(mbr { 0xee, 1, 99 }, "its MBR speaks of a GPT that is not there")
    refused(gpt("", 2, 128, 0), "its GPT is damaged")
    refused(gpt("", 2, 128, 1 << 31), "its GPT is damaged")
    refused(gpt("", 1 << 62), "its GPT is damaged")
    assert.same({}, list(gpt(("\xff"):rep(128), 2, 0xffffffff)))
    assert.same({}, list(gpt("", 1 << 30)))
  end)
end)

describe("doctor", function()
  local function look(folder, what)
    local found, lines = {}, doctor.root(what, { kernel = guest.kernel, modules_dir = guest.modules_dir(), agent = guest.agent,
      cache_dir = folder .. "/cache" })
    for _, each in ipairs(lines) do found[each.name] = each end
    return found
  end

  it("tells what is on a disk, and in a folder", support.run(function()
    local folder = support.tmpdir()
    local tree = folder .. "/tree"
    assert(os.execute(("mkdir '%s'"):format(tree)))
    local disk = roots.disk(roots.folder(tree), folder .. "/disk")
    assert(os.execute(("qemu-img convert -c -f raw -O qcow2 '%s' '%s.qcow2'"):format(disk, disk)))
    local found = look(folder, ("disk:%s.qcow2"):format(disk))
    assert.equal("qcow2, 32 MiB", found.disk.detail)
    assert.equal("1: ext4 'little' (30 MiB)", found.partitions.detail)
    assert.same({ "little", "another (/sbin/init)", "no", "no" },
      { found.distribution.detail, found.init.detail, found["cloud-init"].detail, found["qemu-ga"].detail })
    assert.is_true(found.boot.ok)
    found = look(folder, "dir:" .. tree)
    assert.is_nil(found.disk)
    assert.equal("little", found.distribution.detail)
    assert.is_true(found.boot.ok)
  end, 240))

  it("tells what is wrong with a root", support.run(function()
    local folder = support.tmpdir()
    assert(os.execute(("head -c 65536 /dev/zero | tr '\\0' x > '%s/text'"):format(folder)))
    local found = look(folder, "disk:" .. folder .. "/text")
    assert.same({ false, "no table of partitions, and no file system that is known" }, { found.partitions.ok, found.partitions.detail })
    assert.is_false(found.inside.ok)
    assert.truthy(found.inside.detail:find("it has neither a table of partitions nor a file system", 1, true), found.inside.detail)
    assert.is_nil(found.boot)
    found = look(folder, "disk:" .. folder .. "/nothing")
    assert.truthy(found.disk.detail:find("No such file", 1, true))
    found = look(folder, "dri:" .. folder)
    assert.is_false(found.inside.ok)
  end, 120))
end)
