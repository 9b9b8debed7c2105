-- Parts of archives: the order of a tree, and the maps of files with holes.
local assert = require "luassert"
local core = require "vmctl.core"
local sparse = require "vmctl.tar.sparse"
local support = require "spec.support"
local walk = require "vmctl.tar.walk"

local code, fs, run = support.code, core.fs, support.run

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
end

-- A folder with these: names that end in a slash are folders, "a -> b" is a link.
local function tree(names)
  local top = support.tmpdir()
  for _, name in ipairs(names) do
    local from, to = name:match "^(.-) %-> (.*)$"
    if from then
      assert(fs.symlink(to, top .. "/" .. from))
    elseif name:sub(-1) == "/" then
      assert(fs.mkdir(top .. "/" .. name:sub(1, -2), 493))
    else
      write(top .. "/" .. name, name)
    end
  end
  return top
end

local function paths(top, opts)
  opts = opts or {}
  local root <close> = assert(fs.root(top))
  local list, entries = {}, {}
  local ok, err, why = walk.each(root, opts.skip or function() return false end, function(entry)
    list[#list + 1], entries[entry.path] = entry.path, entry
    if opts.visit then return opts.visit(entry) end
    return true
  end, opts.gone)
  return list, entries, ok, err, why
end

describe("walk.each", function()
  it("has folders before what is in them, and names in the order of their bytes", run(function()
    local top = tree { "b/", "b/z", "b/a/", "b/a/x", "a", "Z", "b.txt", "l -> b/a" }
    local list, entries, ok = paths(top)
    assert.is_true(ok)
    assert.same({ "/Z", "/a", "/b", "/b/a", "/b/a/x", "/b/z", "/b.txt", "/l" }, list)
    assert.same({ "file", 1 }, { entries["/a"].type, entries["/a"].size })
    assert.same({ "link", "b/a" }, { entries["/l"].type, entries["/l"].link })
    assert.equal("directory", entries["/b/a"].type)
  end))

  it("leaves out what is to be skipped, and all that is below it", run(function()
    assert.same({ "/a" }, (paths(tree { "b/", "b/x", "a" }, { skip = function(path) return path == "/b" end })))
  end))

  it("ends with what the visitor failed with", run(function()
    local list, _, ok, err, why = paths(tree { "a", "b", "c" }, {
      visit = function(entry) if entry.path == "/b" then return nil, "full", "ENOSPC" end return true end,
    })
    assert.same({ "/a", "/b" }, list)
    assert.is_nil(ok)
    assert.same({ "full", "ENOSPC" }, { err, why })
  end))

  it("tells of what has gone since its folder was read, and goes on", run(function()
    local top, gone = tree { "a", "b", "c", "d/" }, {}
    local list, _, ok = paths(top, {
      visit = function(entry)
        if entry.path == "/a" then assert(fs.remove(top .. "/b")) end
        if entry.path == "/d" then assert(fs.remove(top .. "/d")) end
        return true
      end,
      gone = function(path) gone[#gone + 1] = path return true end,
    })
    assert.is_true(ok)
    assert.same({ "/a", "/c", "/d" }, list)
    assert.same({ "/b", "/d" }, gone)
  end))

  it("refuses folders that are too deep inside each other", run(function()
    local top = support.tmpdir()
    local path = top
    for _ = 1, 257 do
      path = path .. "/d"
      assert(fs.mkdir(path, 448))
    end
    local list, _, ok, err, why = paths(top)
    assert.is_nil(ok)
    assert.equal("ELOOP", why)
    assert.is_truthy(err:find("too many folders", 1, true))
    assert.equal(256, #list)
  end))
end)

describe("the map of a file with holes", function()
  local function blocks(text) return text .. ("\0"):rep(-#text % 512) end

  -- Reads a map as the reader of archives does.
  local function read(text, size, more)
    local pending = { ["GNU.sparse.major"] = "1", ["GNU.sparse.minor"] = "0", ["GNU.sparse.realsize"] = "100",
      ["GNU.sparse.name"] = "name" }
    for name, value in pairs(more or {}) do pending[name] = value or nil end
    local entry, at = { path = "GNUSparseFile.0/name", size = size }, 1
    local left, err, why = sparse.read(entry, pending, function(n)
      local block = text:sub(at, at + n - 1)
      at = at + n
      return block
    end)
    return entry, left, err, why
  end

  it("is written and read again", function()
    local map = { { offset = 3, size = 4 }, { offset = 20, size = 5 } }
    local text, stored = sparse.write(map, 100)
    assert.equal(blocks "3\n3\n4\n20\n5\n100\n0\n", text) -- the last part makes the file as long as it is
    assert.equal(512 + 9, stored)
    local entry, left = read(text, stored)
    assert.equal(9, left)
    assert.same({ map = map, real_size = 100, size = 9, path = "name" }, entry)
  end)

  it("needs no last part where bytes end the file, and has one where there are none", function()
    assert.equal(blocks "1\n95\n5\n", (sparse.write({ { offset = 95, size = 5 } }, 100)))
    assert.equal(blocks "1\n100\n0\n", (sparse.write({}, 100)))
  end)

  it("may be longer than a block", function()
    local map = {}
    for i = 1, 200 do map[i] = { offset = 2 * i, size = 1 } end
    local text, stored = sparse.write(map, 1000)
    assert.is_true(#text > 512 and #text % 512 == 0)
    local entry, left = read(text, stored, { ["GNU.sparse.realsize"] = "1000" })
    assert.equal(200, left)
    assert.same(map, entry.map)
  end)

  local broken = {
    ["parts that are not in order"] = { "2\n20\n5\n3\n4\n", 9 }, ["a part beyond the end"] = { "1\n99\n2\n", 2 },
    ["more bytes than the file has"] = { "1\n0\n50\n", 9 }, ["fewer bytes than the file has"] = { "1\n0\n5\n", 9 },
    ["letters"] = { "1\nx\n5\n", 5 }, ["nothing where a number was to be"] = { "1\n\n5\n", 5 }, ["no end"] = { "1\n3", 0 },
    ["a number with too many digits"] = { "1\n" .. ("9"):rep(19) .. "\n1\n", 1 }, ["too many parts"] = { "999999999\n", 0 },
  }
  for what, case in pairs(broken) do
    it("with " .. what .. " is refused", function()
      local text = blocks(case[1])
      local _, left, err, why = read(text, #text + case[2])
      assert.is_nil(left)
      assert.equal("EPROTO", why)
      assert.is_truthy(err:find("a broken map", 1, true))
    end)
  end

  it("of another format, without a size or with a name that is none is refused", function()
    for _, more in ipairs { { ["GNU.sparse.major"] = "0" }, { ["GNU.sparse.minor"] = "1" }, { ["GNU.sparse.realsize"] = "x" },
      { ["GNU.sparse.realsize"] = "-1" }, { ["GNU.sparse.name"] = "a\0b" } } do
      assert.equal("EPROTO", select(4, read(blocks "1\n0\n5\n", 512 + 5, more)))
    end
    assert.is_true(sparse.announced { ["GNU.sparse.major"] = "1" })
    assert.is_false(sparse.announced {})
  end)

  it("that is longer than a map may be is refused, and not read to its end", function()
    local asked = 0
    local entry = { path = "x", size = 1 << 40 }
    local left, _, why = sparse.read(entry, { ["GNU.sparse.major"] = "1", ["GNU.sparse.minor"] = "0", ["GNU.sparse.realsize"] = "1" },
      function(n)
        local first = asked == 0 and "262144\n\n" or ""
        asked = asked + n
        return first:sub(1, 7) .. ("0\n"):rep((n - #first) // 2) .. (first ~= "" and "0" or "")
      end)
    assert.is_nil(left)
    assert.equal("EPROTO", why)
    assert.equal(1 << 20, asked)
  end)

  it("leaves a code for a source that ends", function()
    assert.equal("EPROTO", code(select(2, read("", 600))))
  end)
end)
