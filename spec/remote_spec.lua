-- Guests on other machines: the conversation with `vmctl serve --stdio`, without a guest. The other machine is a command here.
local assert = require "luassert"
local core = require "vmctl.core"
local host = require "vmctl.remote.host"
local pieces = require "vmctl.remote.pieces"
local scenario_hosts = require "vmctl.scenario.hosts"
local serve = require "vmctl.serve"
local store = require "vmctl.serve.store"
local support = require "spec.support"
local upload = require "vmctl.remote.upload"
local vmctl = require "vmctl"
local where = require "vmctl.remote.where"
local wire = require "vmctl.remote.wire"
local yamux = require "vmctl.yamux"

local VERSION = require "vmctl.base.version"

local code, run, pair, tmpdir = support.code, support.run, support.pair, support.tmpdir

local function write(path, bytes)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(bytes))
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

describe("vmctl.remote.where", function()
  it("makes a command of ssh, in which nothing is left to a shell here", function()
    local at = assert(where.parse { "ssh:ann@web-1.example:2222", ssh_options = { "-F", "my config" }, command = "/opt/vm ctl" })
    assert.same({ "ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-p", "2222", "-F", "my config", "--", "ann@web-1.example",
      "exec '/opt/vm ctl' serve --stdio" }, at.argv)
    assert.equal("ssh:ann@web-1.example:2222", at.label)
    assert.equal("::1", assert(where.parse "ssh:[::1]:22").argv[10])
    assert.same({ "/bin/sh", "-c", "a b" }, assert(where.parse "exec:a b").argv)
    assert.same({ "srun", "-N1" }, assert(where.parse { argv = { "srun", "-N1" } }).argv)
  end)

  it("refuses names that ssh would take for options or a shell for more", function()
    for _, text in ipairs { "ssh:", "ssh:-oProxyCommand=x", "ssh:-F@h", "ssh:a@-h", "ssh:a b", "ssh:a;b", "ssh:$(x)", "ssh:a\nb", "ssh:h:0",
      "ssh:h:65536", "ssh:a@b@c", "ssh:" .. ("a"):rep(300), "exec:", "exec:a\0b", "vsock:3", "", "ssh:a:b:c" } do
      assert.equal("EINVAL", code(where.parse(text)), text)
    end
    assert.equal("EINVAL", code(where.parse { argv = {} }))
    assert.has_error(function() where.parse { "ssh:a", colour = "red" } end)
  end)
end)

describe("a hello", function()
  local function hear(bytes, noise)
    local a, b = pair()
    assert(b:write(bytes))
    b:close()
    local results = table.pack(wire.read_hello(a, "serve", 5, noise))
    a:close()
    return table.unpack(results, 1, results.n)
  end

  it("is found behind what a login shell says", run(function()
    assert.equal("9.9", (hear "Welcome!\n\nvmctl-serve 1 9.9\n"))
    assert.equal("1.2.3-rc", (hear "vmctl-serve 1 1.2.3-rc\n"))
  end))

  it("of another protocol is refused with both versions", run(function()
    local _, err, how = hear "vmctl-serve 2 9.9\n"
    assert.equal("EPROTO", how)
    assert.equal(("vmctl 9.9 there speaks protocol 2 of `serve`, vmctl %s here speaks 1: install one version on both"):format(VERSION), err)
  end))

  it("is waited for in a bounded text", run(function()
    assert.equal("EPROTO", code(hear(("x\n"):rep(65))))
    assert.equal("ETOOBIG", code(hear(("x"):rep(257) .. "\n")))
    assert.equal("EPROTO", code(hear("x\nvmctl-serve 1 9.9\n", 0)))
    assert.equal("EOF", code(hear "x\n"))
    assert.equal("EPROTO", code(hear(("vmctl-serve 1234567 1\n"):rep(65))))
    assert.equal("EOF", code(hear "vmctl-serve 1 9.9 more\n"))
  end))
end)

