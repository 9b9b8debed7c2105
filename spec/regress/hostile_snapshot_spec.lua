-- The archive that a guest's agent sends for a snapshot comes from a machine that is not trusted: what is wrong in it fails the snapshot,
-- nothing is left of that, and no name in it means anything here.
local assert = require "luassert"
local cc = require "vmctl.cc"
local backend = require "vmctl.cc.backend"
local core = require "vmctl.core"
local handles = require "vmctl.cc.backend.handles"
local inside = require "vmctl.cc.backend.inside"
local instance = require "vmctl.cc_helper.vm.instance"
local layers = require "spec.support.layers"
local pool = require "vmctl.cc_helper.vm.pool"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"
local snapshots = require "vmctl.cc_helper.snapshots"
local source = require "vmctl.cc_helper.vm.source"
local support = require "spec.support"
local vmctl = require "vmctl"

local LIMIT = 120
local PIECE = 1 << 20

-- The snapshot of a guest whose agent answers by these handlers.
local function snapshot_by(router)
  local path, cache = support.tmpdir() .. "/agent", support.tmpdir()
  local server <close> = assert(cc.server(path, router))
  local made, err, code = vmctl.scope(function(scope)
    vmctl.spawn_in(scope, server.serve, server)
    local kept = snapshots.new(handles.new(), cache)
    local guest = instance.new(nil, pool.new("unix:" .. path), { folder = cache, image = {}, snapshots = kept })
    local made, err, code = guest:snapshot { cache = cache, excludes = {} }
    guest.pool:close()
    scope:cancel()
    return made, err, code
  end)
  if not made then assert.same({ "blobs" }, core.fs.list(cache)) end
  return made, err, code, cache
end

-- The snapshot of a guest whose agent gives what next_bytes() gives, "" at its end.
local function take(next_bytes)
  local router, closed = cc.mux(), 0
  router:handle(inside.ARCHIVE, function() return string.pack(">I1I8", 0, 7) end)
  router:handle(cc.types.CONN_READ, function()
    local data = next_bytes()
    if data == "" then return nil, "EOF", 99 end
    return string.pack(">I1s4", 0, data)
  end)
  router:handle(cc.types.CONN_CLOSE, function() closed = closed + 1 end)
  local made, err, code, cache = snapshot_by(router)
  assert.equal(1, closed)
  return made, err, code, cache
end

-- The snapshot of a guest whose files are those of a folder, by the agent's own handlers.
local function take_folder(folder)
  local agent = assert(backend.new(handles.new(), { root = folder, guest = true }))
  agent:open(true)
  local router = cc.mux()
  agent:install(router)
  inside.install(router, agent)
  local made, err, code, cache = snapshot_by(router)
  agent:clear()
  return made, err, code, cache
end

local function pieces(bytes, step)
  local at = 1
  return function()
    local data = bytes:sub(at, at + step - 1)
    at = at + #data
    return data
  end
end

-- Makes a new guest's root from a snapshot.
local function image(snapshot, cache) return source.find({ type = 1, path = snapshot.folder }, cache) end

local GOOD = { { path = "./", mode = 449 }, { path = "a", content = "text", xattrs = { ["user.x"] = "1" } },
  { path = "b", type = "hard", link = "a" }, { path = "c", link = "../../etc" } }

-- A header block whose size is any; the sum is right.
local function header(flag, size)
  local before = ("x"):rep(100) .. "0000644\0" .. "0000000\0" .. "0000000\0" .. ("%011o\0"):format(size) .. "00000000000\0"
  local after = flag .. ("\0"):rep(100) .. "ustar\00000" .. ("\0"):rep(247)
  local sum = 8 * 32
  for byte in (before .. after):gmatch "." do sum = sum + byte:byte() end
  return before .. ("%06o\0 "):format(sum) .. after
end

