-- Archives come from guests and containers: each header form, what is refused, input that is cut or dribbled, and the archives of
-- GNU tar, both ways.
local assert = require "luassert"
local child = require "spec.support.child"
local reader = require "vmctl.tar.read"
local support = require "spec.support"
local writer = require "vmctl.tar.write"

local run, code = support.run, support.code

local BLOCK = 512
local END = ("\0"):rep(2 * BLOCK)

local function octal(value, width)
  return ("%0" .. width - 1 .. "o\0"):format(value)
end

local function padded(bytes)
  return bytes .. ("\0"):rep(-#bytes % BLOCK)
end

-- A header block by hand; fields that are given as text stand there as they are.
local function header(fields)
  local function field(name, width)
    local value = fields[name] or 0
    return string.pack("c" .. width, type(value) == "string" and value or octal(value, width))
  end
  local before = string.pack("c100", fields.path or "file") .. field("mode", 8) .. field("uid", 8) .. field("gid", 8)
    .. field("size", 12) .. field("mtime", 12)
  local after = (fields.flag or "0") .. string.pack("c100", fields.link or "") .. (fields.magic or "ustar\00000") ..
    ("\0"):rep(64) .. field("major", 8) .. field("minor", 8) .. string.pack("c155", fields.prefix or "") .. ("\0"):rep(12)
  local sum = 8 * 32
  for byte in (before .. after):gmatch "." do sum = sum + byte:byte() end
  return before .. (fields.sum or ("%06o\0 "):format(sum)) .. after
end

local function file(path, content, fields)
  local all = { path = path, size = #content, mode = 420 }
  for name, value in pairs(fields or {}) do all[name] = value end
  return header(all) .. padded(content)
end

local function special(flag, body)
  return header { path = "special", flag = flag, size = #body } .. padded(body)
end

local function pax(values)
  local records = {}
  for _, pair in ipairs(values) do
    local body = (" %s=%s\n"):format(pair[1], pair[2])
    local length = #body + 1
    while #tostring(length) + #body ~= length do length = #tostring(length) + #body end
    records[#records + 1] = length .. body
  end
  return special("x", table.concat(records))
end

-- Where bytes come from: `step` of them at a time at the most. Skips as a stream does.
local function source(bytes, step)
  local at = 1
  return {
    read = function(_, n)
      local data = bytes:sub(at, at + math.min(n, step or n) - 1)
      at = at + #data
      if data == "" then return nil, "the end", "EOF" end
      return data
    end,
    skip = function(_, n)
      local there = n <= #bytes - at + 1
      at = at + n
      return there
    end,
  }
end

-- All entries with their contents, or what reading failed with.
local function read(bytes, step, most)
  local list = {}
  local ok, message, why = reader.each(source(bytes, step), function(entry, next_bytes)
    local parts = {}
    repeat
      local data, err, name = next_bytes(1000)
      if not data then return nil, err, name end
      parts[#parts + 1] = data
    until data == ""
    entry.content = table.concat(parts)
    list[#list + 1] = entry
    return true
  end, most)
  if not ok then return nil, message, why, list end
  return list
end

local function one(bytes)
  local list = assert(read(bytes .. END))
  assert.equal(1, #list)
  return list[1]
end

-- The whole archive that the writer makes.
local function written(...)
  local parts = {}
  local function write(bytes)
    parts[#parts + 1] = bytes
    return true
  end
  for _, entry in ipairs { ... } do
    local content, at = entry.content or "", 1
    assert(writer.entry(write, entry, function(n)
      local data = content:sub(at, at + n - 1)
      at = at + #data
      return data
    end, entry.knows))
  end
  assert(writer.finish(write))
  return table.concat(parts)
end

describe("tar.read", function()
  it("takes a file with what its header says", function()
    local entry = one(file("a/b", "content", { mode = 2541, uid = 1000, gid = 100, mtime = 1700000000 }))
    assert.same({ "a/b", "file", 2541, 1000, 100, 1700000000, 7, "content" },
      { entry.path, entry.type, entry.mode, entry.uid, entry.gid, entry.mtime, entry.size, entry.content })
  end)

  it("takes each type", function()
    for flag, kind in pairs { ["0"] = "file", ["\0"] = "file", ["7"] = "file", ["1"] = "hard", ["2"] = "link", ["3"] = "char",
      ["4"] = "block", ["5"] = "directory", ["6"] = "fifo", Z = "other" } do
      local entry = one(header { path = "x", flag = flag, link = "to", major = 8, minor = 1 })
      assert.same({ kind, "to", 8, 1 }, { entry.type, entry.link, entry.major, entry.minor })
    end
  end)

  it("takes a name that ends in a slash as a folder, also where no type stands", function()
    assert.equal("directory", one(header { path = "d/", flag = "0" }).type)
    assert.equal("directory", one(header { path = "d/", flag = "\0", magic = ("\0"):rep(8) }).type)
  end)

  it("joins a prefix and a name of 100 bytes, in ustar alone", function()
    local name = ("n"):rep(100)
    assert.equal("p/q/" .. name, one(header { path = name, prefix = "p/q" }).path)
    assert.equal(name, one(header { path = name, prefix = "p/q", magic = "ustar  \0" }).path)
    assert.equal(name, one(header { path = name, prefix = "p/q", magic = ("\0"):rep(8) }).path)
  end)

  it("takes numbers with blanks, without an end, of nothing, and binary ones", function()
    for field, value in pairs { ["    17 \0"] = 15, ["00000017"] = 15, ["17 \0\0\0\0\0"] = 15, ["\0\0\0\0\0\0\0\0"] = 0,
      ["\x80\0\0\0\0\1\0\0"] = 65536, ["\x80\0\0\0\xff\xff\xff\xff"] = 4294967295 } do
      assert.equal(value, one(header { uid = field }).uid)
    end
    assert.equal(-1, one(header { mtime = ("\xff"):rep(12) }).mtime)
    assert.equal(1 << 40, one(header { mtime = "\x80" .. (">I8"):pack(1 << 40):rep(1):gsub("^", "\0\0\0") }).mtime)
  end)

  it("takes GNU's long names and long links, for the next entry alone", function()
    local long, target = ("d/"):rep(200) .. "name", ("t"):rep(300)
    local list = assert(read(special("L", long .. "\0") .. special("K", target .. "\0") .. header { flag = "2" } ..
      file("next", "") .. END))
    assert.same({ long, target, "next", "" }, { list[1].path, list[1].link, list[2].path, list[2].link })
  end)

  it("takes what pax headers say, for the next entry alone, and nothing else of them", function()
    local head = pax { { "path", "päth/ with=equals\nand a line" }, { "uid", "3000000" }, { "gid", "5" }, { "mtime", "1700000000.25" },
      { "size", "3" }, { "comment", "no matter" }, { "SCHILY.xattr.user.x", "\0\1" } }
    local list = assert(read(head .. header { size = 0 } .. padded "abc" .. file("next", "") .. END))
    local entry = list[1]
    assert.same({ "päth/ with=equals\nand a line", 3000000, 5, 1700000000, 250000000, "abc" },
      { entry.path, entry.uid, entry.gid, entry.mtime, entry.nsec, entry.content })
    assert.is_nil(entry.comment)
    assert.same({ "next", 0, 0 }, { list[2].path, list[2].uid, list[2].nsec })
  end)

  it("takes times before 1970 with their parts, which count upwards", function()
    for text, want in pairs { ["-1.25"] = { -2, 750000000 }, ["-1"] = { -1, 0 }, ["0.000000001"] = { 0, 1 },
      ["5.1234567899"] = { 5, 123456789 }, ["7."] = { 7, 0 } } do
      local entry = one(pax { { "mtime", text } } .. file("f", ""))
      assert.same(want, { entry.mtime, entry.nsec })
    end
  end)

  it("takes no content for what has none, whatever size its header says", function()
    for _, flag in ipairs { "1", "2", "3", "4", "5", "6" } do
      local list = assert(read(header { flag = flag, size = 512 } .. file("next", "x") .. END))
      assert.same({ 0, "next" }, { list[1].size, list[2].path })
    end
  end)

  it("goes on behind what was not read", function()
    local seen = {}
    assert(reader.each(source(file("a", ("x"):rep(5000)) .. file("b", "y") .. END), function(entry)
      seen[#seen + 1] = entry.path
      return true
    end))
    assert.same({ "a", "b" }, seen)
  end)

  it("ends with what the visitor failed with", function()
    local ok, message, why = reader.each(source(file("a", "") .. END), function() return nil, "full", "ENOSPC" end)
    assert.same({ nil, "full", "ENOSPC" }, { ok, message, why })
  end)

  it("gives on what the source failed with", function()
    local broken = source(file("a", "x"))
    local left = 1
    function broken.read(_, n)
      left = left - 1
      if left < 0 then return nil, "the wire broke", "ECONNRESET" end
      return file("a", "x"):sub(1, n)
    end
    assert.equal("ECONNRESET", code(reader.each(broken, function(_, next_bytes)
      local data, err, why = next_bytes(10)
      return data, err, why
    end)))
  end)

  it("takes a file with holes", function()
    local map = padded "2\n0\n3\n1000\n4\n"
    local head = pax { { "GNU.sparse.major", "1" }, { "GNU.sparse.minor", "0" }, { "GNU.sparse.name", "holes" },
      { "GNU.sparse.realsize", "5000" } }
    local entry = one(head .. header { path = "GNUSparseFile.1/holes", size = #map + 7 } .. padded(map .. "abcdefg"))
    assert.same({ "holes", 5000, "abcdefg", { { offset = 0, size = 3 }, { offset = 1000, size = 4 } } },
      { entry.path, entry.real_size, entry.content, entry.map })
  end)

  local function sparse(map, stored, values)
    local head = { { "GNU.sparse.major", "1" }, { "GNU.sparse.minor", "0" }, { "GNU.sparse.realsize", "100" } }
    for i, value in pairs(values or {}) do head[i] = value end
    return pax(head) .. header { size = #padded(map) + stored } .. padded(padded(map) .. ("x"):rep(stored))
  end

  local refused = {
    ["a wrong check sum"] = header { sum = "000000\0 " },
    ["a check sum that is no number"] = header { sum = "12345x\0 " },
    ["letters in a number"] = header { size = "12x4" },
    ["digits behind a blank in a number"] = header { size = "1 2" },
    ["an octal number with an 8"] = header { mode = "0000648" },
    ["a negative size"] = header { size = ("\xff"):rep(12) },
    ["a negative owner"] = header { uid = ("\xff"):rep(8) },
    ["a size beyond all bounds"] = header { size = "\x80" .. ("\x7f"):rep(11) },
    ["a long name beyond its bound"] = header { flag = "L", size = (1 << 20) + 1 },
    ["a name that Linux does not have"] = pax { { "path", ("a/"):rep(2048) .. "b" } } .. file("f", ""),
    ["a pax header beyond its bound"] = header { flag = "x", size = 1 << 32 },
    ["a pax record without a length"] = special("x", "path=a\n"),
    ["a pax record with a length of 0"] = special("x", "0 path=a\n"),
    ["a pax record that is longer than its header"] = special("x", "99 path=a\n"),
    ["a pax record that is shorter than its key"] = special("x", "7 path=a\n"),
    ["a pax record without a key"] = special("x", "6 =a\n\n"),
    ["a pax record without a value"] = special("x", "8 patha\n"),
    ["a pax record without its line end"] = special("x", "9 path=ab"),
    ["a pax length of too many digits"] = special("x", "00000010 path=a\n"),
    ["a pax size that is no number"] = pax { { "size", "-1" } } .. file("f", ""),
    ["a pax size of too many digits"] = pax { { "size", ("9"):rep(19) } } .. file("f", ""),
    ["a pax owner that is no number"] = pax { { "uid", "0x10" } } .. file("f", ""),
    ["a pax time that is none"] = pax { { "mtime", "1e9" } } .. file("f", ""),
    ["a pax time of too many digits"] = pax { { "mtime", ("9"):rep(16) } } .. file("f", ""),
    ["a name with a NUL byte"] = pax { { "path", "a\0b" } } .. file("f", ""),
    ["a link with a NUL byte"] = pax { { "linkpath", "a\0b" } } .. header { flag = "2" },
    ["headers without an entry, one after the other"] = special("g", ""):rep(17) .. file("f", ""),
    ["holes of another format"] = sparse("0\n", 0, { [2] = { "GNU.sparse.minor", "1" } }),
    ["holes without a size"] = sparse("0\n", 0, { [3] = { "comment", "none" } }),
    ["a map with letters"] = sparse("x\n", 0),
    ["a map with a negative number"] = sparse("1\n-1\n0\n", 0),
    ["a map with a number of too many digits"] = sparse("1\n" .. ("0"):rep(19) .. "\n0\n", 0),
    ["a map that ends early"] = sparse("2\n0\n1\n", 1),
    ["a map with parts that lie over each other"] = sparse("2\n0\n2\n1\n2\n", 4),
    ["a map with a part beyond the end"] = sparse("1\n99\n2\n", 2),
    ["a map with a part whose end wraps"] = sparse("1\n" .. ("9"):rep(18) .. "\n" .. ("9"):rep(18) .. "\n", 2),
    ["a map with more than there is"] = sparse("1\n0\n5\n", 4),
    ["a map with less than there is"] = sparse("1\n0\n3\n", 4),
    ["a map of a billion parts"] = sparse("1000000000\n", 0),
  }
  for what, bytes in pairs(refused) do
    it("refuses " .. what, function()
      local list, message, why = read(bytes .. END)
      assert.is_nil(list)
      assert.equal("EPROTO", why)
      assert.is_truthy(message:find "^tar: ")
    end)
  end

  it("refuses more entries than it may take", function()
    local bytes = file("a", ""):rep(3) .. END
    assert.equal(3, #assert(read(bytes, nil, 3)))
    local list, _, why, seen = read(bytes, nil, 2)
    assert.same({ "ETOOBIG", 2 }, { why, #seen })
    assert.is_nil(list)
  end)

  local ALL = pax { { "mtime", "7.5" }, { "path", "long" } } .. file("a", ("x"):rep(700)) .. special("L", "gnu\0") .. file("b", "y") ..
    header { path = "c/", flag = "5" } .. header { path = "d", flag = "2", link = "c" } .. sparse("1\n5\n3\n", 3)

  it("gives the same whatever pieces come in", function()
    local want = assert(read(ALL .. END))
    assert.equal(5, #want)
    for _, step in ipairs { 1, 2, 3, 7, 511, 512, 513 } do assert.same(want, read(ALL .. END, step)) end
  end)

  it("refuses an archive that is cut, at every byte: nothing half is taken as whole", function()
    local whole = assert(read(ALL .. END))
    for stop = 0, #ALL + BLOCK - 1 do
      local list, _, why, seen = read((ALL .. END):sub(1, stop))
      if list or why ~= "EPROTO" then error(("cut at %d: %s"):format(stop, why)) end
      for i, entry in ipairs(seen) do assert.equal(whole[i].content, entry.content) end
    end
  end)

  it("takes time that grows with the input alone", function()
    local records = {}
    for i = 1, 60000 do records[i] = { "comment", tostring(i) } end
    assert(read(pax(records):sub(1, 1 << 21) .. file("f", "") .. END)) -- quadratic work would take minutes
    assert.equal("EPROTO", code(reader.each(source(special("x", ("9"):rep(1 << 20)) .. END), error)))
    assert.equal("EPROTO", code(reader.each(source(special("x", "99999 " .. ("k"):rep(99990) .. "\n"):rep(10) .. END), error)))
  end)
end)

describe("tar.write", function()
  local base = { mode = 420, uid = 1, gid = 2, mtime = 1700000000 }

  local function entry(fields)
    local all = {}
    for name, value in pairs(base) do all[name] = value end
    for name, value in pairs(fields) do all[name] = value end
    all.size = all.size or all.content and #all.content or 0
    return all
  end

  it("writes what the reader reads", function()
    local long = ("d/"):rep(100) .. "name"
    local list = assert(read(written(entry { path = "/f", type = "file", content = "bytes" },
      entry { path = "/" .. long, type = "file", content = ("x"):rep(300000) }, entry { path = "/d", type = "directory" },
      entry { path = "/l", type = "link", link = ("t"):rep(200) }, entry { path = "/b", type = "block", major = 7, minor = 9 },
      entry { path = "/s", type = "socket" }, entry { path = "/o", type = "file", uid = 1 << 31, mtime = -5 })))
    local names = {}
    for i, each in ipairs(list) do names[i] = each.path .. " " .. each.type end
    assert.same({ "f file", long .. " file", "d/ directory", "l link", "b block", "o file" }, names)
    assert.same({ "bytes", 300000, ("t"):rep(200), 7, 9, 1 << 31, -5 },
      { list[1].content, #list[2].content, list[4].link, list[5].major, list[5].minor, list[6].uid, list[6].mtime })
  end)

  it("writes parts of seconds and holes for who knows them", function()
    local map = { { offset = 10, size = 3 }, { offset = 5000, size = 2 } }
    local got = assert(read(written(entry { path = "/f", type = "file", content = "abcde", nsec = 5, map = map, real_size = 9000,
      knows = "pax" })))[1]
    assert.same({ "f", 5, 9000, "abcde" }, { got.path, got.nsec, got.real_size, got.content })
    assert.same(map, got.map)
  end)

  it("fills a file that has become shorter with zeros, and says so; one that has grown is cut", function()
    local parts = {}
    local function write(bytes)
      parts[#parts + 1] = bytes
      return true
    end
    local pieces = { "abc" }
    local function next_piece() return table.remove(pieces, 1) or "" end
    assert.equal("ESHRUNK", code(writer.entry(write, entry { path = "/f", type = "file", size = 1000 }, next_piece)))
    pieces = { "1234", "5678" }
    assert(writer.entry(write, entry { path = "/g", type = "file", size = 4 }, function(n)
      assert.equal(4, n)
      return next_piece()
    end))
    assert(writer.finish(write))
    local list = assert(read(table.concat(parts)))
    assert.same({ "abc" .. ("\0"):rep(997), "1234" }, { list[1].content, list[2].content })
  end)

  it("gives on what writing and reading failed with", function()
    local function full() return nil, "full", "ENOSPC" end
    assert.equal("ENOSPC", code(writer.entry(full, entry { path = "/d", type = "directory" })))
    local function away() return nil, "away", "EIO" end
    assert.equal("EIO", code(writer.entry(function() return true end, entry { path = "/f", type = "file", size = 4 }, away)))
  end)
end)

describe("tar and GNU tar", function()
  local function shell(script, ...)
    local out = child.output_of { "sh", "-ec", script, "sh", ... }
    return out
  end

  local function bytes_of(path)
    local f <close> = assert(io.open(path, "rb"))
    return f:read "a"
  end

  for _, format in ipairs { "v7", "oldgnu", "gnu", "ustar", "posix" } do
    it("agree on an archive of the format " .. format, run(function()
      local folder = support.tmpdir()
      shell([[
        cd "$1"; mkdir -p t/sub; printf hello >t/file; ln t/file t/twin; ln -s file t/link; : >t/sub/empty
        head -c 1537 /dev/zero >t/sub/zeros; touch -d @1234567890 t/file
        tar --sort=name --format=$2 -cf a.tar t
      ]], folder, format)
      local list = assert(read(bytes_of(folder .. "/a.tar")))
      local seen = {}
      for i, each in ipairs(list) do seen[i] = ("%s %s %d"):format(each.type, each.path, #each.content) end
      assert.same({ "directory t/ 0", "file t/file 5", "link t/link 0", "directory t/sub/ 0", "file t/sub/empty 0",
        "file t/sub/zeros 1537", "hard t/twin 0" }, seen)
      assert.same({ "hello", "file", "t/file", 1234567890 }, { list[2].content, list[3].link, list[7].link, list[2].mtime })
    end))
  end

  it("agree on long names and holes", run(function()
    local folder = support.tmpdir()
    shell([[
      cd "$1"; d=$(printf 'x%.0s' $(seq 120)); mkdir -p "$d/$d"; echo long >"$d/$d/$d"
      truncate -s 1M holes; printf middle | env -u LD_PRELOAD dd of=holes bs=1 seek=500000 conv=notrunc 2>/dev/null
      tar --format=posix -S --sparse-version=1.0 -cf pax.tar holes "$d/$d/$d"
      tar --format=gnu -cf gnu.tar "$d/$d/$d"
    ]], folder)
    local name = ("x"):rep(120)
    local list = assert(read(bytes_of(folder .. "/pax.tar")))
    assert.same({ "holes", 1 << 20, name .. "/" .. name .. "/" .. name, "long\n" },
      { list[1].path, list[1].real_size, list[2].path, list[2].content })
    assert.is_truthy(list[1].content:find("middle", 1, true))
    assert.is_true(#list[1].content < 100000)
    assert.equal(name .. "/" .. name .. "/" .. name, assert(read(bytes_of(folder .. "/gnu.tar")))[1].path)
  end))

  it("agree on what is written here", run(function()
    local folder = support.tmpdir()
    local name = ("n"):rep(150)
    local f <close> = assert(io.open(folder .. "/a.tar", "wb"))
    f:write(written({ path = "/d", type = "directory", mode = 493, uid = 0, gid = 0, mtime = 1, size = 0 },
      { path = "/d/" .. name, type = "file", mode = 384, uid = 0, gid = 0, mtime = 1234567890, nsec = 500000000, size = 5,
        content = "hello", knows = "pax" },
      { path = "/d/holes", type = "file", mode = 384, uid = 0, gid = 0, mtime = 1, size = 3, content = "abc",
        map = { { offset = 70000, size = 3 } }, real_size = 100000, knows = "pax" },
      { path = "/d/link", type = "link", link = "holes", mode = 511, uid = 0, gid = 0, mtime = 1, size = 0 }))
    f:close()
    local out = shell([[
      cd "$1"; tar --numeric-owner -xf a.tar 2>&1; cat "d/$2"; echo; stat -c '%a %.Y %s' "d/$2"; stat -c %s d/holes
      tail -c +70001 d/holes | head -c 3; echo; readlink d/link
    ]], folder, name)
    assert.equal("hello\n600 1234567890.500000000 5\n100000\nabc\nholes\n", (out:gsub("(%.5)%s", "%1")))
  end))
end)
