-- The agent as an ordinary process of this machine: what it says, whom it lets in, how it ends. No VM.
local agent = require "spec.support.agent"
local assert = require "luassert"
local core = require "vmctl.core"
local ended = require "spec.support.agent".has_ended
local lfs = require "lfs"
local process = require "vmctl.process"
local status_of = require "spec.support.agent".status
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local AGENT = lfs.currentdir() .. "/build/vmctl-agent"
local WAIT = 10 -- seconds: a limit, not a promise
local root = core.fs.identity() == 0

local function read_all(stream)
  local text = ""
  for data in function() return (stream:read { timeout = WAIT }) end do text = text .. data end
  return text
end

-- Runs the agent (or another program) to its end: exit code, stdout, stderr.
local function say(arguments, options)
  local command = { AGENT, table.unpack(arguments) }
  for name, value in pairs(options or {}) do command[name] = value end
  for _, name in ipairs { "stdout", "stderr" } do command[name] = "pipe" end
  local child <close> = assert(process.spawn(command))
  local out, err = read_all(child.stdout), read_all(child.stderr)
  return assert(child:wait(WAIT)).exit_code, out, err
end

-- Starts the agent and waits until it answers at `where`, one of its addresses.
local function start(where, ...)
  local child = assert(process.spawn { stdin = "null", stderr = "inherit", death_signal = "KILL", AGENT, ... })
  local client = assert(vmctl.exec.client(where))
  local ready, err = client:ready(WAIT)
  if not ready then
    child:close()
    error(err, 2)
  end
  return child, client
end

local function free_port()
  local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
  return listener:address().port
end

-- A host on descriptor 3 that goes without a word, and without closing the line. $1: a word for its commands.
local SUDDEN_HOST = [[
local vmctl, mux = require "vmctl", require "vmctl.mux"
local WAIT = 30
local session = assert(mux.connect(assert(vmctl.dial "fd:3"), WAIT))
local client = assert(vmctl.exec.client(function(timeout) return session:connect(5000, timeout) end))
local numbers = {}
for i = 1, 20 do numbers[i] = i end
local function echo(i) return assert(client:run { "echo", arg[1], tostring(i) }) end
for i, result in ipairs(vmctl.map(numbers, echo)) do
  assert(result.stdout == ("%s %d\n"):format(arg[1], i), result.stdout)
end
assert(select(3, session:connect(4000, WAIT)) == "ECONNREFUSED")
vmctl.host:run { "sh", "-c", "kill -KILL $1", "sh", tostring(select(3, require "vmctl.core".fs.identity())) }
]]

