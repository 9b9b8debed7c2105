-- The cache of images: several processes, those that were killed, and its clean-up.
local assert = require "luassert"
local core = require "vmctl.core"
local layers = require "spec.support.layers"
local process = require "vmctl.process"
local rootfs = require "vmctl.rootfs"
local support = require "spec.support"

local LIMIT = 60

local function names(folder)
  local list = core.fs.list(folder) or {}
  table.sort(list)
  return list
end

local function tarball(folder, name, content)
  local path = folder .. "/" .. name
  assert(core.fs.replace(path, layers.tar { { path = "a", content = content } }))
  return "tar:" .. path
end

-- A process that makes an image, and says where it is.
local function start(spec, cache)
  local lua = os.getenv "LUA" or "lua5.4"
  return assert(process.spawn { lua, "-e", ([[
    local image = assert(require("vmctl.rootfs").image(%q, { cache = %q, arch = "amd64" }))
    print(image.path)]]):format(spec, cache), stdin = "null", stdout = "pipe", stderr = "inherit" })
end

describe("the cache of images", function()
  it("has an image once, whatever number of processes want it at a time", support.run(function()
    local folder = support.tmpdir()
    local spec, children, paths = tarball(folder, "t", ("x"):rep(20 << 20)), {}, {}
    for i = 1, 4 do children[i] = start(spec, folder .. "/cache") end
    for i, child in ipairs(children) do
      paths[i] = assert(child.stdout:read_line(4096, LIMIT))
      assert.same({ exit_code = 0 }, child:wait(LIMIT))
      child:close()
      assert.equal(paths[1], paths[i])
    end
    local base = paths[1]:match "[^/]+$"
    assert.same({ base, base .. ".json", base .. ".lock" }, names(folder .. "/cache/chain"))
  end, LIMIT))

  it("loses nothing when a process that makes an image is killed: the next one makes it, and clears up", support.run(function()
    local folder = support.tmpdir()
    local spec = tarball(folder, "t", "whole")
    local made = assert(rootfs.image(spec, { cache = folder .. "/cache", arch = "amd64" }))
    os.remove(made.path)
    assert(os.execute(("mkfifo '%s/fifo'"):format(folder)))
    local maker <close> = assert(process.spawn { os.getenv "LUA" or "lua5.4", "-e", ([[
      local core = require "vmctl.core"
      local lock = assert(core.lock_file(%q .. ".lock"))
      local build = assert(core.rootfs_build(%q .. ".new-0123456789ab", 10, 10))
      print "half"
      io.open(%q)]]):format(made.path, made.path, folder .. "/fifo"), stdin = "null", stdout = "pipe" })
    assert.equal("half", maker.stdout:read_line(100, LIMIT))
    assert.equal("EBUSY", support.code(core.lock_file(made.path .. ".lock")))
    assert(maker:kill "KILL")
    assert(maker:wait(LIMIT))
    assert.equal(made.path, assert(rootfs.image(spec, { cache = folder .. "/cache", arch = "amd64" })).path)
    local base = made.path:match "[^/]+$"
    assert.same({ base, base .. ".json", base .. ".lock" }, names(folder .. "/cache/chain"))
  end, LIMIT))

  it("gives up a lock whose file was removed", support.run(function()
    local path = support.tmpdir() .. "/lock"
    local first = assert(core.lock_file(path))
    os.remove(path)
    local second <close> = assert(core.lock_file(path)) -- luacheck: ignore
    assert.equal("EBUSY", support.code(core.lock_file(path)))
    first:close()
    assert.equal("EBUSY", support.code(core.lock_file(path)))
  end))

  it("is cleaned up from what was not used for longest; what a guest has, or was asked for just now, stays", support.run(function()
    local folder = support.tmpdir()
    local cache, images = folder .. "/cache", {}
    for i = 1, 4 do
      images[i] = assert(rootfs.image(tarball(folder, "t" .. i, ("y"):rep(i << 20)), { cache = cache, arch = "amd64" }))
      local root <close> = assert(core.fs.root(cache .. "/chain"))
      local used = os.time() - (i == 4 and 0 or (4 - i) * 86400)
      assert(root:chtimes("/" .. images[i].path:match "[^/]+$" .. ".json", used, used))
    end
    local listed = rootfs.list(cache)
    assert.same({ images[4].digest, images[3].digest, images[2].digest, images[1].digest },
      { listed[1].name, listed[2].name, listed[3].name, listed[4].name })
    assert.equal("tar:" .. folder .. "/t4", listed[1].from)
    assert.same({}, rootfs.prune { cache = cache })
    local guest <close> = assert(core.fs.open(images[1].path)) -- as a guest that reads it
    assert(guest:lock(false))
    local removed = rootfs.prune { cache = cache, unused = 1.5 * 86400 }
    assert.same({ 1, images[2].digest }, { #removed, removed[1].name })
    assert.same({}, rootfs.prune { cache = cache, keep_bytes = 64 << 20 })
    removed = rootfs.prune { cache = cache, keep_bytes = 0 }
    assert.same({ 1, images[3].digest }, { #removed, removed[1].name })
    guest:close()
    assert(core.fs.replace(images[2].path .. ".new-00ff", "left"))
    removed = rootfs.prune { cache = cache, unused = 0 }
    assert.equal(2, #removed)
    assert.same({}, names(cache .. "/chain"))
  end, LIMIT))

  it("keeps what it was asked for apart by the writer's version and the architecture", support.run(function()
    local folder = support.tmpdir()
    local spec = tarball(folder, "t", "same")
    local one = assert(rootfs.image(spec, { cache = folder .. "/cache", arch = "amd64" }))
    local other = assert(rootfs.image(spec, { cache = folder .. "/cache", arch = "arm64" }))
    assert.not_equal(one.path, other.path)
    local key = ("%d amd64 tar %s"):format(core.rootfs_version, core.sha256(assert(core.fs.read(spec:sub(5), 1 << 20))):hex())
    assert.equal("sha256:" .. core.sha256(key):hex(), one.digest)
  end))
end)
