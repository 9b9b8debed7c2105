local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local has_ipv6 = (io.open "/proc/net/if_inet6" or io.tmpfile()):read "a":find "00000000000000000000000000000001" ~= nil
local it6 = has_ipv6 and it or pending

-- Listens, dials, and checks that bytes go both ways.
local function check_dial(listen_at, dial_at)
  local listener = assert(vmctl.listen(listen_at))
  local near = assert(vmctl.dial(dial_at or listener:address(), { timeout = 1 }))
  local far = assert(listener:accept(30))
  near:write "ping"
  assert.equal("ping", far:read())
  far:write "pong"
  assert.equal("pong", near:read())
  return near, far, listener
end

local function check_codes(cases)
  for address, want in pairs(cases) do
    local s, message, name = vmctl.dial(address)
    assert.is_nil(s, address)
    assert.equal(want, name, address)
    assert.is_string(message)
  end
end

describe("vmctl.dial tcp", function()
  it("connects by IPv4; both ends know both addresses", run(function()
    local near, far, listener = check_dial "tcp:127.0.0.1:0"
    assert.equal("tcp", near:peer().kind)
    assert.equal("127.0.0.1", near:peer().host)
    assert.equal(listener:address().port, near:peer().port)
    assert.equal(tostring(near:peer()), tostring(far:address()))
    assert.equal(tostring(near:address()), tostring(far:peer()))
    assert.equal("ENOTSUP", code(near:credentials()))
    assert.truthy(tostring(near):find(tostring(near:peer()), 1, true))
  end))

  it6("connects by IPv6", run(function()
    local near = check_dial "tcp:[::1]:0"
    assert.equal("::1", near:peer().host)
    assert.truthy(tostring(near:peer()):find("tcp:[::1]:", 1, true))
  end))

  it("connects by a name, also when not each of its addresses is listened on", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local near = assert(vmctl.dial(("tcp:localhost:%d"):format(listener:address().port)))
    assert.truthy(listener:accept(30))
    assert.equal("127.0.0.1", near:peer().host)
    listener = assert(vmctl.listen "tcp:localhost:0")
    assert.truthy(vmctl.dial(listener:address()))
  end))

  it("returns ERESOLVE, which names the host, for a name that does not resolve", run(function()
    local _, message, name = vmctl.dial "tcp:no-such-host.invalid:80"
    assert.equal("ERESOLVE", name)
    assert.truthy(message:find("no-such-host.invalid", 1, true))
    assert.equal("ERESOLVE", code(vmctl.listen "tcp:no-such-host.invalid:80"))
  end, 10))

  it("does not block the loop while it resolves", run(function()
    local turns = 0
    local resolving = vmctl.spawn(function() return vmctl.dial "tcp:no-such-host.invalid:80" end)
    while resolving:status() ~= "failed" and resolving:status() ~= "done" do
      turns = turns + 1
      vmctl.sleep(0.0005)
    end
    assert.equal("ERESOLVE", code(resolving:join()))
    assert.is_true(turns > 0)
  end, 10))

  it("leaves nothing behind when it is cancelled while it resolves", run(function()
    local resolving = vmctl.spawn(function() return vmctl.dial "tcp:no-such-host.invalid:80" end)
    vmctl.yield()
    resolving:cancel()
    assert.is_string(code(resolving:join()))
  end, 10))

  it("returns ECONNREFUSED, which names the address, where nobody listens", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local where = tostring(listener:address())
    listener:close()
    local _, message, name = vmctl.dial(where)
    assert.equal("ECONNREFUSED", name)
    assert.truthy(message:find(where, 1, true))
  end))

  it("returns ETIMEDOUT when the other side does not answer", run(function()
    local listener <close> = assert(vmctl.listen("tcp:127.0.0.1:0", { backlog = 0 }))
    local streams = {}
    local function dial() return vmctl.dial(listener:address(), { timeout = 0.05 }) end
    local s, _, name
    repeat -- until the backlog is full: then the kernel drops what comes
      s, _, name = dial()
      streams[#streams + 1] = s
    until not s or #streams > 10
    assert.equal("ETIMEDOUT", name)
  end))

  it("returns the reason of the address for an interface that is none", run(function()
    local _, message, name = vmctl.dial { kind = "tcp", host = "fe80::1%nosuchif", port = 1 }
    assert.equal("ENODEV", name)
    assert.truthy(message:find("fe80::1%nosuchif", 1, true))
  end))
end)