describe("vmctl-agent", function()
  it("explains its options", run(function()
    local status, out, err = say { "--help" }
    assert.same({ 0, "" }, { status, err })
    local options = { "listen", "ready", "stereos", "mux", "allow-cid", "allow-tcp", "allow-uid", "root", "health-dir",
      "poweroff", "lua", "version", "help" }
    for _, option in ipairs(options) do
      assert.truthy(out:find("--" .. option, 1, true), option)
    end
  end))

  it("tells its version", run(function()
    local status, out = say { "--version" }
    assert.equal(0, status)
    assert.matches("^vmctl%-agent %d+%.%d+%.%d+\n$", out)
  end))

  it("refuses what it does not understand, with 2 and one line", run(function()
    local cases = {
      { "--no-such-option" }, { "word" }, { "--listen" }, { "--lua" }, { "--allow-cid", "many" }, { "--allow-uid", "root" },
      { "--help=yes" }, { "--listen", "nonsense" }, { "--listen", "tcp:127.0.0.1" }, { "--listen", "tcp:127.0.0.1:99999" },
      { "--allow-tcp" }, { "--allow-tcp", "everybody" }, { "--allow-tcp=" },
      { "--listen", "unix:/tmp/never", "--ready", "nonsense" }, { "--stereos", "nonsense" }, { "--health-dir", "relative" },
    }
    for _, arguments in ipairs(cases) do
      local status, out, err = say(arguments)
      assert.same({ 2, "" }, { status, out }, table.concat(arguments, " "))
      assert.matches("^vmctl%-agent: [^\n]+\n$", err)
    end
  end))

  it("says in one line why it cannot listen, and leaves nothing", run(function()
    local folder = support.tmpdir()
    local taken <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local status, _, err = say { "--allow-tcp", "local", "--listen", "unix:" .. folder .. "/agent", "--listen", tostring(taken:address()) }
    assert.equal(1, status)
    assert.matches("^vmctl%-agent: listen tcp:127%.0%.0%.1:%d+: [^\n]+\n$", err)
    assert.same({}, core.fs.list(folder))
  end))

  it("serves several addresses", run(function()
    local path, port = support.tmpdir() .. "/agent", free_port()
    local tcp = ("tcp:127.0.0.1:%d"):format(port)
    local child <close>, client = start("unix:" .. path, "--listen", "unix:" .. path, "--listen=" .. tcp, "--allow-tcp", "local")
    local other = assert(vmctl.exec.client(tcp))
    assert.equal("one\n", assert(client:run { "echo", "one" }).stdout)
    assert.equal("two\n", assert(other:run { "echo", "two" }).stdout)
    assert(child:kill "TERM")
    assert.same({ exit_code = 0 }, child:wait(WAIT))
  end, WAIT))

  it("shows at --ready that it is there", run(function()
    local folder = support.tmpdir()
    local child <close> = start("unix:" .. folder .. "/agent", "--listen", "unix:" .. folder .. "/agent", "--ready",
      "unix:" .. folder .. "/ready")
    local s <close> = assert(vmctl.dial("unix:" .. folder .. "/ready"))
    assert.equal("EOF", code(s:read { timeout = WAIT }))
    assert(child:kill "TERM")
    assert(child:wait(WAIT))
  end, WAIT))

  for _, signal in ipairs { "TERM", "INT" } do
    it("ends at SIG" .. signal .. ", and with it its commands and its socket's file", run(function()
      local folder = support.tmpdir()
      local child <close>, client = start("unix:" .. folder .. "/agent", "--listen", "unix:" .. folder .. "/agent")
      local p = assert(client:start { "sh", "-c", "echo $$; sleep 1000" })
      local pid = math.tointeger(assert(p:read(WAIT)):match "%d+")
      assert(child:kill(signal))
      assert.same({ exit_code = 0 }, child:wait(WAIT))
      assert.equal("ERESET", code(p:wait(WAIT)))
      support.eventually(function() return ended(pid) end)
      assert.same({}, core.fs.list(folder))
      p:close()
    end, WAIT))
  end

  it("removes the sockets that it forwards when it ends", run(function()
    local folder = support.tmpdir()
    local rpc = "unix:" .. folder .. "/rpc"
    local child <close> = start("unix:" .. folder .. "/agent", "--listen", "unix:" .. folder .. "/agent", "--forward", rpc,
      "--forward-streams", "unix:" .. folder .. "/streams", "--forward-folder", folder)
    local client <close> = assert(vmctl.ttrpc.connect(rpc))
    assert(client:call("nerdbox.services.socketforward.v1.SocketForward", "Bind", {
      sockets = { { forward_id = "app", socket_path = folder .. "/app" } } }))
    assert.equal(4, #assert(core.fs.list(folder)))
    assert(child:kill "TERM")
    assert.same({ exit_code = 0 }, child:wait(WAIT))
    assert.same({}, core.fs.list(folder))
  end, WAIT))

  -- The status with which an agent that runs with these arguments as well refuses a socket, and what it left in the folder.
  local function bind_with(...)
    local folder = support.tmpdir()
    local rpc, path = "unix:" .. folder .. "/rpc", folder .. "/new/app"
    local child <close> = start("unix:" .. folder .. "/agent", "--listen", "unix:" .. folder .. "/agent", "--forward", rpc,
      "--forward-streams", "unix:" .. folder .. "/streams", ...)
    local client <close> = assert(vmctl.ttrpc.connect(rpc))
    local _, _, why = client:call("nerdbox.services.socketforward.v1.SocketForward", "Bind", {
      sockets = { { forward_id = "app", socket_path = path } } })
    local there = core.fs.stat(path)
    assert(child:kill "TERM")
    assert(child:wait(WAIT))
    return why, there and there.type
  end

  it("forwards sockets in its own folder alone, unless --forward-folder names others", run(function()
    assert.same({ "PERMISSION_DENIED" }, { bind_with() })
    assert.same({ "PERMISSION_DENIED" }, { bind_with("--forward-folder", "/nowhere") })
    assert.same({ nil, "socket" }, { bind_with("--forward-folder", "/nowhere", "--forward-folder", "/") })
  end, WAIT))

  it("gives its commands a clean set of signals", run(function()
    local path = support.tmpdir() .. "/agent"
    local child <close>, client = start("unix:" .. path, "--listen", "unix:" .. path)
    local status = assert(client:run { "cat", "/proc/self/status" }).stdout
    assert.matches("SigBlk:\t0+\n", status)
    assert.matches("SigIgn:\t0+\n", status)
    assert(child:kill "TERM")
  end, WAIT))

  it("serves files below --root only", run(function()
    local folder = support.tmpdir()
    assert(core.fs.mkdir(folder .. "/inside"))
    local path = folder .. "/agent"
    local child <close>, client = start("unix:" .. path, "--listen", "unix:" .. path, "--root", folder .. "/inside")
    assert(client:write_file("/new/file", "content"))
    assert.equal("file", core.fs.stat(folder .. "/inside/new/file").type)
    assert.equal("content", client:read_file "/new/file")
    assert.equal("new", assert(client:list_files "/")[1].name)
    assert.equal("EREMOTE", code(client:read_file "/../agent"))
    assert(child:kill "TERM")
  end, WAIT))

  it("carries many commands over one serial line, for one host after the other", run(function()
    -- Raw before the first byte: a terminal that still reads lines would take some of a random number for Ctrl-C.
    local line <close> = assert(process.spawn { "sh", "-c", "stty raw -echo; echo raw; exec sleep 1000", tty = true,
      death_signal = "KILL" })
    local link = line.stdin
    assert.equal("raw", link:read_line(10, WAIT))
    local device = assert(lfs.symlinkattributes(("/proc/%d/fd/0"):format(line.pid), "target"))
    local child <close> = assert(process.spawn { AGENT, "--mux", device, stderr = "inherit", death_signal = "KILL" })
    for round = 1, 2 do
      local host <close> = assert(process.spawn { "lua5.4", "-", tostring(round), stdin = "pipe", stderr = "pipe",
        fds = { link:fileno() }, env = { LUA_PATH = package.path, LUA_CPATH = package.cpath } })
      assert(host.stdin:write(SUDDEN_HOST))
      host.stdin:close()
      local record = host:wait(WAIT)
      assert.same({ signal = "KILL" }, record, not (record and record.signal) and host.stderr:read(4096, 0) or nil)
    end
    assert(child:kill "TERM")
    assert.same({ exit_code = 0 }, child:wait(WAIT))
  end, WAIT))
end)

describe("vmctl-agent --lua", function()
  local function write(text)
    local path = support.tmpdir() .. "/script.lua"
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
    return path
  end

  it("runs a script with its arguments, and with vmctl inside", run(function()
    local path = write [[
      local vmctl = require "vmctl"
      print(arg[0] == ..., select("#", ...), arg[1], (select(3, ...)))
      print(vmctl.run(function() vmctl.sleep(0.01) return vmctl._VERSION end), require("cjson") ~= nil)
      print(assert(vmctl.host:run { "echo", "from", "host" }).stdout)
      os.exit(5)
    ]]
    local status, out, err = say { "--lua", path, path, "--help", "three" }
    assert.same({ 5, "" }, { status, err })
    assert.equal(("true\t3\t%s\tthree\n%s\ttrue\nfrom host\n\n"):format(path, vmctl._VERSION), out)
  end))

  it("reads a script from its input", run(function()
    local child <close> = assert(process.spawn { AGENT, "--lua", "-", "x", stdin = "pipe", stdout = "pipe" })
    assert(child.stdin:write "print('got', ...)")
    child.stdin:close()
    assert.equal("got\tx\n", read_all(child.stdout))
    assert.same({ exit_code = 0 }, child:wait(WAIT))
  end))

  it("finds other modules by LUA_PATH, and its own inside", run(function()
    local path = write "return 'a module', require('vmctl')._VERSION"
    local folder = path:match "^(.*)/"
    assert(core.fs.mkdir(folder .. "/vmctl"))
    assert(core.fs.replace(folder .. "/vmctl/init.lua", "return { _VERSION = 'another' }"))
    local main = folder .. "/main.lua"
    assert(core.fs.replace(main, "print(require 'script', (select(2, pcall(require, 'no.such'))))"))
    local status, out = say({ "--lua", main }, { env = { LUA_PATH = folder .. "/?.lua;" .. folder .. "/?/init.lua" } })
    assert.equal(0, status)
    assert.matches("^a module\t", out)
    assert.truthy(out:find("no module 'no.such' built in", 1, true))
    assert.truthy(out:find(folder .. "/no/such.lua", 1, true))
  end))

  it("ends with 1 and a traceback when the script fails", run(function()
    local status, out, err = say { "--lua", write "local function inner() error 'boom' end inner()" }
    assert.same({ 1, "" }, { status, out })
    assert.matches("script.lua:1: boom\nstack traceback:", err)
    status, out, err = say { "--lua", write "this is no Lua" }
    assert.same({ 1, "" }, { status, out })
    assert.matches("^vmctl%-agent: [^\n]*script.lua:1: [^\n]*\n$", err)
    assert.equal(1, (say { "--lua", "/no/such/script" }))
  end))
end)

describe("vmctl-agent lets in", function()
  -- Tries to have a command run at `where`, as another user or in other surroundings: "ready" or the code of the failure.
  local TRY = [[
    local vmctl = require "vmctl"
    local client = assert(vmctl.exec.client((...)))
    local _, _, code = client:probe(2)
    io.write(code or "ready")
  ]]

  local function open_folder()
    local folder = support.tmpdir()
    assert(core.fs.chmod(folder, 493))
    assert(core.fs.replace(folder .. "/try.lua", TRY, 420))
    return folder
  end

  local function attempt(folder, where, options)
    local status, out, err = say({ "--lua", folder .. "/try.lua", where }, options)
    assert.same({ 0, "" }, { status, err })
    return out
  end

  it("its own user on a Unix socket, whose file is private", run(function()
    local folder = open_folder()
    local where = "unix:" .. folder .. "/agent"
    local child <close> = start(where, "--listen", where)
    assert.equal(384, core.fs.stat(folder .. "/agent").mode)
    assert.equal("ready", attempt(folder, where))
    assert(child:kill "TERM")
  end, WAIT))

  it("another user when told to, and no third", root and run(function()
    local folder = open_folder()
    local where = "unix:" .. folder .. "/agent"
    assert(core.fs.replace(folder .. "/copy", assert(io.open(AGENT, "rb")):read "a", 493)) -- others may not see ours
    local as = function(user) return { user = user, file = folder .. "/copy" } end
    local private <close> = start(where, "--listen", where)
    assert.equal("EACCES", attempt(folder, where, as "65534"))
    assert(private:kill "TERM")
    assert(private:wait(WAIT))
    local child <close> = start(where, "--listen", where, "--allow-uid", "65534")
    assert.equal("ready", attempt(folder, where, as "65534"))
    assert.equal("ready", attempt(folder, where))
    local refused = attempt(folder, where, as "65533")
    assert.is_true(refused == "EOF" or refused == "ECONNRESET", refused)
    assert(child:kill "TERM")
  end, WAIT) or function() pending "only root can be somebody else" end)

  -- In a network namespace of its own, where loopback has an address that does not look like it.
  local function in_own_network(script)
    local folder = open_folder()
    assert(core.fs.replace(folder .. "/main.lua", script))
    local child <close> = assert(process.spawn { "unshare", root and "-n" or "-rn", AGENT, "--lua", folder .. "/main.lua",
      AGENT, folder .. "/try.lua", stdout = "pipe", stderr = "pipe" })
    local out, err = read_all(child.stdout), read_all(child.stderr)
    return assert(child:wait(WAIT)).exit_code, out, err
  end

  local NETWORK = [[
    local agent, try = ...
    local vmctl = require "vmctl"
    assert(vmctl.host:run { "sh", "-c", "busybox ip link set lo up && busybox ip addr add 10.99.0.1/32 dev lo", check = true })
    local function attempt(port, ...)
      local server <close> = assert(vmctl.process.spawn { stderr = "inherit", agent, "--listen", "tcp:0.0.0.0:" .. port, ... })
      assert(vmctl.exec.client("tcp:127.0.0.1:" .. port):ready(5))
      return vmctl.host:run { agent, "--lua", try, "tcp:10.99.0.1:" .. port }.stdout
    end
    print(attempt(5000, "--allow-tcp", "local"), attempt(5001, "--allow-tcp", "any"))
  ]]

  it("nobody on TCP, where every user of the machine can connect, unless told so", run(function()
    for _, option in ipairs { "--listen", "--stereos", "--cc", "--forward", "--forward-streams", "--dial-rpc" } do
      for _, where in ipairs { "tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp:localhost:0", "tcp:0.0.0.0:0" } do
        local status, out, err = say { "--listen", "unix:/tmp/never", option, where }
        assert.same({ 2, "" }, { status, out })
        assert.truthy(err:find(("vmctl-agent: %s %s: TCP does not say which user connects"):format(option, where), 1, true), err)
      end
    end
  end, 60))

  it("on TCP this machine alone or everybody, as it is told", run(function()
    local status, out, err = in_own_network(NETWORK)
    if err:find("unshare", 1, true) then return pending("no network namespace here: " .. err) end
    assert.same({ 0, "" }, { status, err })
    assert.matches("^EC?%u+\tready\n$", out)
    assert.is_true(out:find "EOF" ~= nil or out:find "ECONNRESET" ~= nil, out)
  end, WAIT))
end)

describe("vmctl-agent is", function()
  it("at most 2 MiB, static and stripped", run(function()
    assert.is_true(lfs.attributes(AGENT, "size") <= agent.most_bytes())
    local child <close> = assert(process.spawn { "ldd", AGENT, stdout = "pipe", stderr = "stdout" })
    assert.matches("not a dynamic executable", read_all(child.stdout))
  end))

  it("at most 4 MiB of memory when idle, also after work", run(function()
    local path = support.tmpdir() .. "/agent"
    local child <close>, client = start("unix:" .. path, "--listen", "unix:" .. path)
    assert.is_true(status_of(child.pid, "VmRSS") <= 4096)
    assert(client:write_file(path .. ".file", ("x"):rep(8 << 20)))
    os.remove(path .. ".file")
    local count = 0
    assert(client:run { "sh", "-c", "head -c 67108864 /dev/zero", on_output = function(data) count = count + #data end })
    assert.equal(64 << 20, count)
    support.eventually(function() return status_of(child.pid, "VmRSS") <= 4096 end)
    assert(child:kill "TERM")
  end, WAIT))

  it("sufficient in an empty root folder", root and run(function()
    local folder = support.tmpdir()
    assert(core.fs.replace(folder .. "/vmctl-agent", assert(io.open(AGENT, "rb")):read "a", 493))
    local nothing <close> = assert(process.spawn { "chroot", folder, "/vmctl-agent", stderr = "pipe" })
    assert.matches("nothing to listen on", read_all(nothing.stderr))
    assert.same({ exit_code = 2 }, nothing:wait(WAIT))
    local child <close> = assert(process.spawn { "chroot", folder, "/vmctl-agent", "--listen", "unix:/agent",
      death_signal = "KILL" })
    local client = assert(vmctl.exec.client("unix:" .. folder .. "/agent"))
    assert(client:ready(WAIT))
    assert.matches("^vmctl%-agent ", assert(client:run { "/vmctl-agent", "--version", stdin = "" }).stdout)
    assert.equal(127, assert(client:run { "true", stdin = "" }).exit_code)
    assert(client:write_file("/a/b", "c"))
    assert.equal("c", client:read_file "/a/b")
    assert(child:kill "TERM")
    assert.same({ exit_code = 0 }, child:wait(WAIT))
  end, WAIT) or function() pending "only root can change the root folder" end)
end)
