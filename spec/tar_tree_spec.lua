-- Trees as archives, with GNU tar as the judge; and what is refused of extended attributes and links.
local assert = require "luassert"
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local layers = require "spec.support.layers"
local links = require "vmctl.tar.links"
local pax = require "vmctl.tar.pax"
local reader = require "vmctl.tar.read"
local slice = require "vmctl.rootfs.slice"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"
local support = require "spec.support"
local tree = require "vmctl.tar.tree"
local writer = require "vmctl.tar.write"
local xattrs = require "vmctl.tar.xattrs"

local run = support.run
local IS_ROOT = core.fs.identity() == 0

local function record(key, value)
  local rest, size = (" %s=%s\n"):format(key, value), 0
  while size ~= #rest + #tostring(size) do size = #rest + #tostring(size) end
  return size .. rest
end

-- A tree of all kinds of files in a folder.
local function plant(folder)
  layers.run(folder, [[mkdir -p t/d/e t/empty; cd t; echo one >d/one; ln d/one a; ln d/one z; ln -s 'no where' soft; ln soft soft2
    mkfifo pipe; ln pipe pipe2; truncate -s 20M hole; echo middle | dd of=hole bs=1M seek=5 conv=notrunc status=none; truncate -s 64M whole
    printf x >'sp ace'; printf x >"$(printf 'new\nline')"; printf x >"$(printf '\377\376')"; printf x >"$(printf %0255d 0)"
    touch -d '1960-01-01 00:00:00.25Z' d/e; touch -d '2200-01-01 00:00:00.000000001Z' a
    touch -h -d '2400-01-01 00:00:00.5Z' soft; chmod 4751 'sp ace'; chmod 1711 .]])
  local root <close> = assert(fs.root(folder .. "/t"))
  local function set(...) assert(root:set_xattr(...)) end
  set("/d/one", "user.a=b%3D", "x\0y\n")
  set("/d/e", "user.empty", "")
  set("/hole", "user.big", ("v"):rep(3000))
  if not IS_ROOT then return end
  layers.run(folder, [[cd t; mknod null c 1 3; mknod disk b 259 1048575; chown 70000:4000000000 d/one; chown -h 5:6 soft]])
  set("/null", "trusted.null", "n")
  set("/soft", "trusted.soft", "s")
  set("/sp ace", "security.capability", ("<I4I4I4I4I4"):pack(0x02000001, 1 << 13, 0, 0, 0))
end

local function list(folder, top)
  return layers.run(folder, ("./lister %s"):format(top))
end

local function pack(root, path)
  local file <close> = assert(fs.open(path, "wct", 384))
  local function write(bytes) return file:write(bytes) end
  assert(tree.each(root, function() return false end, function(entry, read) return writer.entry(write, entry, read, "pax") end))
  assert(writer.finish(write))
end

local UNPACK = "mkdir %s; tar --xattrs --xattrs-include='*' -C %s -xpf %s.tar"

