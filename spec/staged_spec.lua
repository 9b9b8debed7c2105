local assert = require "luassert"
local core = require "vmctl.core"
local staged = require "vmctl.base.staged"
local support = require "spec.support"
local vmctl = require "vmctl"

local fs, run = core.fs, support.run

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

describe("staged.make", function()
  it("puts a file in its place when it is whole, and not before", run(function()
    local folder = support.tmpdir()
    local path = folder .. "/file"
    assert(fs.replace(path, "old"))
    local seen
    assert.equal("made", staged.make(path, function(name)
      assert.not_equal(path, name)
      assert(fs.replace(name, "new"))
      seen = read(path)
      return "made"
    end))
    assert.same({ "old", "new" }, { seen, read(path) })
    assert.same({ "file" }, fs.list(folder))
  end))

  it("leaves the old file where making fails, raises, is cancelled, or makes none", run(function()
    local folder = support.tmpdir()
    local path = folder .. "/file"
    assert(fs.replace(path, "old"))
    local function half(name) assert(fs.replace(name, "ha")) end
    assert.same({ n = 3, nil, "full", "ENOSPC" }, table.pack(staged.make(path, function(name)
      half(name)
      return nil, "full", "ENOSPC"
    end)))
    assert.is_false((pcall(staged.make, path, function(name)
      half(name)
      error "a bug"
    end)))
    local task = vmctl.spawn(staged.make, path, function(name)
      half(name)
      return vmctl.sleep(math.huge)
    end)
    vmctl.yield()
    task:cancel()
    assert.equal("ECANCELED", support.code(task:join()))
    assert.equal("ENOENT", support.code(staged.make(path, function() return true end)))
    assert.same({ "file" }, fs.list(folder))
    assert.equal("old", read(path))
  end))

  it("has a name of its own for each that is made at a time", run(function()
    local folder, names = support.tmpdir(), {}
    vmctl.all({ "a", "b", "c" }, function(text)
      assert(staged.make(folder .. "/file", function(name)
        names[name] = true
        vmctl.yield()
        return fs.replace(name, text)
      end))
    end)
    local count = 0
    for _ in pairs(names) do count = count + 1 end
    assert.equal(3, count)
    assert.same({ "file" }, fs.list(folder))
  end))
end)

describe("staged.remove_leftovers", function()
  it("removes what was being made, and nothing else", run(function()
    local folder = support.tmpdir()
    for _, name in ipairs { "file", "file.new-0123456789ab", "file.new-", "file.new-xyz", "file.newer", "other.new-00ff",
      "file.new-00.json" } do
      assert(fs.replace(folder .. "/" .. name, ""))
    end
    staged.remove_leftovers(folder .. "/file")
    local left = fs.list(folder)
    table.sort(left)
    assert.same({ "file", "file.new-", "file.new-00.json", "file.new-xyz", "file.newer", "other.new-00ff" }, left)
  end))
end)
