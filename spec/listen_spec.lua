local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run

local function mode(path)
  return core.fs.stat(path).mode
end

describe("vmctl.Listener", function()
  it("accepts those who wait, in their order", run(function()
    local listener <close> = assert(vmctl.listen("unix:" .. support.tmpdir() .. "/s"))
    local streams = {}
    for i = 1, 3 do
      streams[i] = assert(vmctl.dial(listener:address()))
      streams[i]:write(tostring(i))
    end
    for i = 1, 3 do assert.equal(tostring(i), assert(listener:accept()):read()) end
  end))

  it("waits for somebody to come", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local accepting = vmctl.spawn(function() return listener:accept() end)
    vmctl.yield()
    assert.equal("waiting", accepting:status())
    assert(vmctl.dial(listener:address()))
    assert.truthy(accepting:join())
  end))

  it("may be waited on by several tasks: each gets one", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local tasks = {}
    for i = 1, 3 do tasks[i] = vmctl.spawn(function() return listener:accept() end) end
    vmctl.yield()
    local streams = vmctl.map({ 1, 2, 3 }, function() return vmctl.dial(listener:address()) end)
    assert.equal(3, #streams)
    for i = 1, 3 do assert.truthy(tasks[i]:join()) end
  end))

  it("returns ETIMEDOUT when nobody comes in time, at once when the time-out is 0", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    assert.equal("ETIMEDOUT", code(listener:accept(0.01)))
    assert.equal("ETIMEDOUT", code(listener:accept { timeout = 0.01 }))
    assert.equal("ETIMEDOUT", code(listener:accept(0)))
    local s = assert(vmctl.dial(listener:address()))
    assert.truthy(listener:accept(0))
    s:close()
  end))

  it("close wakes who waits, is idempotent, and refuses who comes later", run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local where = listener:address()
    local accepting = vmctl.spawn(function() return listener:accept() end)
    vmctl.yield()
    assert.is_true(listener:close())
    assert.is_true(listener:close())
    assert.equal("ECLOSED", code(accepting:join()))
    assert.equal("ECLOSED", code(listener:accept()))
    assert.equal("ECLOSED", code(listener:address()))
    assert.equal("ECLOSED", code(listener:fileno()))
    assert.equal("ECONNREFUSED", code(vmctl.dial(where)))
    assert.truthy(tostring(listener):find("closed", 1, true))
  end))

  it("knows its address, the port that the kernel chose included", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    assert.is_true(listener:address().port > 0)
    assert.equal(("vmctl.Listener(%s)"):format(listener:address()), tostring(listener))
    assert.is_number(listener:fileno())
  end))
end)

describe("vmctl.listen", function()
  it("returns EADDRINUSE for an address that is listened on", run(function()
    local listener <close> = assert(vmctl.listen "tcp:127.0.0.1:0")
    local _, message, name = vmctl.listen(listener:address())
    assert.equal("EADDRINUSE", name)
    assert.truthy(message:find(tostring(listener:address()), 1, true))
    local abstract = "unix:@vmctl-listen-" .. select(3, core.fs.identity())
    local first <close> = assert(vmctl.listen(abstract)) -- luacheck: ignore
    assert.equal("EADDRINUSE", code(vmctl.listen(abstract)))
  end))

  it("returns EADDRNOTAVAIL for an address that is not ours", run(function()
    assert.equal("EADDRNOTAVAIL", code(vmctl.listen "tcp:192.0.2.1:0"))
  end))

  it("returns ENOTSUP for addresses that nobody can listen on", run(function()
    for _, where in ipairs { "serial:/dev/null", "chardev:/tmp/x", "exec:true", "fd:0" } do
      assert.equal("ENOTSUP", code(vmctl.listen(where)))
    end
    assert.equal("ENOTSUP", code(vmctl.listen(function() end)))
  end))
end)

describe("vmctl.listen unix", function()
  it("makes a file that only we may use, or with the mode that is asked for", run(function()
    local folder = support.tmpdir()
    local private <close> = assert(vmctl.listen("unix:" .. folder .. "/private")) -- luacheck: ignore
    local open <close> = assert(vmctl.listen("unix:" .. folder .. "/open", { mode = 438 })) -- luacheck: ignore
    assert.equal(384, mode(folder .. "/private")) -- 0600
    assert.equal(438, mode(folder .. "/open"))    -- 0666
    assert.equal("EINVAL", code(vmctl.listen("unix:" .. folder .. "/x", { mode = 4096 })))
  end))

  it("removes the file when it is closed", run(function()
    local path = support.tmpdir() .. "/s"
    local listener = assert(vmctl.listen("unix:" .. path))
    assert.equal("socket", core.fs.stat(path).type)
    listener:close()
    assert.equal("ENOENT", code(core.fs.stat(path)))
  end))

  it("leaves the file to who has taken its place", run(function()
    local path = support.tmpdir() .. "/s"
    local first = assert(vmctl.listen("unix:" .. path))
    core.fs.remove(path)
    local second <close> = assert(vmctl.listen("unix:" .. path))
    first:close()
    assert.equal("socket", core.fs.stat(path).type)
    assert(vmctl.dial("unix:" .. path))
    assert.truthy(second:accept(30))
  end))

  it("takes the place of a file that nobody listens on any more", run(function()
    local path = support.tmpdir() .. "/s"
    local gone = assert(vmctl.listen("unix:" .. path))
    core.fs.rename(path, path .. ".stale")
    gone:close()
    local listener <close> = assert(vmctl.listen("unix:" .. path .. ".stale"))
    assert(vmctl.dial("unix:" .. path .. ".stale"))
    assert.truthy(listener:accept(30))
  end))

  it("leaves a live listener alone", run(function()
    local path = support.tmpdir() .. "/s"
    local first <close> = assert(vmctl.listen("unix:" .. path))
    assert.equal("EADDRINUSE", code(vmctl.listen("unix:" .. path)))
    local near = assert(vmctl.dial("unix:" .. path))
    near:write "x"
    local far
    repeat far = assert(first:accept(30)) until far:read(1, 0.1) == "x" -- the look at it came first
  end))

  it("leaves alone what is no socket", run(function()
    local path = support.tmpdir() .. "/file"
    local file = assert(io.open(path, "w"))
    file:write "precious"
    file:close()
    assert.equal("EADDRINUSE", code(vmctl.listen("unix:" .. path)))
    assert.equal("precious", io.open(path):read "a")
    core.fs.symlink(path, path .. ".link")
    assert.equal("EADDRINUSE", code(vmctl.listen("unix:" .. path .. ".link")))
  end))

  it("returns ENOENT for a folder that is none", run(function()
    assert.equal("ENOENT", code(vmctl.listen("unix:" .. support.tmpdir() .. "/no/such/s")))
  end))
end)