describe("an answer", function()
  local function hear(bytes)
    local a, b = pair()
    assert(b:write(bytes))
    b:close()
    local results = table.pack(wire.answer(a, 5))
    a:close()
    return table.unpack(results, 1, results.n)
  end

  it("is one JSON object of at most 64 KiB", run(function()
    assert.same({ id = 1 }, hear '{"id":1}\n')
    for bytes, how in pairs { ["[1]\n"] = "EPROTO", ["1\n"] = "EPROTO", ["{\n"] = "EPROTO", [""] = "EOF", ['{"id":1}'] = "EPROTO",
      [("x"):rep(wire.LINE + 1) .. "\n"] = "ETOOBIG" } do
      assert.equal(how, code(hear(bytes)), bytes:sub(1, 20))
    end
  end))

  it("may be a refusal, whose code is that of the other side and whose text cannot harm a terminal", run(function()
    local _, err, how = hear '{"error":"no\\u001b[31m","code":"ENOENT"}\n'
    assert.equal("ENOENT", how)
    assert.is_nil(err:find "\27")
    for _, bytes in ipairs { '{"error":1,"code":"E"}\n', '{"error":"x"}\n', '{"error":"x","code":"e;rm"}\n' } do
      assert.equal("EPROTO", code(hear(bytes)))
    end
  end))
end)

