-- A file's content on its way: holes, check sums, temporary copies, a sink that has parts of it already.
local assert = require "luassert"
local content = require "vmctl.files.content"
local core = require "vmctl.core"
local support = require "spec.support"

local run = support.run

-- A reader that gives these pieces, then "" for the end; a table is a failure.
local function reader(...)
  local pieces, i = { ... }, 0
  return function()
    i = i + 1
    local piece = pieces[i]
    if type(piece) == "table" then return nil, table.unpack(piece) end
    return piece or ""
  end
end

-- A reader of bytes that gives as many as are asked for.
local function slices(bytes)
  local at = 1
  return function(n)
    local piece = bytes:sub(at, at + n - 1)
    at = at + #piece
    return piece
  end
end

local function drain(read, n)
  local parts = {}
  while true do
    local data, place = read(n or 4)
    assert(data, place)
    if data == "" then return parts end
    parts[#parts + 1] = place and { data, place } or data
  end
end

local function sha256(bytes)
  local hash = core.sha256()
  hash:update(bytes)
  return hash:hex()
end

local SPARSE = { map = { { offset = 2, size = 3 }, { offset = 8, size = 2 } }, real_size = 12 }
local WHOLE = "\0\0abc\0\0\0de\0\0"

-- A file in memory that notes what was done to it.
local function file()
  local log = {}
  return {
    log = log,
    write = function(data) log[#log + 1] = data return true end,
    seek = function(at) log[#log + 1] = { "seek", at } return true end,
    truncate = function(size) log[#log + 1] = { "truncate", size } return true end,
  }
end

describe("content.parts", function()
  it("gives each part with its offset, in pieces that the caller asks for", function()
    assert.same({ { "ab", 2 }, { "c", 4 }, { "de", 8 } }, drain(content.parts(SPARSE.map, slices "abcde"), 2))
  end)

  it("gives on a failure, and an end that comes too early", function()
    local nothing, err, code = content.parts(SPARSE.map, reader { "no", "EIO" })(4)
    assert.same({ "no", "EIO" }, { err, code })
    assert.is_nil(nothing)
    assert.same({}, drain(content.parts(SPARSE.map, slices "")))
  end)
end)

describe("content.filled", function()
  it("has zeros in the holes, those before the end included", function()
    for n = 1, 13 do
      local read = content.filled(SPARSE, content.parts(SPARSE.map, slices "abcde"))
      assert.equal(WHOLE, table.concat(drain(read, n)), n)
    end
  end)
end)

describe("content.hashed", function()
  it("is the sum of what was read", run(function()
    local read, sum = content.hashed({}, slices "abcde")
    drain(read)
    assert.equal(sha256 "abcde", sum())
  end))

  it("is the sum of a sparse file with its holes", run(function()
    local read, sum = content.hashed(SPARSE, content.parts(SPARSE.map, slices "abcde"))
    drain(read)
    assert.equal(sha256(WHOLE), sum())
  end))
end)

describe("content.spool", function()
  it("keeps a copy, and tells its size", function()
    local copy, size = content.spool(reader("ab", "cde"))
    assert.equal(5, size)
    assert.equal("abcde", copy:read "a")
    copy:close()
  end)

  it("gives on what the source failed with", function()
    local copy, err, code = content.spool(reader("ab", { "gone", "ERESET" }))
    assert.is_nil(copy)
    assert.same({ "gone", "ERESET" }, { err, code })
  end)
end)

describe("content.write", function()
  it("writes pieces one behind the other, and does not seek", function()
    local to = file()
    assert.is_true(content.write(to, {}, reader("ab", "cde")))
    assert.same({ "ab", "cde" }, to.log)
  end)

  it("leaves holes out, and makes the file as long as it is", function()
    local to = file()
    assert.is_true(content.write(to, SPARSE, content.parts(SPARSE.map, slices "abcde")))
    assert.same({ { "seek", 2 }, "abc", { "seek", 8 }, "de", { "truncate", 12 } }, to.log)
  end)

  it("takes long zeros for a hole where it is to guess, and short ones never", function()
    local zeros = ("\0"):rep(4096)
    local to = file()
    assert.is_true(content.write(to, {}, reader(zeros, "x", ("\0"):rep(4095), zeros), true))
    assert.same({ { "seek", 4096 }, "x", ("\0"):rep(4095), { "truncate", 4096 + 1 + 4095 + 4096 } }, to.log)
    to = file()
    assert.is_true(content.write(to, {}, reader(zeros, "x")))
    assert.same({ zeros, "x" }, to.log)
  end)

  it("ends with what reading, writing, seeking or truncating failed with", function()
    local function failing(name)
      local to = file()
      to[name] = function() return nil, name, "EIO" end
      return content.write(to, SPARSE, content.parts(SPARSE.map, slices "abcde"))
    end
    for _, name in ipairs { "write", "seek", "truncate" } do
      assert.same({ n = 3, nil, name, "EIO" }, table.pack(failing(name)))
    end
    assert.same({ n = 3, nil, "gone", "ERESET" }, table.pack(content.write(file(), {}, reader("a", { "gone", "ERESET" }))))
  end)
end)
