-- Archives that nobody vouches for, and the store of snapshots.
local assert = require "luassert"
local core = require "vmctl.core"
local cc_image = require "spec.support.cc_image"
local glob = require "vmctl.cc.backend.glob"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"
local support = require "spec.support"
local vmctl = require "vmctl"
local tar = require "vmctl.tar.read"

-- A source for the reader of archives, of a text.
local function source_of(text)
  local at = 1
  return {
    read = function(_, n)
      if at > #text then return nil end
      local data = text:sub(at, at + n - 1)
      at = at + #data
      return data
    end,
    skip = function(_, n)
      if n > #text - at + 1 then return nil end
      at = at + n
      return true
    end,
  }
end

local function list(text)
  local found = {}
  local ok, err, code = tar.each(source_of(text), function(entry, read)
    local parts = {}
    for data in function() return read(7) end do
      if data == "" then break end
      parts[#parts + 1] = data
    end
    entry.text = table.concat(parts)
    found[#found + 1] = entry
    return true
  end)
  return ok and found, err, code
end

describe("the tar reader", function()
  it("reads what the writer writes: long names, links, large numbers, times before 1970", function()
    local long = ("d/"):rep(80) .. "file"
    local found = assert(list(cc_image.tar { [long] = { content = "text", mode = 2541, uid = 3000000, mtime = -5 },
      link = { link = ("x"):rep(150) }, folder = {} }))
    assert.equal(3, #found)
    assert.same({ "/" .. long, "file", 2541, 3000000, -5, "text" },
      { "/" .. found[1].path, found[1].type, found[1].mode, found[1].uid, found[1].mtime, found[1].text })
    assert.equal("directory", found[2].type)
    assert.equal(("x"):rep(150), found[3].link)
  end)

  it("reads what tar writes", support.run(function()
    local folder = support.tmpdir()
    assert(core.fs.mkdir(folder .. "/in"))
    assert(core.fs.replace(folder .. "/in/" .. ("n"):rep(120), "long name"))
    for _, format in ipairs { "gnu", "ustar", "pax" } do
      local pipe = assert(io.popen(("tar -C '%s/in' --format=%s -cf - . 2>/dev/null"):format(folder, format)))
      local text = pipe:read "a"
      pipe:close()
      local found = list(text)
      if format ~= "ustar" then assert.equal("long name", found[#found].text) end
    end
  end))

  it("refuses an archive that is cut anywhere, or changed in a header", function()
    local text = cc_image.tar { a = "content of a", b = { link = "a" } }
    for size = 0, #text - 1025, 17 do assert.equal("EPROTO", select(3, list(text:sub(1, size))), size) end
    for at = 1, 140, 3 do
      local bad = text:sub(1, at - 1) .. string.char(text:byte(at) ~ 0x55) .. text:sub(at + 1)
      assert.equal("EPROTO", select(3, list(bad)), at)
    end
  end)

  it("survives random bytes", function()
    math.randomseed(5)
    local text = cc_image.tar { [("n"):rep(200)] = "content", folder = {} }
    for _ = 1, 300 do
      local at = math.random(#text)
      list(text:sub(1, at - 1) .. string.char(math.random(0, 255)) .. text:sub(at + 1))
    end
  end)
end)

describe("patterns of what a snapshot leaves out", function()
  it("keep * inside a name and let ** through folders", function()
    local skip = assert(glob.compile { "/proc/*", "/tmp/**", "*.log", "/a?c" })
    for path, wanted in pairs { ["/proc/1"] = true, ["/proc/1/x"] = false, ["/tmp/a/b"] = true, ["/tmp"] = false,
      ["/var/x.log"] = true, ["/abc"] = true, ["/a/c"] = false, ["/x/proc/1"] = false } do
      assert.equal(wanted, skip(path), path)
    end
    assert.is_nil(glob.compile { ("a"):rep(5000) })
    assert.is_nil(glob.compile { "" })
  end)
end)

describe("the store of snapshots", function()
  it("has the same key for the same content, and refuses a manifest that is broken", support.run(function()
    local cache = support.tmpdir()
    local function keep(text)
      local s = assert(snapshot_store.begin(cache))
      assert(s:add { path = "/a b\n", type = "directory", mode = 493, uid = 1, gid = 2, mtime = 3 })
      local rest = text
      assert(s:add({ path = "/f", type = "file", mode = 420, uid = 0, gid = 0, mtime = 0 }, function()
        local data = rest
        rest = nil
        return data
      end))
      return assert(s:finish())
    end
    local key = keep "one"
    assert.equal(key, keep "one")
    assert.is_true(key ~= keep "two")
    local found = {}
    assert(snapshot_store.each(cache .. "/" .. key, function(entry) found[#found + 1] = entry return true end))
    assert.equal("/a b\n", found[1].path)
    assert.same({ key = key, image = {} }, snapshot_store.describe(cache .. "/" .. key))
    assert.equal(3, found[2].content.size)
    assert(core.fs.replace(cache .. "/" .. key .. "/manifest", "vmctl snapshot 1\nfile 9\n"))
    assert.equal("EPROTO", select(3, snapshot_store.each(cache .. "/" .. key, function() return true end)))
  end))

  it("reads what a first version has kept", support.run(function()
    local cache = support.tmpdir()
    assert(core.fs.mkdir(cache .. "/old"))
    assert(core.fs.replace(cache .. "/old/manifest", "vmctl snapshot 1\nimage {}\ndirectory 755 1 2 -3 /a%20b \nlink 777 0 0 4 /l a%0ab\n"))
    local found = {}
    assert(snapshot_store.each(cache .. "/old", function(entry) found[#found + 1] = entry return true end))
    assert.same({ { type = "directory", mode = 493, uid = 1, gid = 2, mtime = -3, nsec = 0, path = "/a b" },
      { type = "link", mode = 511, uid = 0, gid = 0, mtime = 4, nsec = 0, path = "/l", link = "a\nb" } }, found)
  end))

  it("does not keep a file that could not be read to its end, or a manifest beyond its bound", support.run(function()
    local cache = support.tmpdir()
    local s = assert(snapshot_store.begin(cache))
    local parts = { "a part" }
    local file = { path = "/f", type = "file", mode = 420, uid = 0, gid = 0, mtime = 0 }
    assert.equal("EIO", support.code(s:add(file, function() return table.remove(parts), "read /f: Input/output error", "EIO" end)))
    parts = { "a part" }
    file.map, file.real_size, file.size = { { offset = 5, size = 7 } }, 100, 7
    assert.equal("ESHRUNK", support.code(s:add(file, function() return table.remove(parts) end)))
    local fifo, code = { path = "/p", type = "fifo", mode = 420, uid = 0, gid = 0, mtime = 0, xattrs = {} }, nil
    for i = 1, 16 do fifo.xattrs["user." .. i] = ("v"):rep(65535) end
    for _ = 1, 300 do
      code = support.code(s:add(fifo))
      if code then break end
    end
    assert.equal("ETOOBIG", code)
    s:drop()
    assert.same({ "blobs" }, core.fs.list(cache))
  end, 60))

  it("lets go of what was begun in a task that is cancelled", support.run(function()
    local cache = support.tmpdir()
    local task = vmctl.spawn(function()
      local s = assert(snapshot_store.begin(cache))
      local parts = { "a part" }
      s:add({ path = "/f", type = "file", mode = 420, uid = 0, gid = 0, mtime = 0 }, function()
        if #parts == 0 then return nil, select(2, vmctl.sleep(math.huge)) end
        return table.remove(parts)
      end)
      s:drop()
      return "dropped"
    end)
    support.settle()
    task:cancel()
    assert.equal("dropped", task:join())
    assert.same({ "blobs" }, core.fs.list(cache))
  end))
end)