describe("a tree as an archive", function()
  it("is unpacked by GNU tar as it was, and has each file's content once", run(function()
    local folder = support.tmpdir()
    plant(folder)
    layers.lister(folder)
    local root <close> = assert(fs.root(folder .. "/t"))
    pack(root, folder .. "/ours.tar")
    layers.run(folder, UNPACK:format("ours", "ours", "ours"))
    assert.equal(list(folder, "t"), list(folder, "ours"))
    assert.is_true(core.fs.stat(folder .. "/ours.tar").size < 1 << 20)
    assert.is_true(core.fs.stat(folder .. "/ours/hole").allocated < 1 << 20)
  end, 60))

  it("is the same after a snapshot's store, which an archive of GNU tar can fill as well", run(function()
    local folder = support.tmpdir()
    plant(folder)
    layers.lister(folder)
    -- GNU tar has no links to a FIFO.
    layers.run(folder, "rm t/pipe2; tar --format=posix --sort=name --xattrs --xattrs-include='*' --sparse -C t -cf gnu.tar .")
    local new = assert(snapshot_store.begin(folder .. "/cache"))
    local source <close> = assert(slice.open { path = folder .. "/gnu.tar", offset = 0 })
    assert(reader.each(source, function(entry, read) return new:add(entry, entry.type == "file" and read or nil) end))
    local key = assert(new:finish())
    local file <close> = assert(fs.open(folder .. "/kept.tar", "wct", 384))
    local function write(bytes) return file:write(bytes) end
    assert(snapshot_store.each(folder .. "/cache/" .. key, function(entry)
      local content <close> = entry.content and assert(slice.open(entry.content))
      return writer.entry(write, entry, content and function(n) return content:read(n) end, "pax")
    end))
    assert(writer.finish(write))
    layers.run(folder, UNPACK:format("kept", "kept", "kept"))
    assert.equal(list(folder, "t"), list(folder, "kept"))
  end, 60))

  it("says that there are more linked files than it has room for", function()
    local table_of = links.new(2)
    local function entry(i, n) return { path = "/" .. i, type = "file", device = 1, inode = i, links = n } end
    assert(table_of:keep(entry(1, 3)))
    assert(table_of:keep(entry(2, 2)))
    assert(table_of:keep(entry(9, 1)))
    assert.equal("ETOOBIG", select(3, table_of:keep(entry(3, 2))))
    assert.same({ "/1", "/2" }, { table_of:find(entry(1, 3)), table_of:find(entry(2, 2)) })
    assert(table_of:keep(entry(3, 2))) -- the second has no further name
    assert.equal("/1", table_of:find(entry(1, 3)))
    assert.is_nil(table_of:find(entry(1, 3)))
  end)

  it("remembers one name of an inode that has 100,000", function()
    local table_of = links.new(1)
    local one = { path = "/first", type = "file", device = 1, inode = 1, links = 100000 }
    assert(table_of:keep(one))
    for _ = 2, 100000 do assert.equal("/first", table_of:find(one)) end
    assert.is_nil(table_of:find(one))
  end)
end)

describe("extended attributes of an archive", function()
  local function parse(...)
    local values = {}
    local ok, err, code = pax.parse(table.concat { ... }, values)
    return ok and xattrs.of(values), err, code
  end

  it("have names with what would end them, and values of any bytes", function()
    assert.same({ ["user.a=b%3D"] = "x\0=\n", ["user.%"] = "", ["user.50%"] = "1" }, parse(record("SCHILY.xattr.user.a%3Db%253D", "x\0=\n"),
      record("SCHILY.xattr.user.%25", "old"), record("SCHILY.xattr.user.%", ""), record("SCHILY.xattr.user.50%", "1")))
  end)

  local refused = {
    ["no name"] = { "EPROTO", record("SCHILY.xattr.", "x") },
    ["a name with a NUL byte"] = { "EPROTO", record("SCHILY.xattr.user.a\0b", "x") },
    ["a name of 256 bytes"] = { "EPROTO", record("SCHILY.xattr." .. ("n"):rep(256), "x") },
    ["a value of 64 KiB"] = { "ETOOBIG", record("SCHILY.xattr.user.a", ("v"):rep(65536)) },
    ["a length that lies"] = { "EPROTO", "9999 SCHILY.xattr.user.a=x\n" },
    ["a length that is too short"] = { "EPROTO", "20 SCHILY.xattr.user.a=x\n" },
  }
  for what, each in pairs(refused) do
    it("are refused with " .. what, function() assert.equal(each[1], select(3, parse(each[2]))) end)
  end

  it("are refused beyond 512 of them, or 1 MiB", function()
    local many, large = {}, {}
    for i = 1, 512 do many[i] = record("SCHILY.xattr.user." .. i, "v") end
    assert(parse(table.unpack(many)))
    many[513] = record("SCHILY.xattr.user.513", "v")
    assert.equal("ETOOBIG", select(3, parse(table.unpack(many))))
    for i = 1, 15 do large[i] = record("SCHILY.xattr.user." .. i, ("v"):rep(65535)) end
    assert(parse(table.unpack(large)))
    for i = 16, 17 do large[i] = record("SCHILY.xattr.user." .. i, ("v"):rep(65535)) end
    assert.equal("ETOOBIG", select(3, parse(table.unpack(large))))
  end)
end)
