-- Each of the 63 requests by the method that makes it: what goes out and what is made of the answer are the vectors'.
local cc = require "vmctl.cc"
local ends = require "spec.support.cc"
local support = require "spec.support"
local vectors = require "spec.support.vectors"

local code, run = support.code, support.run
local types = cc.types

local all = vectors.load "cc-ipc"

local HERE = "spec/cc_objects_spec.lua:"

-- A helper that checks that it is sent just these vectors, in this order, and answers with theirs.
local function with_script(names, fn)
  local at = 0
  local function handler(kind, payload)
    at = at + 1
    local name = assert(names[at], "a request too many: " .. (cc.names[kind] or kind))
    local ask, answer = name, name
    if type(name) == "table" then ask, answer = name[1], name[2] end
    local expected_kind, expected = ends.frame(all["msg." .. ask .. ".req"])
    assert(kind == expected_kind, "another request: " .. (cc.names[kind] or kind))
    assert(payload == expected, "another payload of " .. cc.names[kind])
    return select(2, ends.frame(all["msg." .. answer .. ".resp"]))
  end
  ends.with_both(handler, function(client)
    fn(client:current_instance(), client)
    assert.equal(#names, at)
  end)
end

local function script(names, fn)
  return run(function() with_script(names, fn) end)
end

local seen = {} -- the requests of all scripts, for the count

local function method(title, names, fn)
  for _, name in ipairs(names) do seen[(type(name) == "table" and name[1] or name):match "^%x+"] = true end
  it(title, script(names, fn))
end

describe("cc's instance", function()
  method("is booted from a tar", { "0100.InstanceNew" }, function(_, client)
    local vm = assert(client:instance {
      tar = "/images/alpine.tar", memory = 512, cpus = 2, timeout = 30.5, user = "1000:1000", dmesg = true,
      mounts = { { tag = "src", host_path = "/home/dev/src" }, { tag = "out", host_path = "/home/dev/out", writable = true } },
    })
    assert.equal("function", type(vm.fs.open))
  end)

  method("is booted from a reference", { { "0100.InstanceNew.ref", "0100.InstanceNew" } }, function(_, client)
    assert(client:instance { image = "alpine:3.20", cache_dir = "/var/cache/cc" })
  end)

  it("is booted from whatever its source looks like", run(function()
    local asked
    ends.with_both(function(_, payload)
      local d = cc.decoder(payload)
      asked = { d:uint8(), d:string(), d:string() }
      return true
    end, function(client)
      local folder = support.tmpdir()
      assert(io.open(folder .. "/image.tar", "w")):close()
      for source, expected in pairs {
        [folder] = { 1, folder, "" }, [folder .. "/image.tar"] = { 0, folder .. "/image.tar", "" }, ["alpine:3"] = { 2, "", "alpine:3" },
      } do
        assert(client:instance { source = source })
        assert.same(expected, asked)
      end
      assert(client:instance { directory = "/d" })
      assert.same({ 1, "/d", "" }, asked)
    end)
  end))

  method("has what a machine has", { "0103.InstanceID", "0104.InstanceIsRunning", "0105.InstanceSetConsole",
    "0106.InstanceSetNetwork", "0107.InstanceExec", "0102.InstanceWait", "0101.InstanceClose" }, function(vm)
    assert.equal("0a1b2c3d-0102-0304-0506-0708090a0b0c", vm:id())
    assert.is_true(vm:is_running())
    assert.is_true(vm:set_console(80, 24))
    assert.is_true(vm:set_network(false))
    assert.is_true(vm:exec { "/bin/sh", "-c", "exit 0" })
    assert.is_true(vm:wait())
    assert.is_true(vm:close())
  end)
end)

describe("cc's file system", function()
  method("opens files", { "0200.FsOpen", "0201.FsCreate", "0202.FsOpenFile" }, function(vm)
    for _, file in ipairs { assert(vm.fs:open "/etc/hosts"), assert(vm.fs:create "/tmp/a"),
      assert(vm.fs:open_file("/tmp/a", "rw", 384)) } do
      assert.equal("function", type(file.read))
    end
  end)

  method("writes a whole file", { "0204.FsWriteFile" }, function(vm) assert.is_true(vm.fs:write_file("/tmp/a", "hello")) end)

  method("says what is there, in POSIX' words", { "0205.FsStat", "0206.FsLstat", "020e.FsReadDir", "020d.FsReadlink" },
    function(vm)
      assert.same({ name = "hosts", size = 158, mode = 420, type = "file", mtime = 1770700000, is_dir = false,
        is_symlink = false }, vm.fs:stat "/etc/hosts")
      assert.same({ name = "mtab", size = 19, mode = 511, type = "link", mtime = 1770700002, is_dir = false,
        is_symlink = true }, vm.fs:lstat "/etc/mtab")
      assert.same({ { name = "bin", is_dir = true, type = "directory", mode = 0 },
        { name = "init", is_dir = false, type = "file", mode = 0 } }, vm.fs:read_dir "/")
      assert.equal("../a", vm.fs:readlink "/tmp/l")
    end)

  method("changes what is there", { "0207.FsRemove", "0208.FsRemoveAll", "0209.FsMkdir", "020a.FsMkdirAll", "020b.FsRename",
    "020c.FsSymlink", "020f.FsChmod", "0210.FsChown", "0211.FsChtimes" }, function(vm)
    local fs = vm.fs
    assert.is_true(fs:remove "/tmp/a")
    assert.is_true(fs:remove_all "/tmp/d")
    assert.is_true(fs:mkdir "/tmp/d")
    assert.is_true(fs:mkdir_all("/tmp/d/e/f", 493))
    assert.is_true(fs:rename("/tmp/a", "/tmp/b"))
    assert.is_true(fs:symlink("../a", "/tmp/l"))
    assert.is_true(fs:chmod("/tmp/a", 384))
    assert.is_true(fs:chown("/tmp/a", 1000, -1))
    assert.is_true(fs:chtimes("/tmp/a", 1770700000.9, -1))
  end)

  method("can be kept", { "0212.FsSnapshot", "0600.SnapshotCacheKey", "0601.SnapshotParent",
    { "0601.SnapshotParent", "0601.SnapshotParent.none" }, "0603.SnapshotAsSource", "0602.SnapshotClose" }, function(vm)
    local snapshot = assert(vm.fs:snapshot { excludes = { "/proc/*" } })
    assert.equal("sha256-3f2a", snapshot:cache_key())
    assert.equal("function", type(assert(snapshot:parent()).cache_key))
    assert.equal("ENOENT", code(snapshot:parent()))
    assert.equal(4, snapshot:as_source())
    assert.is_true(snapshot:close())
    assert.is_true(snapshot:close())
    assert.equal("ECLOSED", code(snapshot:cache_key()))
  end)

  method("can be built", { "0700.BuildDockerfile" }, function(_, client)
    assert(client:build_dockerfile { dockerfile = "FROM alpine\nRUN true\n", context_dir = "/srv/ctx",
      cache_dir = "/var/cache/cc", build_args = { VERSION = "3.20" } })
  end)
end)

describe("cc's command", function()
  method("is set up, started, waited for and freed", { "0400.CmdNew", "0403.CmdSetDir", "0404.CmdSetEnv", "0405.CmdGetEnv",
    "0406.CmdEnviron", "0407.CmdStart", "040c.CmdExitCode", "0408.CmdWait", "0402.CmdFree" }, function(vm)
    local command = assert(vm:command { "echo", "hello", "world", dir = "/tmp", env = { LANG = "C" } })
    assert.equal("C", command:get_env "LANG")
    assert.same({ PATH = "/bin:/usr/bin", LANG = "C" }, command:environ())
    assert.equal("EINVAL", code(command:wait())) -- it would never return
    assert.equal("EINVAL", code(command:exit_code()))
    assert.is_true(command:start())
    assert.equal("EBUSY", code(command:start()))
    assert.same({ 127, true }, { command:exit_code() })
    assert.equal(0, command:wait())
    assert.equal(0, command:wait()) -- known by now
    assert.same({ 0, true }, { command:exit_code() })
    assert.is_true(command:free())
    assert.is_true(command:free())
    assert.equal("ECLOSED", code(command:set_dir "/"))
  end)

  for _, case in ipairs {
    { "0409.CmdRun", "run", 1 }, { { "0409.CmdRun", "0409.CmdRun.errno" }, "run", -2 },
    { "040a.CmdOutput", "output", "hello world\n", 0 },
    { { "040a.CmdOutput", "040a.CmdOutput.failed" }, "output", "", 3 },
    { "040b.CmdCombinedOutput", "combined_output", "out\nerr\n", 0 },
  } do
    method("runs to its end: " .. (case[1][2] or case[1]), { "0400.CmdNew", case[1], "040d.CmdKill" }, function(vm)
      local command = assert(vm:command { "echo", "hello", "world" })
      assert.same({ table.unpack(case, 3) }, { command[case[2]](command) })
      assert.equal("EBUSY", code(command:run()))
      assert.equal("EBUSY", code(command:output()))
      assert.equal(case[4] or case[3], command:wait())
      assert.is_true(command:kill())
      assert.is_true(command:kill())
    end)
  end

  method("may be the image's own", { "0401.CmdEntrypoint" }, function(vm) assert(vm:entrypoint()) end)

  it("that cannot be set up is freed", run(function()
    local freed
    ends.with_both({
      CMD_NEW = function() return cc.response():success():uint64(3) end,
      CMD_SET_DIR = function() return nil, "no such folder", 7 end,
      CMD_FREE = function(d) freed = d:uint64() return true end,
    }, function(client)
      local vm = client:current_instance()
      assert.equal("EREMOTE", code(vm:command { "true", dir = "/none" }))
      assert.equal(3, freed)
    end)
  end))
end)

describe("cc's listener", function()
  method("accepts connections", { "0500.NetListen", "0503.ListenerAddr", "0501.ListenerAccept", "0504.ConnRead",
    "0505.ConnWrite", "0507.ConnLocalAddr", "0508.ConnRemoteAddr", "0506.ConnClose", "0502.ListenerClose" }, function(vm)
    local listener = assert(vm:listen ":8080")
    assert.equal("10.42.0.1:8080", listener:addr())
    local conn = assert(listener:accept())
    assert.equal("GET / HTTP/1.0\r\n\r\n", conn:read(4096))
    assert.is_true(conn:write "hi\n")
    assert.equal("10.42.0.1:8080", conn:local_addr())
    assert.equal("10.42.0.2:41000", conn:remote_addr())
    assert.is_true(conn:close())
    assert.is_true(conn:close())
    assert.equal("ECLOSED", code(conn:read()))
    assert.is_true(listener:close())
    assert.equal("ECLOSED", code(listener:accept()))
  end)

  it("gives connections that end with EOF", run(function()
    ends.with_both({
      NET_LISTEN = function() return cc.response():success():uint64(1) end,
      LISTENER_ACCEPT = function() return cc.response():success():uint64(2) end,
      CONN_READ = function() return nil, "EOF", 99 end, CONN_CLOSE = function() return true end,
    }, function(client)
      local conn <close> = assert(client:current_instance():listen(":1"):accept())
      assert.equal("EOF", code(conn:read()))
    end)
  end))
end)

describe("cc's file", function()
  method("is read to its end", { "0200.FsOpen", "0301.FileRead", { "0301.FileRead", "0301.FileRead.eof" } }, function(vm)
    local file = assert(vm.fs:open "/etc/hosts")
    assert.equal("abc", file:read()) -- with no line feed at its end
  end)

  method("has what a file has", { "0200.FsOpen", "0302.FileWrite", "0303.FileSeek", "0304.FileSync", "0305.FileTruncate",
    "0306.FileStat", "0307.FileName", "0300.FileClose" }, function(vm)
    local file = assert(vm.fs:open "/etc/hosts")
    assert.equal(file, file:write "\0\255")
    assert.equal(148, file:seek("end", -10))
    assert.is_true(file:sync())
    assert.is_true(file:truncate(0))
    local info = assert(file:stat())
    assert.same({ "directory", 493, 4096 }, { info.type, info.mode, info.size })
    assert.equal("/etc/hosts", file:name())
    assert.is_true(file:close())
    assert.is_true(file:close())
    assert.equal("ECLOSED", code(file:read(1)))
  end)

  -- A file in memory, of which no more than `most` bytes are given at a time.
  local function memory(content, most)
    local at, state = 0, { content = content, largest = 0, requests = 0 }
    local handlers = {
      FS_OPEN = function() at = 0 return cc.response():success():uint64(1) end,
      FS_OPEN_FILE = function() at = 0 return cc.response():success():uint64(1) end,
      FILE_CLOSE = function() return true end,
      FS_STAT = function() return cc.response():success():file_info { name = "f", size = #state.content, mode = 420 } end,
      FS_READ_FILE = function() return cc.response():success():write_bytes(state.content) end,
      FS_WRITE_FILE = function(d) d:string() state.content = d:bytes() return true end,
      FILE_READ = function(d)
        d:uint64()
        local n = d:uint32()
        state.largest, state.requests = math.max(state.largest, n), state.requests + 1
        local piece = state.content:sub(at + 1, at + math.min(n, most))
        at = at + #piece
        return cc.response():success():write_bytes(piece)
      end,
      FILE_WRITE = function(d)
        d:uint64()
        local data = d:bytes():sub(1, most)
        state.content = state.content:sub(1, at) .. data .. state.content:sub(at + #data + 1)
        at = at + #data
        return cc.response():success():uint32(#data)
      end,
      FILE_SEEK = function(d)
        d:uint64()
        local offset, whence = d:int64(), d:int32()
        at = offset + (whence == 0 and 0 or whence == 1 and at or #state.content)
        return cc.response():success():int64(at)
      end,
    }
    return handlers, state
  end

  it("is read as one of Lua's own, whatever pieces come", run(function()
    for _, most in ipairs { 1, 3, 1 << 20 } do
      local handlers = memory("one\ntwo\n\nfour", most)
      ends.with_both(handlers, function(client)
        local file <close> = assert(client:current_instance().fs:open "/f")
        assert.equal("one", file:read())
        assert.equal("two\n", file:read "L")
        assert.equal("\nfo", file:read(3))
        assert.equal(11, file:seek())
        assert.equal("ur", file:read "a")
        assert.equal("", file:read "a")
        assert.equal("EOF", code(file:read(1)))
        assert.equal("EOF", code(file:read()))
        assert.equal(0, file:seek "set")
        local lines = {}
        for line in file:lines() do table.insert(lines, line) end
        assert.same({ "one", "two", "", "four" }, lines)
        file:seek("set", 4)
        lines = {}
        for piece in file:lines(4) do table.insert(lines, piece) end
        assert.same({ "two\n", "\nfou", "r" }, lines)
      end)
    end
  end))

  it("is written where it was read to, though more was read ahead", run(function()
    local handlers, state = memory("one\ntwo\nthree\n", 1 << 20)
    ends.with_both(handlers, function(client)
      local file <close> = assert(client:current_instance().fs:open_file("/f", "rw"))
      assert.equal("one", file:read())
      assert(file:write "TWO")
      assert.equal("\n", file:read "L")
      assert.equal("one\nTWO\nthree\n", state.content)
    end)
  end))

  it("that is large is written in pieces of 1 MiB at most, and read in one request or in such pieces", run(function()
    local handlers, state = memory("", 1 << 20)
    local content = ("0123456789abcdef"):rep((3 << 20) // 16) .. "end"
    ends.with_both(handlers, function(client)
      local fs = client:current_instance().fs
      assert.is_true(fs:write_file("/f", content))
      assert.is_true(content == state.content)
      assert.is_true(content == fs:read_file "/f")
      assert.equal(0, state.requests)
      handlers.FS_READ_FILE = function() return nil, "read: file too large for one answer", 7 end
    end)
    ends.with_both(handlers, function(client)
      local fs = client:current_instance().fs
      assert.is_true(content == fs:read_file "/f")
      assert.equal(1 << 20, state.largest)
      assert.is_true(fs:write_file("/f", "small"))
    end)
  end, 5))

  -- The reference's helper answers FileRead and FsReadFile with what it has got when the disk fails.
  it("that is read only in part is no content, unless it has become shorter meanwhile", run(function()
    local handlers = memory("0123456789", 1 << 20)
    handlers.FS_READ_FILE = function() return cc.response():success():write_bytes "0123" end
    ends.with_both(handlers, function(client)
      local fs = client:current_instance().fs
      local bytes, err, why = fs:read_file "/f"
      assert.is_nil(bytes)
      assert.equal("EIO", why)
      assert.matches("/f: 4 of 10 bytes came", err, 1, true)
    end)
    local sizes = { 10, 4 }
    handlers.FS_STAT = function()
      return cc.response():success():file_info { name = "f", size = table.remove(sizes, 1), mode = 420 }
    end
    ends.with_both(handlers, function(client) assert.equal("0123", client:current_instance().fs:read_file "/f") end)
  end))

  it("that is large goes to a helper which cannot write files as the reference's does", run(function()
    local handlers, state = memory("", 1 << 20)
    handlers.FILE_WRITE = function() return nil, "write /f: not implemented", 7, { op = "write", path = "/f" } end
    ends.with_both(handlers, function(client)
      local content = ("x"):rep(2 << 20)
      assert.is_true(client:current_instance().fs:write_file("/f", content))
      assert.is_true(content == state.content)
    end)
  end, 5))

  it("fails as the helper does, and on answers that make no sense", run(function()
    local handlers = memory("content", 100)
    ends.with_both(handlers, function(client)
      assert.equal("ENOTSUP", code(client:current_instance().fs:chmod("/f", 420)))
    end)
    handlers.FILE_READ = function() return cc.response():success():write_bytes(("x"):rep(50)) end
    handlers.FILE_WRITE = function() return cc.response():success():uint32(0) end
    handlers.FILE_CLOSE = function() return nil, "close /f: no space left", 7 end
    ends.with_both(handlers, function(client)
      local file = assert(client:current_instance().fs:open "/f")
      assert.equal("EPROTO", code(file:read(10)))
      assert.equal("EPROTO", code(file:write "data"))
      assert.equal("EREMOTE", code(file:close()))
      assert.is_true(file:close())
    end)
    for _, answer in ipairs { "", "\0\0", "\0\0\0\9x" } do
      handlers.FILE_READ = function() return "\0" .. answer end
      ends.with_both(handlers, function(client)
        local file = assert(client:current_instance().fs:open "/f")
        assert.equal("EPROTO", code(file:read(10)))
      end)
    end
  end))
end)

describe("cc's objects", function()
  it("make all 63 requests", function()
    seen["0203"] = true -- FsReadFile: below
    for number, name in pairs(cc.names) do assert.is_true(seen[("%04x"):format(number)], name) end
  end)

  it("read a small file at once", run(function()
    local kind, payload
    ends.with_both(function(asked, fields)
      if asked == types.FS_STAT then return cc.response():success():file_info { size = 9, mode = 420 } end
      kind, payload = asked, fields
      return select(2, ends.frame(all["msg.0203.FsReadFile.resp"]))
    end, function(client)
      assert.equal("tinyrange\n", client:current_instance().fs:read_file "/etc/hostname")
      local expected_kind, expected = ends.frame(all["msg.0203.FsReadFile.req"])
      assert.same({ expected_kind, expected }, { kind, payload })
    end)
  end))

  it("send nothing that holds a NUL where a kernel would stop at it", run(function()
    ends.with_both(function() error "nothing is to be sent" end, function(client)
      local vm = client:current_instance()
      local fs = vm.fs
      for _, result in ipairs {
        { fs:open "/a\0b" }, { fs:stat "\0" }, { fs:rename("/a", "/b\0") }, { fs:symlink("\0", "/l") },
        { fs:write_file("/a\0", "x") }, { vm:command { "a\0" } }, { vm:command { "a", "\0" } }, { vm:exec { "a", "\0" } },
        { vm:listen "\0" }, { client:instance { image = "a\0" } }, { fs:snapshot { excludes = { "\0" } } },
        { client:build_dockerfile { dockerfile = "x", cache_dir = "\0" } },
      } do
        assert.equal("EINVAL", result[3])
      end
    end)
  end))

  it("raise at the caller's line for what is misused", run(function()
    ends.with_both({ FS_OPEN = function() return cc.response():success():uint64(1) end }, function(client)
      local vm = client:current_instance()
      local fs = vm.fs
      local file = assert(fs:open "/f")
      for i, misuse in ipairs {
        function() fs:open(7) end, function() fs:open() end, function() fs:stat {} end, function() fs:chmod("/a", 0x8000) end,
        function() fs:chmod("/a", "rw") end, function() fs:chown("/a", 1.5, 0) end, function() fs:chtimes("/a", "x", 0) end,
        function() fs:open_file("/a", "a") end, function() fs:write_file("/a", 7) end, function() file:read(0) end,
        function() file:read "n" end, function() file:write(7) end, function() file:seek "start" end,
        function() file:seek("set", 0.5) end, function() file:truncate(-1) end, function() vm:set_console(80, "x") end,
        function() vm:set_network(1) end, function() vm:exec {} end, function() vm:exec { 7 } end,
        function() vm:command {} end, function() vm:command { 7 } end, function() vm:command { "a", cwd = "/" } end,
        function() vm:entrypoint { 7 } end, function() vm:listen(7) end, function() client:instance {} end,
        function() client:instance { tar = "a", image = "b" } end, function() client:instance { tar = 7 } end,
        function() client:instance { tar = "a", mounts = { { name = "x" } } } end, function() client:build_dockerfile {} end,
        function() client:build_dockerfile { dockerfile = 7 } end, function() fs:snapshot { exclude = {} } end,
        function() fs:snapshot { excludes = { 7 } } end,
      } do
        local ok, err = pcall(misuse)
        assert.is_false(ok, i)
        assert.equal(HERE, tostring(err):match "[^/]*/[^/]*%.lua:", i .. ": " .. tostring(err))
      end
    end)
  end))
end)