describe("vmctl.RemoteHost", function()
  local function fails(on, how, text)
    local found, err, why = host.connect(on)
    assert.is_nil(found)
    assert.equal(how, why)
    assert.truthy(err:find(text, 1, true), err)
  end

  it("says why nobody answers there", run(function()
    fails("exec:no-such-program serve", "ENOENT", "no vmctl there (exit code 127")
    fails("exec:echo no entry >&2; exit 255", "EHOSTDOWN", "/bin/sh ended with exit code 255: no entry")
    fails("exec:echo hello", "EHOSTDOWN", "ended with exit code 0: hello")
    fails("exec:kill -9 $$", "EHOSTDOWN", "signal KILL")
    fails("exec:echo vmctl-serve 7 3.2; exec cat", "EPROTO", "vmctl 3.2 there speaks protocol 7")
    fails("exec:yes", "EPROTO", "no hello of vmctl, but 'y'")
    fails({ "exec:exec sleep 1000", timeout = 0.1 }, "ETIMEDOUT", "no hello of vmctl within 0.1 s")
    fails({ argv = { "/no/such/program" } }, "ENOENT", "/no/such/program")
  end))

  -- A command that leads to a socket.
  local LEAD = [[
local core, vmctl = require "vmctl.core", require "vmctl"
local s = assert(vmctl.dial("unix:" .. arg[0] .. "/s"))
local input, output = core.open(0, "pipe"), core.open(1, "pipe")
local function copy(from, to)
  return function()
    while true do
      local data = from:read(65536, math.huge)
      if not data or not to:write(data, math.huge) then os.exit(0, false) end
    end
  end
end
vmctl.all { copy(input, s), copy(s, output) }
]]

  -- One whose other side is a function of this process, act(stream), for fn(host).
  local function with_fake(act, fn)
    return function()
      local folder = tmpdir()
      local listener <close> = assert(vmctl.listen("unix:" .. folder .. "/s"))
      vmctl.scope(function(scope)
        vmctl.spawn_in(scope, function()
          local s <close> = assert(listener:accept())
          s:write(wire.hello "serve")
          assert(wire.read_hello(s, "use", 30, 0))
          act(s)
        end)
        local h <close> = assert(host.connect { argv = { "lua5.4", "-e", LEAD, folder }, keepalive = 1 })
        fn(h)
        scope:cancel()
      end)
    end
  end

  local function faked(act)
    return with_fake(act, function(h)
      local _, err, how = h:wait_lost(30)
      assert.not_equal("ETIMEDOUT", how, err)
      assert.equal(how, code(h:ask { op = "doctor" }))
      assert.is_nil(h:check())
    end)
  end

  -- The other side answers a launch so, and other requests with an object.
  local function answering(launch, after)
    return function(s)
      local session = yamux.session(s, { client = false, on_stream = function(stream)
        local request = wire.receive(stream, 30)
        if not request then return stream:close() end
        stream:write((request.op == "launch" and launch or request.op == "put" and '{"have":true}' or "{}") .. "\n")
        if request.op == "launch" and after then stream:write(after) end
        if request.op == "console" then stream:write(("\27[2J\0\xff"):rep(100)) end
        stream:read(1, math.huge)
        stream:close()
      end })
      session:run()
    end
  end

  local function launch(h) return vmctl.machine.launch { on = h, kernel = "README.md", initrd = "README.md" } end

  for name, text in pairs { ["no object"] = "[]", ["no guest"] = "{}", ["a guest without an accelerator"] = '{"id":1}',
    ["a number that is none"] = '{"id":"1","accel":"tcg"}', ["a refusal without a code"] = '{"error":"x"}', ["no JSON"] = "launched" } do
    it("may answer a launch with " .. name, run(with_fake(answering(text), function(h) assert.equal("EPROTO", code(launch(h))) end)))
  end

  it("may say of a guest what it will", run(with_fake(answering('{"id":1,"accel":"x","macs":[1,{}],"command":7,"pid":"x"}',
    '{"exit_code":"x","signal":[1],"said":"\\u001b[2J"}\n'), function(h)
    local vm <close> = assert(launch(h))
    assert.same({ {}, 2, nil }, { vm.command, #vm.macs, vm.host_pid })
    assert.same({}, assert(vm:wait(30)))
    local _, err, how = vm:wait_ready(30)
    assert.equal("ERESET", how)
    assert.is_nil(err:find "[%z\1-\8\11-\31\127]")
    assert.equal("EPROTO", code(vm:screendump(tmpdir() .. "/x")))
  end)))

  it("may go away in the middle of a launch", run(with_fake(function(s)
    yamux.session(s, { client = false, on_stream = function(stream)
      local request = wire.receive(stream, 30)
      if request and request.op == "launch" then return s:close() end
      stream:write '{"have":true}\n'
      stream:close()
    end }):run()
  end, function(h)
    local vm, err, how = launch(h)
    assert.is_nil(vm)
    assert.equal("EHOSTDOWN", how, err)
    assert.truthy(err:find("launch on exec:lua5.4", 1, true), err)
  end)))

  it("may end a guest's stream in the middle of a word", run(with_fake(answering('{"id":1,"accel":"x"}', '{"exit_'), function(h)
    local vm <close> = assert(launch(h))
    h._session:close()
    assert.equal("EHOSTDOWN", code(vm:wait(30)))
  end)))

  it("is lost when the other side answers no more", run(faked(function(s)
    while s:read(65536, math.huge) do end
  end)))

  it("is lost when the other side speaks no yamux", run(faked(function(s) s:write(("\xff"):rep(4096)) s:read(1, math.huge) end)))

  it("is lost when the other side ends", run(faked(function() end)))

  it("is there as long as it answers, also for a script that looks away", run(function()
    local h <close> = assert(host.connect { argv = { "bin/vmctl", "serve", "--stdio" }, keepalive = 1 })
    local begin = os.time()
    assert.equal("ETIMEDOUT", code(h:wait_lost(0.4))) -- it has been asked by then
    while os.time() - begin < 3 do end
    assert.equal("ETIMEDOUT", code(h:wait_lost(1.5)))
    assert(h:call { op = "doctor" })
  end))

  it("is lost in the middle of a file, of which nothing is there afterwards", run(function()
    local folder = tmpdir()
    local file = assert(core.fs.private(folder .. "/large"))
    local noise = assert(io.open "/dev/urandom"):read(1 << 20)
    for _ = 1, 64 do assert(file:write(noise)) end
    file:close()
    local h <close> = assert(host.connect { argv = { "bin/vmctl", "serve", "--stdio", "--cache", folder .. "/cache" } })
    local sending = vmctl.spawn(function() return code(upload.send(h, folder .. "/large")) end)
    support.eventually(function()
      local name = (core.fs.list(folder .. "/cache") or {})[1]
      local info = name and core.fs.stat(folder .. "/cache/" .. name)
      return info and info.size > 0
    end)
    h._child._child:kill "KILL"
    assert.equal("EHOSTDOWN", sending:join(60))
    local other <close> = assert(host.connect { argv = { "bin/vmctl", "serve", "--stdio", "--cache", folder .. "/cache" } })
    local digest = core.sha256():hex()
    assert.is_false(assert(other:call { op = "put", sha256 = digest, size = 7 }).have)
    for _, name in ipairs(core.fs.list(folder .. "/cache")) do assert.truthy(name:find(".new-", 1, true), name) end
  end))

  it("is closed once, and says so", run(function()
    local h = assert(host.connect "exec:bin/vmctl serve --stdio")
    assert.equal(VERSION, h.version)
    assert.equal("ENODEV", code(h:call { op = "console", id = 1 }))
    assert.equal("ENODEV", code(h:call { op = "nonsense" }))
    h:close()
    h:close()
    assert.equal("ECLOSED", code(h:call { op = "doctor" }))
  end))
end)

-- A session with `serve` in this process: fn(session, pipes).
local function with_serve(fn, opts)
  return function()
    local near, far = pair()
    local folder = tmpdir()
    vmctl.scope(function(scope)
      local server = vmctl.spawn_in(scope, function()
        return serve.serve(far, far, { cache = folder, cache_bytes = opts and opts.cache_bytes })
      end)
      fn(near, server, folder)
      near:close()
      scope:cancel()
    end)
    far:close()
  end
end

local function greeted(near)
  assert.equal(VERSION, wire.read_hello(near, "serve", 30, 0))
  assert(near:write(wire.hello "use"))
  local session = yamux.session(near, { client = true }):start "near"
  vmctl.yield()
  return session
end

local function asked(session, request)
  local s <close> = assert(session:open())
  assert(type(request) == "string" and s:write(request) or wire.send(s, request))
  return wire.answer(s, 30)
end

describe("vmctl serve", function()
  it("ends when the other side is no vmctl, or of another protocol", run(with_serve(function(near, server)
    assert(near:write "vmctl-use 9 8.1\n")
    local ok, err, how = server:join(30)
    assert.is_nil(ok)
    assert.equal("EPROTO", how)
    assert.truthy(err:find "vmctl 8.1 there speaks protocol 9", err)
  end)))

  it("takes a hello and a session in single bytes", run(with_serve(function(near, server)
    local bytes = wire.hello "use" .. "\0\2\0\1\0\0\0\0\0\0\0\7" -- a ping
    for i = 1, #bytes do
      assert(near:write(bytes:sub(i, i)))
      vmctl.yield()
    end
    assert.equal(VERSION, wire.read_hello(near, "serve", 30, 0))
    assert.equal("\0\2\0\2\0\0\0\0\0\0\0\7", near:read_exact(12, 30))
    near:shutdown()
    assert.is_true(server:join(30))
  end)))

  it("refuses what is no request, and goes on", run(with_serve(function(near)
    local session <close> = setmetatable({ greeted(near) }, { __close = function(t) t[1]:close() end })
    local s = session[1]
    for request, how in pairs { ["[]\n"] = "EPROTO", ["{\n"] = "EPROTO", [("x"):rep(70000) .. "\n"] = "ETOOBIG", ['{"op":[]}\n'] = "ENODEV",
      ['{"op":"put"}\n'] = "EINVAL", ['{"op":"put","sha256":"../../x","size":1}\n'] = "EINVAL", ['{"op":"launch"}\n'] = "EINVAL",
      ['{"op":"launch","spec":{"colour":1}}\n'] = "EINVAL", ['{"op":"launch","spec":{"on":"exec:x"}}\n'] = "EINVAL",
      ['{"op":"launch","spec":{"args":1}}\n'] = "EINVAL", ['{"op":"launch","spec":{"nics":[1]}}\n'] = "EINVAL",
      ['{"op":"launch","spec":{"args":[1]}}\n'] = "EINVAL", ['{"op":"launch","spec":{"kernel":"/etc/shadow"}}\n'] = "EINVAL",
      ['{"op":"launch","spec":{},"root":7}\n'] = "EINVAL",
      ['{"op":"launch","spec":{},"root":{"kind":"disk","1":"disk:/etc/shadow"}}\n'] = "EINVAL",
      ['{"op":"launch","spec":{},"root":{"kind":"disk"},"files":{"root":"x"}}\n'] = "EINVAL",
      ['{"op":"launch","spec":{},"files":{"kernel":"' .. ("0"):rep(64) .. '"}}\n'] = "ENOENT",
      ['{"op":"launch","spec":{},"files":{"kernel":7}}\n'] = "EINVAL", ['{"op":"agent","id":1,"port":5000}\n'] = "ENODEV" } do
      assert.equal(how, code(asked(s, request)), request:sub(1, 60))
    end
    assert.is_table(assert(asked(s, { op = "doctor" })).findings[1])
  end)))
end)

describe("vmctl serve, given bytes that are almost a conversation,", function()
  -- A script's messages, with bytes changed, left out or doubled.
  local function mangled(seed)
    local number = seed
    local function random(most)
      number = (number * 1103515245 + 12345) & 0x7fffffff
      return number % most + 1
    end
    local function frame(kind, flags, id, payload) return (">BBI2I4I4"):pack(0, kind, flags, id, #payload) .. payload end
    local bytes = wire.hello "use" .. frame(1, 1, 1, "") .. frame(0, 0, 1, '{"op":"console","id":1}\n') .. frame(1, 1, 3, "")
      .. frame(0, 0, 3, '{"op":"launch","spec":{"nics":[{"far":true}]},"files":{}}\n') .. frame(1, 1, 5, "")
      .. frame(0, 4, 5, ('{"op":"put","sha256":"%s","size":4}\n\0\0\0\4abcd'):format(("0"):rep(64)))
    for _ = 1, 3 do
      local at = random(#bytes)
      local how = random(3)
      local middle = how == 1 and string.char(random(256) - 1) or how == 2 and "" or bytes:sub(at, at + random(40))
      bytes = bytes:sub(1, at - 1) .. middle .. bytes:sub(at + 1)
    end
    return bytes
  end

  it("ends, and leaves nothing", run(function()
    local folder = tmpdir()
    for seed = 1, 300 do
      local near, far = pair()
      local server = vmctl.spawn(serve.serve, far, far, { cache = folder })
      near:write(mangled(seed))
      near:shutdown()
      local reader = vmctl.spawn(function()
        while near:read(1 << 16, 60) do end
      end)
      server:join(60)
      reader:join(60)
      near:close()
    end
    assert.same({}, core.fs.list(folder))
  end, 120))
end)

describe("files", function()
  local function connected(cache, fn)
    local h <close> = assert(host.connect { argv = { "bin/vmctl", "serve", "--stdio", "--cache", cache, "--cache-size", "3M" } })
    fn(h)
  end

  it("are sent once, and stand under their digests", run(function()
    local folder = tmpdir()
    write(folder .. "/a", ("0123456789abcdef"):rep(1 << 16))
    connected(folder .. "/cache", function(h)
      local digest, _, _, sent = assert(upload.send(h, folder .. "/a"))
      assert.is_true(sent)
      assert.is_true(read(folder .. "/cache/" .. digest) == read(folder .. "/a"))
      assert.is_false(select(4, upload.send(h, folder .. "/a")))
      assert.equal(256, core.fs.stat(folder .. "/cache/" .. digest).mode)
      write(folder .. "/a", "")
      assert.is_true(select(4, upload.send(h, folder .. "/a")))
      assert.equal("ENOENT", code(upload.send(h, folder .. "/b")))
      assert.equal("EINVAL", code(upload.send(h, folder)))
      write(folder .. "/large", ("x"):rep(4 << 20))
      assert.equal("EFBIG", code(upload.send(h, folder .. "/large")))
    end)
  end))

  local function given(bytes, digest, size)
    local folder = tmpdir()
    local files = assert(store.open(folder))
    local a, b = pair()
    assert(a:write(bytes))
    a:close()
    local results = table.pack(files:take(b, digest, size))
    b:close()
    return core.fs.list(folder), table.unpack(results, 1, results.n)
  end

  it("that are cut off, or are others than announced, leave nothing", run(function()
    local digest = core.sha256("hello"):hex()
    assert.same({ digest }, (given(pieces.pack "hello", digest, 5)))
    assert.same({ digest }, (given(pieces.pack "he" .. pieces.pack "llo", digest, 5)))
    for bytes, code_of in pairs { ["\0\0"] = "EPROTO", [""] = "EOF", [pieces.pack "hullo"] = "EPROTO", [pieces.pack "hello!"] = "EPROTO",
      [pieces.pack_hole(5)] = "EPROTO", [pieces.pack_hole(6)] = "EPROTO", [pieces.pack ""] = "EPROTO", [pieces.pack "hell"] = "EOF" } do
      local names, _, _, how = given(bytes, digest, 5)
      assert.same({ {}, code_of }, { names, how })
    end
  end))

  it("that are mostly zeros are sent without these, and take no room", run(function()
    local folder = tmpdir()
    local file = assert(core.fs.private(folder .. "/disk"))
    assert(file:truncate(100 << 20))
    assert(file:write "middle")
    assert(file:truncate(200 << 20))
    file:close()
    local h <close> = assert(host.connect { argv = { "bin/vmctl", "serve", "--stdio", "--cache", folder .. "/cache" } })
    local digest = assert(upload.send(h, folder .. "/disk"))
    local info = assert(core.fs.stat(folder .. "/cache/" .. digest))
    assert.equal(200 << 20, info.size)
    assert.is_true(info.allocated <= 1 << 20)
    local copy <close> = assert(core.fs.open(folder .. "/cache/" .. digest))
    assert.equal("\0middle\0", copy:read(8, (100 << 20) - 1))
  end, 60))

  it("that were used least recently make room", run(function()
    local folder = tmpdir()
    local files = assert(store.open(folder, 30))
    local root <close> = assert(core.fs.root(folder))
    local old = os.time() - 7200
    for i, text in ipairs { "aaaaaaaaaa", "bbbbbbbbbb" } do
      local digest = core.sha256(text):hex()
      write(folder .. "/" .. digest, text)
      root:chtimes("/" .. digest, old + i, old + i)
    end
    local a, b = pair()
    local text = ("c"):rep(15)
    assert(a:write(pieces.pack(text)))
    assert(files:reserve(15))
    assert(files:take(b, core.sha256(text):hex(), 15))
    assert.equal("EFBIG", code(files:reserve(31)))
    a:close()
    b:close()
    local kept = core.fs.list(folder)
    table.sort(kept)
    local expected = { core.sha256("bbbbbbbbbb"):hex(), core.sha256(text):hex() }
    table.sort(expected)
    assert.same(expected, kept)
  end))
end)

describe("the machines of a scenario", function()
  local function places(specs, count)
    local list = {}
    for i = 1, count do list[i] = { "exec:" .. i, argv = { "bin/vmctl", "serve", "--stdio" } } end
    local all = scenario_hosts.new(list, specs, 1)
    local found = {}
    for name, spec in pairs(specs) do
      local on = assert(all:with_host(name, spec)).on
      found[name] = type(on) == "string" and on or on.label
    end
    all:close()
    return found
  end

  it("are spread over its hosts by their memory", run(function()
    assert.same({ a = "exec:2", b = "exec:1", c = "exec:2", d = "exec:2" },
      places({ a = { memory = "512M" }, b = { memory = 2048 }, c = { memory = "300M" }, d = {} }, 2))
    assert.same({ a = "exec:1", b = "exec:2", c = "exec:3", d = "exec:1" }, places({ a = {}, b = {}, c = {}, d = {} }, 3))
    assert.same({ a = "exec:own", b = "exec:1" }, places({ a = { on = "exec:own", memory = "8G" }, b = {} }, 2))
  end))

  it("have no hosts by mistake", function()
    for _, hosts in ipairs { {}, "ssh:a", { slurm = 1 }, { slurm = {}, colour = "red" } } do
      assert.has_error(function() scenario_hosts.new(hosts, {}, 1) end)
    end
    local ok, err = pcall(vmctl.scenario.open, { a = {} }, { hosts = { "ssh:a" }, snapshot = true })
    assert.is_false(ok)
    assert.truthy(err:find("machine 'a': 'snapshot' is for machines that run here", 1, true), err)
  end)

  it("fail with the reason where a host cannot be reached, and where there is no Slurm", run(function()
    local all = scenario_hosts.new({ "exec:exit 255" }, { a = {} }, 1)
    assert.equal("EHOSTDOWN", code(all:with_host("a", {})))
    all:close()
    local folder = tmpdir()
    write(folder .. "/salloc", "#!/bin/sh\necho 'salloc: error: no partition' >&2\nexit 1\n")
    assert(os.execute("chmod 755 " .. folder .. "/salloc"))
    local argv = { "lua5.4", "-e", [[
      local found, err, code = require("vmctl.scenario.slurm_hosts").allocate({ slurm = {} }, 2)
      print(found, code, err)
    ]], env = { PATH = folder .. ":" .. os.getenv "PATH" } }
    local said = assert(vmctl.host:run(argv)).stdout
    assert.equal("nil\tEHOSTDOWN\tslurm: salloc ended with exit code 1: salloc: error: no partition\n", said)
  end))
end)
