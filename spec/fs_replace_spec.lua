-- The core's own part of putting files where others may write: fs.folders, fs.replace_in, fs.read, fs.watch.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "spec.support.guest_root"
local support = require "spec.support"
local vmctl = require "vmctl"
local worker_fs = require "vmctl.base.fs" -- each call in a thread

local code, fs, run = support.code, core.fs, support.run

describe("fs.folders", function()
  it("makes what is missing, with the mode that is given", run(function()
    local base = support.tmpdir()
    assert(fs.folders(base, "a/b//c/", { folder_mode = 457 }))
    for _, path in ipairs { "/a", "/a/b", "/a/b/c" } do assert.equal(457, fs.stat(base .. path).mode) end
    assert(fs.chmod(base .. "/a", 448))
    assert(fs.folders(base, "/a/./b"))
    assert.equal(448, fs.stat(base .. "/a").mode)
    assert(fs.folders(base, ""))
  end))

  it("lets several make the same at once", run(function()
    local base = support.tmpdir()
    for round = 1, 100 do
      local path = ("%d/a/b/c/d/e"):format(round)
      local made = vmctl.all({ 1, 2, 3, 4 }, function() return (assert(worker_fs.folders(base, path, { folder_mode = 448 }))) end)
      assert.same({ true, true, true, true, n = 4 }, made)
    end
  end))

  it("goes neither up nor through links or files", run(function()
    local base = support.tmpdir()
    assert(fs.folders(base, "a/b"))
    assert(fs.symlink("a", base .. "/link"))
    assert(fs.replace(base .. "/file", ""))
    for path, want in pairs { ["a/../a/c"] = "EINVAL", [".."] = "EINVAL", ["link"] = "ENOTDIR", ["link/b"] = "ENOTDIR",
      ["file/b"] = "ENOTDIR", [("x"):rep(300)] = "ENAMETOOLONG", [("x/"):rep(3000)] = "ENAMETOOLONG" } do
      assert.equal(want, code(fs.folders(base, path)), path)
    end
    assert.equal("ENOENT", code(fs.folders(base .. "/none", "a")))
  end))
end)

describe("fs.replace_in", function()
  it("takes names of files only, and numbers as modes", run(function()
    local base = support.tmpdir()
    for _, name in ipairs { "", ".", "..", "a/b" } do assert.is_false((pcall(fs.replace_in, base, "", name, "x"))) end
    assert.is_false((pcall(fs.replace_in, base, "", "name", "x", { mode = "0600" })))
    assert.is_false((pcall(fs.replace_in, base, "", "name", "x", { uid = true })))
    assert.same({}, fs.list(base))
  end))

  it("makes a file with any bytes, and says when it is there already", run(function()
    local base = support.tmpdir()
    for _, bytes in ipairs { "", "\0", ("ab\0\255"):rep(5000) } do
      assert.same({ true, true }, { fs.replace_in(base, "x/y", "name", bytes, { mode = 256 }) })
      assert.same({ true, false }, { fs.replace_in(base, "x/y", "name", bytes, { mode = 256 }) })
      assert.equal(bytes, guest.content(base .. "/x/y/name"))
    end
    assert.same({ true, true }, { fs.replace_in(base, "x/y", "name", ("ab\0\255"):rep(4999) .. "ab\0\254", { mode = 256 }) })
    assert.same({ "name" }, fs.list(base .. "/x/y"))
  end))
end)

describe("fs.read", function()
  it("reads a regular file within a limit, and nothing else", run(function()
    local base = support.tmpdir()
    assert(fs.replace(base .. "/file", "12345"))
    assert(fs.symlink("file", base .. "/link"))
    assert(os.execute("mkfifo " .. base .. "/fifo"))
    assert.equal("12345", fs.read(base .. "/file", 5))
    assert.equal("ETOOBIG", code(fs.read(base .. "/file", 4)))
    assert.equal("ELOOP", code(fs.read(base .. "/link", 5)))
    assert.equal("EINVAL", code(fs.read(base .. "/fifo", 5)))
    assert.equal("EINVAL", code(fs.read(base, 5)))
    assert.equal("ENOENT", code(fs.read(base .. "/none", 5)))
    for _, bad in ipairs { 0, -1, 1 << 40 } do assert.is_false((pcall(fs.read, base, bad))) end
  end))
end)

describe("fs.watch", function()
  it("gives a stream that wakes when the folder changes", run(function()
    local base = support.tmpdir()
    local changes <close> = assert(fs.watch(base))
    assert.equal("ETIMEDOUT", code(changes:read { timeout = 0.01 }))
    for _, change in ipairs {
      function() assert(fs.replace(base .. "/a", "x")) end, function() assert(fs.rename(base .. "/a", base .. "/b")) end,
      function() assert(fs.remove(base .. "/b")) end,
    } do
      change()
      assert.truthy(changes:read { timeout = 1 })
    end
    assert.equal("ENOENT", code(fs.watch(base .. "/none")))
    assert(fs.replace(base .. "/file", ""))
    assert.equal("ENOTDIR", code(fs.watch(base .. "/file")))
  end))
end)

describe("fs.replace", function()
  it("keeps the mode of the file that was there, and takes the one that is given", run(function()
    local path = support.tmpdir() .. "/name"
    assert.is_true(fs.replace(path, "one"))
    assert.equal(420, fs.stat(path).mode)
    assert(fs.chmod(path, 384))
    assert.is_true(fs.replace(path, "two"))
    assert.same({ 384, "two" }, { fs.stat(path).mode, fs.read(path, 10) })
    assert.is_true(fs.replace(path, "two", 256))
    assert.equal(256, fs.stat(path).mode)
  end))

  it("makes a new file each time, and leaves nothing else in the folder", run(function()
    local folder = support.tmpdir()
    assert(fs.replace(folder .. "/name", "same"))
    local before = io.open(folder .. "/name")
    assert(fs.replace(folder .. "/name", "other"))
    assert.equal("same", before:read "a")
    before:close()
    assert.same({ "name" }, fs.list(folder))
  end))

  it("says what cannot be written", run(function()
    local folder = support.tmpdir()
    assert.equal("EISDIR", code(fs.replace(folder .. "/", "x")))
    assert.equal("ENOENT", code(fs.replace(folder .. "/none/name", "x")))
    assert.equal("ENAMETOOLONG", code(fs.replace(folder .. "/" .. ("n"):rep(256), "x")))
    assert.same({}, fs.list(folder))
  end))
end)
