local assert = require "luassert"
local core = require "vmctl.core"
local sf = require "spec.support.socketforward"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.socketforward.wire"

local code, eventually = support.code, support.eventually

local function names_in(folder)
  local list = core.fs.list(folder) or {}
  table.sort(list)
  return list
end

describe("socketforward Bind", function()
  it("makes all sockets before it answers, for all users, in a folder that shows nothing", sf.with(function(w)
    assert.same({ bound = {} }, assert(w:bind { { "a", w:path "a.sock" }, { "b", w:path "sub/b.sock" } }))
    assert.equal("socket 666", sf.file(w:path "a.sock"))
    assert.equal("socket 666", sf.file(w:path "sub/b.sock"))
    assert.equal("directory 711", sf.file(w.folder))
    assert.equal("directory 711", sf.file(w:path "sub"))
    assert.same({ "a.sock", "sub" }, names_in(w.folder)) -- nothing temporary is left
  end))

  it("takes a mode for each", sf.with(function(w)
    assert(w:bind { { "a", w:path "a", extension = { mode = 384, address = "" } } })
    assert.equal("socket 600", sf.file(w:path "a"))
    assert.equal("INVALID_ARGUMENT", code(w:bind { { "b", w:path "b", extension = { mode = 2541, address = "" } } }))
  end))

  it("takes an empty list, empty ids and ids that are there twice", sf.with(function(w)
    assert(w:bind {})
    assert(w:bind { { "", w:path "a" }, { "x", w:path "b" }, { "x", w:path "c" } })
    assert.equal(3, w.service:stats().sockets)
  end))

  it("adds to what was bound before", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" } })
    assert(w:bind { { "b", w:path "b" } })
    assert.same({ "a", "b" }, names_in(w.folder))
  end))

  it("leaves everything as it was when one of the list fails", sf.with(function(w)
    local path = w:path "old"
    assert(w:bind { { "old", path } })
    local before = core.fs.stat(path, true)
    assert(core.fs.mkdir(w:path "folder"))
    local ok, err, name = w:bind { { "new", w:path "new" }, { "other", path }, { "bad", w:path "folder" } }
    assert.same({ nil, "ALREADY_EXISTS" }, { ok, name })
    assert.truthy(err:find(w:path "folder", 1, true), err)
    assert.same({ "folder", "old" }, names_in(w.folder))
    assert.equal(before.inode, core.fs.stat(path, true).inode)
    assert.equal(1, w.service:stats().sockets)
    assert(vmctl.dial("unix:" .. path)):close() -- and is alive
  end))

  it("takes back what was in place already when the last step fails", sf.with(function(w)
    local path = w:path "old"
    assert(w:bind { { "old", path } })
    local before = core.fs.stat(path, true).inode
    local rename, calls = core.fs.rename, 0
    core.fs.rename = function(...)
      calls = calls + 1
      if calls == 3 then return nil, "no", "EIO" end
      return rename(...)
    end
    local _, _, name = w:bind { { "new", w:path "new" }, { "other", path }, { "bad", w:path "x" } }
    core.fs.rename = rename
    assert.equal("UNKNOWN", name)
    assert.same({ "old" }, names_in(w.folder))
    assert.equal(before, core.fs.stat(path, true).inode)
  end))

  it("replaces sockets, be they stale or a forward's, and nothing else", sf.with(function(w)
    assert(core.fs.mkdir(w.folder))
    local stale = assert(core.listen { kind = "unix", path = w:path "from" })
    assert(core.fs.rename(w:path "from", w:path "a"))
    stale:close()
    assert(w:bind { { "a", w:path "a" } })
    local first = core.fs.stat(w:path "a", true).inode
    assert(w:bind { { "b", w:path "a" } })
    assert.not_equal(first, core.fs.stat(w:path "a", true).inode)
    assert.same({ "a" }, names_in(w.folder))
    assert.equal(1, w.service:stats().sockets)
    io.open(w:path "file", "w"):close()
    assert(core.fs.symlink(w:path "a", w:path "link"))
    for _, name in ipairs { "file", "link" } do
      assert.equal("ALREADY_EXISTS", code(w:bind { { "c", w:path(name) } }), name)
    end
    assert.same({ "file 644", "link 777" }, { sf.file(w:path "file"), sf.file(w:path "link") })
  end))

  it("lets the last one of a list have a path that is there twice", sf.with(function(w)
    assert(w:bind { { "a", w:path "x" }, { "b", w:path "x" } })
    assert.same({ "x" }, names_in(w.folder))
    local host = w:accept()
    local s <close> = assert(w:dial "x") -- luacheck: ignore
    assert.equal("b", assert(host.next()).forward_id)
  end))

  it("keeps a socket that is asked for again as it is, and who waits there", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" } })
    local s <close> = assert(w:dial "a") -- luacheck: ignore
    local before = core.fs.stat(w:path "a", true).inode
    assert(w:bind { { "a", w:path "a" } })
    assert.equal(before, core.fs.stat(w:path "a", true).inode)
    assert.equal("a", assert(w:accept().next()).forward_id)
  end))

  it("refuses paths that lead elsewhere or cannot be a socket's", sf.with(function(w)
    assert(core.fs.mkdir(w.folder))
    assert(core.fs.symlink("/tmp", w:path "link"))
    io.open(w:path "file", "w"):close()
    local bad = {
      [""] = "INVALID_ARGUMENT", ["@abstract"] = "INVALID_ARGUMENT", ["relative"] = "INVALID_ARGUMENT",
      [w.folder .. "/"] = "INVALID_ARGUMENT",
      [w:path "../x"] = "INVALID_ARGUMENT", [w:path "a/../../x"] = "INVALID_ARGUMENT", [w:path "a//b"] = "INVALID_ARGUMENT",
      [w:path "./b"] = "INVALID_ARGUMENT", [w:path "a\nb"] = "INVALID_ARGUMENT", ["/etc/x.sock"] = "PERMISSION_DENIED",
      [w.folder .. "x/y"] = "PERMISSION_DENIED", [w.folder] = "PERMISSION_DENIED", [w:path "file/x"] = "UNKNOWN",
    }
    for path, expected in pairs(bad) do assert.equal(expected, code(w:bind { { "a", path } }), path) end
    assert.is_nil((w:bind { { "a", w:path "link/x.sock" } }))
    assert.is_nil(sf.file "/tmp/x.sock")
    assert.equal(0, w.service:stats().sockets)
  end))

  it("takes 107 bytes and no more", sf.with(function(w)
    local fits = w:path(("n"):rep(107 - #w.folder - 1))
    assert(w:bind { { "a", fits } })
    assert.equal("socket 666", sf.file(fits))
    assert.truthy(select(2, w:bind { { "a", fits .. "n" } }):find "107")
    local tight = w:path(("d"):rep(107 - #w.folder - 4) .. "/ab") -- where a longer temporary name would not fit
    assert.equal(107, #tight)
    assert(w:bind { { "b", tight } })
    assert.equal("socket 666", sf.file(tight))
  end))

  it("may be let go anywhere, or into other folders", support.run(function()
    local root = support.tmpdir()
    local anywhere <close> = vmctl.socketforward.service { confine = false }
    local function bind(service, path) return service:bind { sockets = { { forward_id = "a", socket_path = path } } } end
    assert(bind(anywhere, root .. "/deep/x.sock"))
    assert.equal("socket 666", sf.file(root .. "/deep/x.sock"))
    assert(bind(anywhere, "@vmctl-spec-" .. root:match "[^/]*$"))
    vmctl.dial("unix:@vmctl-spec-" .. root:match "[^/]*$"):close()
    assert.equal("EINVAL", code(bind(anywhere, "@")))
    local listed <close> = vmctl.socketforward.service { confine = { root .. "/one/", root .. "/two" } }
    assert(bind(listed, root .. "/one/a"))
    assert(bind(listed, root .. "/two/b"))
    assert.equal("EACCES", code(bind(listed, root .. "/three/c")))
    local files <close> = vmctl.socketforward.service { confine = { "/" } }
    assert(bind(files, root .. "/three/c"))
    assert.equal("directory 755", sf.file(root .. "/three"))
    assert.equal("EINVAL", code(bind(files, "@" .. root:match "[^/]*$")))
  end))

  it("bounds how many there are", sf.with(function(w)
    local sockets = {}
    for i = 1, 4097 do sockets[i] = { "i" .. i, w:path("s" .. i) } end
    assert.equal("RESOURCE_EXHAUSTED", code(w:bind(sockets)))
    assert.same({}, names_in(w.folder))
  end))

  it("takes them away with Unbind, what is not there as well, and what is another's not", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" }, { "b", w:path "b" } })
    local function unbind(id, name)
      return w.client:call(wire.SERVICE, "Unbind", { sockets = { { forward_id = id, socket_path = w:path(name) } } })
    end
    assert(unbind("a", "b"))
    assert.same({ "a", "b" }, names_in(w.folder))
    assert(unbind("a", "a"))
    assert(unbind("a", "a"))
    assert.same({ "b" }, names_in(w.folder))
    core.fs.remove(w:path "b")
    local other <close> = assert(core.listen { kind = "unix", path = w:path "b" }) -- luacheck: ignore
    assert(unbind("b", "b"))
    assert.same({ "b" }, names_in(w.folder)) -- another's socket by now
  end))

  it("works again after a Shutdown, which removes the sockets", sf.with(function(w)
    assert(w:bind { { "a", w:path "a" } })
    local s <close> = assert(w:dial "a")
    assert(s:write "x")
    support.eventually(function() return w.service:stats().pending == 1 end)
    assert.is_true(w.service:shutdown())
    assert.is_true(w.service:shutdown())
    assert.same({}, names_in(w.folder))
    assert.equal("ECONNRESET", select(2, sf.read_all(s)))
    assert.equal(0, w.service:stats().pending)
    assert(w:bind { { "a", w:path "a" } })
    assert.same({ "a" }, names_in(w.folder))
  end))

  it("answers garbage and goes on", sf.with(function(w)
    assert.equal("INTERNAL", code(w.client:call(wire.SERVICE, "Bind", "\255\255garbage")))
    assert.equal("INTERNAL", code(w.client:call(wire.SERVICE, "Bind", "\10\4\10\2\255\254"))) -- an id that is not UTF-8
    assert(w:bind { { "a", w:path "a" } })
  end))
end)

describe("socketforward Bind, beside others,", function()
  it("comes to nothing when the service is shut down meanwhile, and may come again", sf.with(function(w)
    local call = vmctl.spawn(w.service.bind, w.service, { sockets = { { forward_id = "a", socket_path = w:path "a" } } })
    vmctl.yield()
    w.service:shutdown()
    assert.equal("ESHUTDOWN", code(call:join()))
    assert.same({}, names_in(w.folder))
    assert.equal(0, w.service:stats().sockets)
    assert(w:bind { { "a", w:path "a" } })
    assert.same({ "a" }, names_in(w.folder))
  end))

  it("keeps a port that is asked for with another mode", sf.with(function(w)
    local function bind(mode, address)
      return assert(w:bind { { "a", "/none", extension = { mode = mode, address = address } } }).bound[1].extension
    end
    local port = bind(0, "tcp:127.0.0.1:0").address
    assert.same({ mode = 384, address = port }, bind(384, port))
    assert.same({ mode = 384, address = port }, bind(384, "tcp:127.0.0.1:0"))
    assert.equal(1, w.service:stats().sockets)
  end))
end)

describe("socketforward Bind in a share, whose calls workers make", function()
  local fs = require "vmctl.base.fs"
  local is_local = fs.is_local

  before_each(function() fs.is_local = function() return false end end)
  after_each(function() fs.is_local = is_local end)

  it("makes, replaces and removes sockets, or leaves all as it was", sf.with(function(w)
    assert(w:bind { { "a", w:path "a.sock" }, { "b", w:path "sub/b.sock", extension = { mode = 384, address = "" } } })
    assert.equal("socket 666", sf.file(w:path "a.sock"))
    assert.equal("socket 600", sf.file(w:path "sub/b.sock"))
    local before = core.fs.stat(w:path "a.sock", true)
    assert(w:bind { { "a", w:path "a.sock" } })
    assert.equal(before.inode, core.fs.stat(w:path "a.sock", true).inode)
    assert(core.fs.mkdir(w:path "folder"))
    assert.equal("ALREADY_EXISTS", code(w:bind { { "new", w:path "new" }, { "c", w:path "a.sock" }, { "bad", w:path "folder" } }))
    assert.equal(before.inode, core.fs.stat(w:path "a.sock", true).inode)
    assert(w:bind { { "c", w:path "a.sock" } })
    assert.is_true(before.inode ~= core.fs.stat(w:path "a.sock", true).inode)
    support.eventually(function() return #names_in(w.folder) == 3 end)
    assert.same({ "a.sock", "folder", "sub" }, names_in(w.folder))
    assert(vmctl.dial("unix:" .. w:path "a.sock")):close()
    assert.is_true(w.service:shutdown())
    support.eventually(function() return not core.fs.stat(w:path "a.sock", true) and not core.fs.stat(w:path "sub/b.sock", true) end)
  end))

  it("is made one after the other: one that fails takes nothing of the next", sf.with(function(w)
    local path = w:path "a"
    assert(w:bind { { "old", path } })
    local rename, second = fs.rename, nil
    fs.rename = function(from, to, ...) -- the first list's first socket is in its place when its second fails
      if to ~= w:path "bad" then return rename(from, to, ...) end
      second = vmctl.spawn(w.bind, w, { { "two", path } })
      second:join(0.3) -- it would be there by now
      return nil, "no", "EIO"
    end
    assert.equal("UNKNOWN", code(w:bind { { "one", path }, { "bad", w:path "bad" } }))
    assert(second:join())
    fs.rename = rename
    assert.same({ "a" }, names_in(w.folder))
    assert.equal(1, w.service:stats().sockets)
    local host = w:accept()
    local s <close> = assert(w:dial "a") -- luacheck: ignore
    assert.equal("two", assert(host.next()).forward_id)
  end))

  it("ends what was begun, also where nobody waits for it any more", sf.with(function(w)
    local rename, gate = fs.rename, core.queue()
    fs.rename = function(...)
      gate:wait(30)
      return rename(...)
    end
    local sockets = { sockets = { { forward_id = "a", socket_path = w:path "a" }, { forward_id = "b", socket_path = w:path "b" } } }
    local asking = vmctl.spawn(w.service.bind, w.service, sockets)
    support.settle()
    asking:cancel()
    assert.equal("ECANCELED", code(asking:join()))
    fs.rename = rename
    assert.equal(1, gate:wake())
    eventually(function() return w.service:stats().sockets == 2 end)
    assert.same({ "a", "b" }, names_in(w.folder))
    local before = core.fs.stat(w:path "a", true).inode
    assert(w.service:bind(sockets))
    assert.equal(before, core.fs.stat(w:path "a", true).inode)
  end))

  it("leaves a socket of another's", sf.with(function(w)
    assert(w:bind { { "b", w:path "b" } })
    core.fs.remove(w:path "b")
    local other <close> = assert(core.listen { kind = "unix", path = w:path "b" }) -- luacheck: ignore
    assert.is_true(w.service:shutdown())
    assert(fs.stat(w:path "b", true)) -- behind what was begun before it
    vmctl.yield()
    assert.equal("socket", assert(core.fs.stat(w:path "b", true)).type)
  end))
end)