describe("a snapshot of a guest that is not trusted", function()
  it("is the same whatever pieces come", support.run(function()
    local bytes, key = layers.tar(GOOD), nil
    for _, step in ipairs { PIECE, 511, 7, 1 } do
      local made, err = take(pieces(bytes, step))
      assert(made, err)
      key = key or made.key
      assert.equal(key, made.key)
    end
  end, LIMIT))

  it("is refused when it is cut anywhere, or stays without an end", support.run(function()
    local bytes = layers.tar(GOOD)
    for stop = 0, #bytes - 2 * 512, 509 do
      assert.is_nil((take(pieces(bytes:sub(1, stop), PIECE))), stop)
    end
  end, LIMIT))

  it("says why the agent broke it off", support.run(function()
    local parts = {}
    require("vmctl.tar.write").broken(function(data) parts[#parts + 1] = data end, "open /d/e\27[2J: Input/output error")
    local _, err = take(pieces(table.concat(parts), PIECE))
    assert.equal("input/output error", err:match "[^:]*$":match "^ (.*)$")
  end, LIMIT))

  it("is whole by the agent's own handlers, which say what they cannot keep", support.run(function()
    local folder = support.tmpdir()
    layers.run(folder, "echo one >a; ln a b; mkdir c; ln a c/d")
    local made, err = take_folder(folder)
    assert(made, err)
    local found = {}
    assert(snapshot_store.each(made.folder, function(entry)
      found[#found + 1] = ("%s %s %s"):format(entry.type, entry.path, entry.link or "")
      return true
    end))
    assert.same({ "directory / ", "file /a ", "hard /b /a", "directory /c ", "hard /c/d /a" }, found)
    layers.run(folder, "mkdir -p $(printf 'x/%.0s' $(seq 257))")
    made, err = take_folder(folder)
    assert.is_nil(made)
    assert.matches("too many folders inside each other", err)
  end, LIMIT))

  it("refuses an extended attribute of a gigabyte before it has come, and headers that lie", support.run(function()
    local given = 0
    local head = header("x", 1 << 30) .. "1073741824 SCHILY.xattr.user.x="
    local made, err = take(function()
      local data = given == 0 and head or ("v"):rep(PIECE)
      given = given + #data
      return data
    end)
    assert.is_nil(made)
    assert.matches("an extended header of 1073741824 bytes", err)
    assert.is_true(given <= 2 * PIECE)
    for _, body in ipairs { "9999 SCHILY.xattr.user.x=v\n", "0 SCHILY.xattr.user.x=v\n", "25 SCHILY.xattr.user.x=vv\n", "SCHILY\n" } do
      assert.is_nil((take(pieces(header("x", #body) .. body .. ("\0"):rep(512 - #body) .. layers.tar(GOOD), PIECE))), body)
    end
  end, LIMIT))

  it("refuses names that lead out, and makes nothing of a hard link to what is not there", support.run(function()
    for _, entry in ipairs { { path = "../../up", content = "u" }, { path = "a/../../up", content = "u" }, { path = ".." },
      { path = "x", type = "hard", link = "../../../etc/passwd" } } do
      local made, err = take(pieces(layers.tar { { path = "./" }, entry }, PIECE))
      assert.is_nil(made, entry.path)
      assert.matches("a path with '%.%.'", err)
    end
    for _, link in ipairs { "/etc/passwd", "none", "", ".", "x", "d" } do
      local entries = { { path = "./" }, { path = "d/" }, { path = "x", type = "hard", link = link } }
      local made, err, _, cache = take(pieces(layers.tar(entries), PIECE))
      assert(made, err)
      local found, why, code = image(made, cache)
      assert.is_nil(found, link)
      assert.equal("EPROTO", code, why)
    end
  end, LIMIT))

  it("keeps a name from the top, and a link's target, as names alone", support.run(function()
    local made, err, _, cache = take(pieces(layers.tar { { path = "//abs", content = "a" }, { path = "abs2", link = "/etc/passwd" },
      { path = "abs2/new", content = "n" } }, PIECE))
    assert(made, err)
    image(made, cache)
    assert.is_nil(core.fs.stat "/etc/passwd/new")
    assert.is_nil(core.fs.stat "/abs")
  end, LIMIT))

  it("has 20,000 names of one file, which are one in the image", support.run(function()
    local entries = { { path = "./" }, { path = "f", content = "one" } }
    for i = 1, 19999 do entries[#entries + 1] = { path = ("l%05d"):format(i), type = "hard", link = "f" } end
    local made, err, _, cache = take(pieces(layers.tar(entries), PIECE))
    assert(made, err)
    assert.equal(1, #core.fs.list(cache .. "/blobs"))
    local count = 0
    assert(snapshot_store.each(made.folder, function(entry)
      count = count + (entry.type == "hard" and entry.link == "/f" and 1 or 0)
      return true
    end))
    assert.equal(19999, count)
    assert(image(made, cache))
  end, LIMIT))
end)

it("a snapshot's manifest with a size beyond all integers is broken", function()
  local line = "file 644 0 0 0.000000000 /a " .. ("0"):rep(64) .. " 1 %s 0:1"
  local read = require "vmctl.cc_helper.manifest".read
  assert.equal(9, read(line:format "9", {}).real_size)
  assert.is_nil(read(line:format(("9"):rep(20)), {}))
end)
