local address = require "vmctl.address"
local vmctl = require "vmctl"

local function parsed(text)
  local a, message = address.parse(text)
  assert(a, message)
  return a
end

local function refused(where, expected_code)
  local a, message, code = address.parse(where)
  assert.is_nil(a, tostring(where))
  assert.equal(expected_code or "EINVAL", code)
  assert.matches("^address ", message)
  assert.is_nil(message:find "[%c]")
  return message
end

--- Calls a constructor that must raise in this file.
local function raises(fn, ...)
  local arguments = table.pack(...)
  local ok, message = pcall(function()
    local a = fn(table.unpack(arguments, 1, arguments.n))
    return a
  end)
  assert.is_false(ok)
  assert.matches("address_spec%.lua:%d+: address", message)
end

describe("address.parse", function()
  it("understands each form and shows it again", function()
    local fields = {
      ["tcp:localhost:80"] = { kind = "tcp", network = "tcp", host = "localhost", port = 80 },
      ["tcp:10.0.0.1:0"] = { kind = "tcp", network = "tcp", host = "10.0.0.1", port = 0 },
      ["tcp:[::1]:65535"] = { kind = "tcp", network = "tcp", host = "::1", port = 65535 },
      ["tcp:[fe80::1%eth0]:22"] = { kind = "tcp", network = "tcp", host = "fe80::1%eth0", port = 22 },
      ["unix:/run/a b.sock"] = { kind = "unix", network = "unix", path = "/run/a b.sock" },
      ["unix:relative:with:colons"] = { kind = "unix", network = "unix", path = "relative:with:colons" },
      ["unix:@name"] = { kind = "unix", network = "unix", path = "@name" },
      ["vsock:3:1024"] = { kind = "vsock", network = "vsock", cid = 3, port = 1024 },
      ["vsock:any:any"] = { kind = "vsock", network = "vsock", cid = 0xffffffff, port = 0xffffffff },
      ["hybrid:/tmp/v.sock:5000"] = { kind = "hybrid", path = "/tmp/v.sock", port = 5000 },
      ["hybrid:a:b:5000"] = { kind = "hybrid", path = "a:b", port = 5000 },
      ["serial:/dev/vport0p1"] = { kind = "serial", path = "/dev/vport0p1" },
      ["chardev:/tmp/c.sock"] = { kind = "chardev", path = "/tmp/c.sock" },
      ["exec:ssh host 'a: b'"] = { kind = "exec", command = "ssh host 'a: b'" },
      ["fd:3"] = { kind = "fd", fd = 3 },
    }
    for text, want in pairs(fields) do
      local a = parsed(text)
      for name, value in pairs(want) do assert.equal(value, a[name], text .. " " .. name) end
      assert.equal(text, tostring(a))
    end
  end)

  it("knows the names of CIDs", function()
    assert.equal(2, parsed("vsock:host:1").cid)
    assert.equal(1, parsed("vsock:local:1").cid)
    assert.equal(0, parsed("vsock:hypervisor:1").cid)
    assert.equal(0xffffffff, parsed("vsock:any:1").cid)
    assert.equal("vsock:2:1", tostring(parsed "vsock:host:1"))
    assert.equal(0xffffffff, parsed("vsock:4294967295:4294967295").port)
  end)

  it("refuses text that is no address, naming it", function()
    for _, text in ipairs {
      "", ":", "tcp", "tcp:", "/run/a.sock", "http://x", "TCP:localhost:80", "tcp localhost 80", "unix", "func:x",
      " tcp:a:1",
    } do
      assert.matches("address '" .. text:gsub("%p", "%%%0"), refused(text))
    end
  end)

  it("refuses hosts and ports that are none", function()
    for _, text in ipairs {
      "tcp:localhost", "tcp::80", "tcp:localhost:", "tcp:localhost:65536", "tcp:localhost:-1", "tcp:localhost:080",
      "tcp:localhost:+80", "tcp:localhost: 80", "tcp:localhost:8e1", "tcp:localhost:0x50", "tcp:localhost:80.0",
      "tcp:localhost:99999999999999999999", "tcp:::1:80", "tcp:[::1]", "tcp:[::1:80", "tcp:[]:80", "tcp:[localhost]:80",
      "tcp:[::1]x:80", "tcp:a b:80", "tcp:a/b:80", "tcp:a\0b:80", "tcp:" .. ("a"):rep(254) .. ":80",
    } do
      refused(text)
    end
  end)

  it("refuses CIDs and ports of more than 32 bits", function()
    for _, text in ipairs {
      "vsock:3", "vsock::1", "vsock:3:", "vsock:4294967296:1", "vsock:3:4294967296", "vsock:03:1", "vsock:3:01",
      "vsock:guest:1", "vsock:3:1:2", "vsock:-1:1", "hybrid:/x", "hybrid:/x:", "hybrid::1", "hybrid:/x:4294967296",
      "hybrid:/x:any", "hybrid:/x:007",
    } do
      refused(text)
    end
  end)

  it("refuses paths, commands and descriptors that are none", function()
    for _, text in ipairs {
      "unix:", "unix:@", "unix:/a\0b", "unix:\0abstract", "serial:", "serial:/dev/\0", "chardev:", "exec:", "exec:a\0b",
      "fd:", "fd:x", "fd:-1", "fd:00", "fd:2147483648",
    } do
      refused(text)
    end
  end)

  it("takes a socket path of 107 bytes and says ENAMETOOLONG to 108", function()
    local longest = "/" .. ("a"):rep(106)
    for _, kind in ipairs { "unix", "chardev" } do
      assert.equal(longest, parsed(kind .. ":" .. longest).path)
      assert.matches("has 108 bytes, at most 107", refused(kind .. ":" .. longest .. "b", "ENAMETOOLONG"))
    end
    assert.equal(longest, parsed("hybrid:" .. longest .. ":1").path)
    refused("hybrid:" .. longest .. "b:1", "ENAMETOOLONG")
    assert.is_truthy(parsed("unix:@" .. ("a"):rep(107)))
    refused("unix:@" .. ("a"):rep(108), "ENAMETOOLONG")
    assert.is_truthy(parsed("serial:" .. longest .. "b"))
    refused("serial:" .. ("a"):rep(4096), "ENAMETOOLONG")
  end)

  it("shows control bytes of a malformed address as question marks, and cuts a long one", function()
    assert.matches("'tcp:%?%[31m%?:x'", refused "tcp:\27[31m\n:x")
    assert.is_true(#refused(("x"):rep(100000)) < 500)
  end)

  it("returns an address as it is", function()
    local a = parsed "fd:1"
    assert.equal(a, address.parse(a))
    assert.is_true(address.is_address(a))
    assert.is_false(address.is_address "fd:1")
  end)

  it("takes a function", function()
    local function connect() end
    local a = parsed(connect)
    assert.equal(connect, a.fn)
    assert.equal("function", tostring(a))
  end)

  it("takes a table of the fields", function()
    assert.equal("vsock:3:5", tostring(parsed { kind = "vsock", cid = "3", port = 5 }))
    assert.equal("tcp:[::1]:80", tostring(parsed { kind = "tcp", host = "::1", port = 80 }))
    assert.equal("unix:/a", tostring(parsed { kind = "unix", path = "/a" }))
    assert.equal("fd:4", tostring(parsed { kind = "fd", fd = 4 }))
    assert.equal("hybrid:/a:1", tostring(parsed { kind = "hybrid", path = "/a", port = 1 }))
    assert.equal("exec:ls -l", tostring(parsed { kind = "exec", argv = { "ls", "-l" } }))
    assert.equal("mine", tostring(parsed { kind = "func", fn = print, label = "mine" }))
    refused { kind = "http" }
    refused {}
    refused { kind = "tcp", host = "a" }
    refused { kind = "func" }
  end)

  it("does not change or keep the table it was given", function()
    local where = { kind = "vsock", cid = "host", port = "5" }
    local argv = { "ls", "-l" }
    parsed(where)
    local a = parsed { kind = "exec", argv = argv }
    argv[1] = "rm"
    assert.same({ kind = "vsock", cid = "host", port = "5" }, where)
    assert.same({ "ls", "-l" }, a.argv)
  end)

  it("raises at the caller's line for other types and unknown fields", function()
    raises(address.parse, 5)
    raises(address.parse, nil)
    raises(address.parse, { kind = "tcp", host = "a", prot = 5 })
    raises(address.parse, { kind = "tcp", host = {}, port = 5 })
  end)
end)

describe("the constructors of vmctl.address", function()
  it("make what parse makes", function()
    local same = {
      [address.tcp("::1", 80)] = "tcp:[::1]:80", [address.unix "/a"] = "unix:/a",
      [address.vsock(3, 1024)] = "vsock:3:1024", [address.vsock("any", 5)] = "vsock:any:5",
      [address.hybrid("/a", 5)] = "hybrid:/a:5", [address.fd(0)] = "fd:0",
      [address.serial "/dev/ttyS1"] = "serial:/dev/ttyS1", [address.chardev "/c"] = "chardev:/c",
      [address.exec "cat -n"] = "exec:cat -n",
    }
    for a, text in pairs(same) do
      assert.equal(text, tostring(a))
      assert.same(parsed(text), a)
    end
  end)

  it("keep the words of a command apart", function()
    local words = { "ssh", "host", "a b" }
    local a = address.exec(words)
    words[1] = "rm"
    assert.same({ "ssh", "host", "a b" }, a.argv)
    assert.equal("exec:ssh host a b", tostring(a))
  end)

  it("show a function's label", function()
    assert.equal("Apple Virt postBoot", tostring(address.func(print, "Apple Virt postBoot")))
    assert.equal("function", tostring(address.func(print)))
  end)

  it("raise at the caller's line for malformed values", function()
    raises(address.tcp, "", 80)
    raises(address.tcp, nil, 80)
    raises(address.tcp, "a", 65536)
    raises(address.tcp, "a", 1.5)
    raises(address.vsock, "guest", 1)
    raises(address.vsock, 3, -1)
    raises(address.unix, "")
    raises(address.unix, 5)
    raises(address.hybrid, "/a")
    raises(address.fd, -1)
    raises(address.exec, {})
    raises(address.exec, { "a", 5 })
    raises(address.exec, "a\0b")
    raises(address.func, "x")
    raises(address.func, print, 5)
  end)

  it("return ENAMETOOLONG for a path that is too long", function()
    local a, message, code = address.unix(("a"):rep(108))
    assert.is_nil(a)
    assert.equal("ENAMETOOLONG", code)
    assert.matches("108 bytes", message)
  end)
end)

describe("vmctl.Address", function()
  it("has a label as StereOS' tools write it", function()
    assert.equal("vsock:CID=3,port=1024", address.vsock(3, 1024):label "stereos")
    assert.equal("tcp:a:1", address.tcp("a", 1):label "stereos")
    assert.equal("vsock:3:1024", address.vsock(3, 1024):label())
  end)

  it("shows no control bytes", function()
    assert.equal("unix:/a?[31m", tostring(address.unix "/a\27[31m"))
    assert.equal("exec:a?b", tostring(address.exec "a\nb"))
  end)

  it("is dialled by its own method", function()
    local path = os.tmpname()
    os.remove(path)
    local listener <close> = assert(vmctl.listen("unix:" .. path))
    local near <close> = assert(address.unix(path):dial(30))
    local far <close> = assert(listener:accept(30))
    assert.is_true(near:write("hello\n", 30))
    assert.equal("hello", far:read_line(nil, 30))
    os.remove(path)
  end)

  it("has a class name for error texts", function()
    assert.equal("vmctl.Address", getmetatable(address.fd(3)).__name)
  end)
end)