describe("vmctl.dial unix", function()
  it("connects by a path", run(function()
    local near, far = check_dial("unix:" .. support.tmpdir() .. "/s")
    assert.equal(select(3, core.fs.identity()), near:credentials().pid)
    assert.equal(select(3, core.fs.identity()), far:credentials().pid)
    assert.equal("unix", near:peer().kind)
    assert.equal("unix", far:peer().kind)
  end))

  it("connects by an abstract name, of which no file is made", run(function()
    local name = "@vmctl-spec-" .. select(3, core.fs.identity())
    local near = check_dial("unix:" .. name)
    assert.equal(name, near:peer().path)
    assert.is_nil(core.fs.stat(name))
  end))

  it("returns ENOENT without a file, ECONNREFUSED for one that nobody listens on any more", run(function()
    local path = support.tmpdir() .. "/s"
    local _, message, name = vmctl.dial("unix:" .. path)
    assert.equal("ENOENT", name)
    assert.truthy(message:find(path, 1, true))
    local listener = assert(vmctl.listen("unix:" .. path))
    core.fs.rename(path, path .. ".stale")
    listener:close()
    assert.equal("ECONNREFUSED", code(vmctl.dial("unix:" .. path .. ".stale")))
  end))

  it("takes a path of 107 bytes and returns ENAMETOOLONG for 108", run(function()
    local base = support.tmpdir() .. "/"
    local longest = base .. ("x"):rep(107 - #base)
    check_dial("unix:" .. longest)
    assert.equal("ENAMETOOLONG", code(vmctl.dial("unix:" .. longest .. "x")))
    assert.equal("ENAMETOOLONG", code(vmctl.listen("unix:" .. longest .. "x")))
    assert.equal("ENAMETOOLONG", code(core.connect { kind = "unix", path = longest .. "x" }))
    assert.equal("ENAMETOOLONG", code(core.listen { kind = "unix", path = longest .. "x" }))
    assert.equal("ENAMETOOLONG", code(vmctl.listen(("hybrid:%s:%d"):format(longest:sub(1, 105), 52))))
  end))

  it("returns EINVAL for an empty path or one with a NUL byte", run(function()
    check_codes { ["unix:"] = "EINVAL", ["unix:a\0b"] = "EINVAL" }
  end))
end)

describe("vmctl.dial chardev", function()
  it("connects to the socket of a VMM's character device, and says nothing by itself", run(function()
    local path = support.tmpdir() .. "/agent.sock"
    check_dial("unix:" .. path, "chardev:" .. path)
  end))
end)

describe("vmctl.dial serial", function()
  -- A terminal whose other side a child holds open: its master, and the path of its line.
  local function terminal()
    local process, master = core.process { argv = { "sh", "-c", "tty; exec sleep 60" }, tty = true, session = true }
    return process, master, master:read_line():gsub("%s+$", "")
  end

  it("opens a terminal line raw: each byte passes as it is", run(function()
    local process <close>, master, path = terminal() -- luacheck: ignore
    local line = assert(vmctl.dial("serial:" .. path))
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    all = table.concat(all)
    line:write(all)
    assert.equal(all, master:read_exact(256))
    master:write(all)
    assert.equal(all, line:read_exact(256))
  end))

  it("ends when the master goes", run(function()
    local process <close>, master, path = terminal() -- luacheck: ignore
    local line = assert(vmctl.dial("serial:" .. path))
    master:write "last"
    assert.equal("last", line:read())
    master:close()
    assert.equal("EOF", code(line:read()))
  end))

  it("takes reading nothing as nobody there yet, not as the end, and does not spin", run(function()
    local path = support.tmpdir() .. "/port"
    local file = assert(io.open(path, "w"))
    local port = assert(vmctl.dial("serial:" .. path))
    local cpu = os.clock()
    assert.equal("ETIMEDOUT", code(port:read(nil, 0.4)))
    assert.is_true(os.clock() - cpu < 0.2) -- of the processor: half of the time is more than a few looks take
    file:write "here I am"
    file:close()
    assert.equal("here I am", port:read())
  end))

  it("returns ENOENT where there is no device", run(function()
    check_codes { ["serial:/dev/no-such-port"] = "ENOENT" }
  end))
end)

describe("vmctl.dial exec", function()
  it("is a command's stdin and stdout", run(function()
    local s = assert(vmctl.dial "exec:tr a-z A-Z")
    s:write "shout"
    s:shutdown()
    assert.equal("SHOUT", s:read_exact(5))
    assert.equal("EOF", code(s:read()))
    assert.equal("vmctl.Stream(exec:tr a-z A-Z)", tostring(s))
  end))

  it("takes an array of arguments as it is", run(function()
    local s = assert(vmctl.dial { kind = "exec", argv = { "printf", "%s|", "a b", "$HOME" } })
    assert.equal("a b|$HOME|", s:read_exact(10))
  end))

  it("ends the command and what it started when it is closed", run(function()
    local s = assert(vmctl.dial "exec:sleep 60 & echo $!; exec sleep 60")
    local pid = s:read_line()
    assert.equal("directory", core.fs.stat("/proc/" .. pid).type)
    s:close()
    support.eventually(function()
      local status = io.open("/proc/" .. pid .. "/stat")
      local state = status and (status:read "a" or ""):match "%) (%a)"
      if status then status:close() end
      return not state or state == "Z" -- whom nobody waits for stays a zombie
    end)
  end))

  it("returns ENOENT for a program that is none, EOF for a shell's command that is none", run(function()
    assert.equal("ENOENT", code(vmctl.dial { kind = "exec", argv = { "no-such-program" } }))
    local s = assert(vmctl.dial "exec:no-such-program 2>/dev/null")
    assert.equal("EOF", code(s:read()))
  end))
end)

describe("vmctl.dial fd", function()
  it("takes a socket", run(function()
    local near, far = support.pair()
    local s = assert(vmctl.dial("fd:" .. near:detach()))
    s:write "by number"
    assert.equal("by number", far:read())
    assert.truthy(tostring(s):find "fd:%d+")
  end))

  it("returns EBADF for a number that is not open, EINVAL for none", run(function()
    check_codes { ["fd:987654"] = "EBADF", ["fd:x"] = "EINVAL", ["fd:-1"] = "EINVAL" }
  end))
end)

describe("vmctl.dial function", function()
  it("is called with the time that is left, and gives the stream", run(function()
    local near, far = support.pair()
    local got
    local s = assert(vmctl.dial(function(timeout)
      got = timeout
      return near
    end, { timeout = 0.5 }))
    assert.is_true(got > 0 and got <= 0.5)
    s:write "x"
    assert.equal("x", far:read())
  end))

  it("may wait", run(function()
    local near, far = support.pair()
    vmctl.spawn(function() far:write "go" end)
    assert.equal(near, vmctl.dial(function() return near:read() and near end))
  end))

  it("fails as the function fails, with its label", run(function()
    local where = vmctl.address.func(function() return nil, "not today", "EAGAIN" end, "my tunnel")
    local _, message, name = vmctl.dial(where)
    assert.equal("EAGAIN", name)
    assert.truthy(message:find("my tunnel", 1, true) and message:find("not today", 1, true))
    assert.is_string(code(vmctl.dial(function() end)))
  end))
end)

describe("vmctl.dial", function()
  it("returns EINVAL for what is no address", run(function()
    check_codes {
      ["nowhere"] = "EINVAL", ["carrier-pigeon:7"] = "EINVAL", [""] = "EINVAL", ["tcp:host"] = "EINVAL",
      ["tcp:host:port"] = "EINVAL", ["tcp:host:65536"] = "EINVAL", ["tcp::80"] = "EINVAL", ["vsock:3"] = "EINVAL",
      ["vsock:3:4294967296"] = "EINVAL", ["hybrid:/x"] = "EINVAL", ["hybrid:/x:4294967296"] = "EINVAL",
      ["exec:"] = "EINVAL", ["serial:"] = "EINVAL",
    }
  end))

  it("raises for an address or options of a wrong kind", run(function()
    assert.has_error(function() vmctl.dial(5) end)
    assert.has_error(function() vmctl.dial() end)
    assert.has_error(function() vmctl.dial("unix:/x", { time_out = 1 }) end)
    assert.has_error(function() vmctl.dial("unix:/x", { timeout = "1" }) end)
    assert.has_error(function() vmctl.listen("unix:/x", { backlog = "many" }) end)
  end))

  it("takes the time-out as a number, and gives the stream the frame format", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    assert.truthy(vmctl.dial(listener:address(), 1))
    local s = assert(vmctl.dial(listener:address(), { format = { max = 10 } }))
    assert.equal("ETIMEDOUT", code(s:read_frame(0)))
  end))
end)
