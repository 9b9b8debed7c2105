local agent = require "spec.support.agent"
local cjson = require "cjson"
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"
local wire = require "vmctl.exec.wire"

local code, run = support.code, support.run
local fs = core.fs

local function with_agent(fn, limit, opts)
  return run(function() agent.serve(fn, opts) end, limit)
end

local function content_of(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read "a"
  file:close()
  return content
end

describe("exec files: write_file", function()
  it("writes any bytes, from none to more than a message carries", with_agent(function(client)
    local folder = support.tmpdir()
    for _, size in ipairs { 0, 1, 65535, 65537, 16 << 20, (16 << 20) + 1 } do
      local content = ("\0\255abc\n"):rep(size // 6 + 1):sub(1, size)
      assert.is_true(client:write_file(folder .. "/f", content))
      assert.is_true(content == content_of(folder .. "/f"))
      assert.is_true(content == client:read_file(folder .. "/f"))
      assert.equal(1, #fs.list(folder))
    end
  end, 20))

  it("makes the folders above it", with_agent(function(client)
    local folder = support.tmpdir()
    assert(client:write_file(folder .. "/a/b/c/d", "x"))
    assert.equal(493, fs.stat(folder .. "/a/b/c").mode)
    assert.equal("EREMOTE", code(client:write_file(folder .. "/a/b/c/d/e", "x")))
  end))

  it("gives the mode that is asked for; else a new file has 0644 and an old one keeps its own", with_agent(function(client)
    local path = support.tmpdir() .. "/f"
    assert(client:write_file(path, "1"))
    assert.equal(420, fs.stat(path).mode)
    assert(client:write_file(path, "2", { mode = 384 }))
    assert.equal(384, fs.stat(path).mode)
    assert(client:write_file(path, "3"))
    assert.equal(384, fs.stat(path).mode)
    assert(client:write_file(path, "4", { mode = 2541 }))
    assert.equal(2541, fs.stat(path).mode)
    assert.has_error(function() client:write_file(path, "5", { mode = 4096 }) end)
    assert.has_error(function() client:write_file(path, "5", { mod = 1 }) end)
    assert.equal("4", content_of(path))
  end))

  if fs.identity() == 0 then
    it("keeps the owner of an old file", with_agent(function(client)
      local path = support.tmpdir() .. "/f"
      assert(client:write_file(path, "1"))
      assert(fs.chown(path, 12, 34))
      assert(client:write_file(path, "2"))
      assert.same({ 12, 34 }, { fs.stat(path).uid, fs.stat(path).gid })
    end))
  end

  it("puts the new file in the old one's place at once: who reads the old one reads on", with_agent(function(client)
    local folder = support.tmpdir()
    assert(client:write_file(folder .. "/f", "old content"))
    local reader = assert(io.open(folder .. "/f", "rb"))
    assert.equal("old", reader:read(3))
    assert(client:write_file(folder .. "/f", "new"))
    assert.equal(" content", reader:read "a")
    reader:close()
    assert.equal("new", content_of(folder .. "/f"))
    assert.same({ "f" }, fs.list(folder))
  end))

  it("does not put a file in the place of what is none", with_agent(function(client)
    local folder = support.tmpdir()
    assert(fs.mkdir(folder .. "/d"))
    os.execute(("mkfifo %s/p"):format(folder))
    for _, name in ipairs { "/d", "/p" } do
      local ok, _, why, said = client:write_file(folder .. name, "x")
      assert.is_nil(ok)
      assert.equal("EREMOTE", why)
      assert.is_truthy(said:find "not a regular file")
    end
    if os.execute(("mknod %s/null c 1 3 2>/dev/null"):format(folder)) then -- not the machine's own: where this fails it is a file
      assert.is_true(client:write_file(folder .. "/null", "x"))
      assert.equal("char", fs.stat(folder .. "/null").type)
    end
  end))

  it("fails with the reason, and leaves nothing behind", with_agent(function(client)
    local ok, message, why, said = client:write_file("/proc/no/such", "x")
    assert.is_nil(ok)
    assert.equal("EREMOTE", why)
    assert.is_truthy(message:find("write /proc/no/such on unix:", 1, true))
    assert.is_truthy(said:find "No such file")
  end))
end)

describe("exec files: read_file", function()
  it("reads what the kernel makes up, though it is said to be empty", with_agent(function(client)
    assert.is_truthy(client:read_file("/proc/self/status"):find "^Name:")
    assert.is_truthy(client:read_file("/proc/cpuinfo"):find "processor")
  end))

  it("fails with the reason", with_agent(function(client)
    local folder = support.tmpdir()
    os.execute(("mkfifo %s/p"):format(folder))
    local cases = {
      ["/no/such"] = "No such file", [folder] = "not a regular file", ["/dev/zero"] = "not a regular file",
      [folder .. "/p"] = "not a regular file", ["/proc/no/such"] = "No such file",
    }
    for path, text in pairs(cases) do
      local content, message, why, said = client:read_file(path)
      assert.is_nil(content)
      assert.equal("EREMOTE", why)
      assert.is_truthy(said:find(text, 1, true), said)
      assert.is_truthy(message:find("read " .. path .. " on unix:", 1, true), message)
    end
  end))

  it("follows a link", with_agent(function(client)
    local folder = support.tmpdir()
    assert(client:write_file(folder .. "/f", "x"))
    assert(fs.symlink("f", folder .. "/l"))
    assert.equal("x", client:read_file(folder .. "/l"))
    assert(fs.symlink("nowhere", folder .. "/dangling"))
    assert.equal("EREMOTE", code(client:read_file(folder .. "/dangling")))
  end))
end)

describe("exec files: list_files", function()
  it("tells names, sizes, modes and folders, in order; links are what they are", with_agent(function(client)
    local folder = support.tmpdir()
    assert.same({}, client:list_files(folder))
    assert(client:write_file(folder .. "/b", "12345", { mode = 384 }))
    assert(client:write_file(folder .. "/.hidden", ""))
    assert(fs.mkdir(folder .. "/a", 448))
    assert(fs.symlink("a", folder .. "/c"))
    assert(client:write_file(folder .. "/\xff", "odd"))
    local files = assert(client:list_files(folder))
    local size = files[2].size
    assert.same({
      { name = ".hidden", size = 0, mode = 420, type = "file", is_dir = false },
      { name = "a", size = size, mode = 448, type = "directory", is_dir = true },
      { name = "b", size = 5, mode = 384, type = "file", is_dir = false },
      { name = "c", size = 1, mode = 511, type = "link", is_dir = false },
      { name = "\xff", size = 3, mode = 420, type = "file", is_dir = false },
    }, files)
  end))

  it("lists a large folder", with_agent(function(client)
    local folder = support.tmpdir()
    for i = 1, 1000 do io.open(("%s/file-with-a-long-name-%05d"):format(folder, i), "w"):close() end
    local files = assert(client:list_files(folder))
    assert.equal(1000, #files)
    assert.equal("file-with-a-long-name-01000", files[1000].name)
  end, 5))

  it("fails with the reason", with_agent(function(client)
    assert.equal("EREMOTE", code(client:list_files "/no/such"))
    assert.equal("EREMOTE", code(client:list_files "/etc/passwd"))
  end))
end)

describe("exec files: a host of the reference", function()
  local function ask(client, type, body)
    local conn <close> = assert(vmctl.dial(client.address, { format = wire.format }))
    assert(conn:write_frame(type, cjson.encode(body)))
    local answer, payload = conn:read_frame()
    assert.equal(wire.types.FILE_RESULT, answer)
    return cjson.decode(payload)
  end

  it("gives a mode to new files alone, as Go has it and under the umask", with_agent(function(client)
    local path = support.tmpdir() .. "/f"
    for _, case in ipairs { { 438, 420 }, { 493 | 0x800000, 2541 }, { 0, 420 }, { 509 | 0x400000 | 0x100000, 2029 } } do
      os.remove(path)
      assert.same({}, ask(client, wire.types.WRITE_FILE, { path = path, content = "eA==", mode = case[1] }))
      assert.equal(case[2], fs.stat(path).mode)
    end
    assert(fs.chmod(path, 384))
    assert.same({}, ask(client, wire.types.WRITE_FILE, { path = path, content = "eQ==", mode = 420 }))
    assert.same({ 384, "y" }, { fs.stat(path).mode, content_of(path) })
  end))

  it("sees the types of files as Go's mode bits", with_agent(function(client)
    local folder = support.tmpdir()
    os.execute(("cd %s && mkfifo fifo && ln -s x link && mkdir folder && : > file && chmod 4755 file"):format(folder))
    local modes = {}
    for _, file in ipairs(ask(client, wire.types.LIST_FILES, { path = folder }).files) do
      modes[file.name] = math.tointeger(file.mode) & ~511
    end
    assert.same({ fifo = 0x02000000, link = 0x08000000, folder = 0x80000000, file = 0x800000 }, modes)
  end))
end)

describe("exec files: a root folder", function()
  it("stands for /, and .. does not lead out of it", run(function()
    local root = support.tmpdir()
    agent.serve(function(client)
      assert(client:write_file("/etc/x", "1"))
      assert.equal("1", content_of(root .. "/etc/x"))
      assert(client:write_file("relative", "2"))
      assert.equal("2", content_of(root .. "/relative"))
      assert(client:write_file("/../../a/./../up", "3"))
      assert.equal("3", content_of(root .. "/up"))
      assert.equal("EREMOTE", code(client:read_file "/../../../etc/passwd"))
      assert.equal("1", client:read_file "/../etc/x")
      assert.equal(3, #client:list_files "/..")
    end, { root = root })
  end))
end)

describe("exec forward", function()
  -- Calls fn(client, port) with a TCP server that answers each connection by `handle`.
  local function with_server(handle, fn, limit)
    return with_agent(function(client)
      local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
      local serving = vmctl.spawn(function()
        for s in function() return (listener:accept()) end do
          handle(s)
          s:close()
        end
      end)
      fn(client, listener:address().port)
      listener:close()
      serving:join()
    end, limit)
  end

  local function echo(s)
    for data in function() return (s:read()) end do s:write(data) end
  end

  it("gives a stream to a port as the guest sees it", with_server(echo, function(client, port)
    local s = assert(client:forward("127.0.0.1", port))
    for _, text in ipairs { "hello", "\0\255", ("x"):rep(300000) } do
      local writer = vmctl.spawn(function() return s:write(text) end)
      assert.is_true(text == s:read_exact(#text))
      assert.is_true(writer:join())
    end
    assert.is_true(s:shutdown())
    assert.equal("EOF", code(s:read()))
    s:close()
  end))

  it("hands on what was sent right behind the request", with_server(echo, function(client, port)
    local s = assert(vmctl.dial(client.address, { format = wire.format }))
    local body = cjson.encode { port = port }
    s:write((">Bs4"):pack(wire.types.PORT_FORWARD, body) .. "early")
    assert.same({ wire.types.READY, "" }, { s:read_frame() })
    assert.equal("early", s:read_exact(5))
    s:close()
  end))

  it("hands on the end of either side, and the answer that comes after it", with_server(function(s)
    s:write "greeting"
    s:shutdown()
    assert.equal("late question", s:read_exact(13))
  end, function(client, port)
    local s = assert(client:forward("127.0.0.1", port))
    assert.equal("greeting", s:read_exact(8))
    assert.equal("EOF", code(s:read()))
    assert.is_true(s:write "late question")
    s:close()
  end))

  it("ends at the target when the host goes", with_server(function(s)
    assert.equal("EOF", code(s:read()))
  end, function(client, port)
    assert(client:forward("127.0.0.1", port)):close()
    support.settle()
  end))

  it("that is refused tells the reason", with_agent(function(client)
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local port = listener:address().port
    listener:close()
    local s, message, why, said = client:forward("127.0.0.1", port)
    assert.is_nil(s)
    assert.equal("EREMOTE", why)
    assert.is_truthy(said:find "refused")
    assert.is_truthy(message:find("forward to 127.0.0.1:" .. port, 1, true))
    assert.equal("EREMOTE", code(client:forward("no-such-host.invalid", 80)))
  end, 10))
end)
