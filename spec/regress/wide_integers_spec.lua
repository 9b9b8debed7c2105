-- Integers of 64 bits were cast before they were looked at: a user id of 2^32 became root, a descriptor of 2^32 + 1 became 1, and
-- where size_t has 32 bits, read_exact((1 << 32) + 2) gave 2 bytes.
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local WIDE = 1 << 32

local function refused(what, fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok, what)
  assert.truthy(tostring(message):find("a number", 1, true), message)
end

describe("an integer beyond 32 bits", function()
  it("is no smaller number of bytes to read", run(function()
    local near, far = support.pair()
    near:write "hello\n"
    assert.equal("ETOOBIG", code(far:read_exact(WIDE + 2, 0)))
    assert.equal("he", far:read_exact(2))
    assert.equal("llo", far:read_line(WIDE))
    near:write "more"
    assert.equal("more", far:read(WIDE + 1))
    near:write "line\n"
    assert.equal("line", far:read_line(math.maxinteger))
    near:close()
    far:close()
  end))

  it("is no descriptor", run(function()
    refused("open", core.open, WIDE + 1)
    refused("stdout", core.process, { argv = { "true" }, stdout = WIDE + 1 })
    refused("fds", core.process, { argv = { "true" }, fds = { WIDE + 1 } })
    refused("size", core.terminal_size, WIDE)
  end))

  it("is no user, group or signal", run(function()
    refused("uid", core.process, { argv = { "true" }, uid = WIDE })
    refused("gid", core.process, { argv = { "true" }, uid = 1, gid = WIDE })
    refused("groups", core.process, { argv = { "true" }, uid = 1, groups = { WIDE } })
    local sleeping <close> = assert(core.process { argv = { "sleep", "60" } })
    refused("kill", sleeping.kill, sleeping, WIDE + 9)
    assert.has_error(function() core.signals { WIDE + 2 } end)
    assert.is_nil((sleeping:wait(0)))
  end))

  it("is no stream id, flag or mode", run(function()
    local format = vmctl.format { type = 1, length = 4, max = 10, order = "length", stream = 4, flags = 1 }
    local near, far = support.pair { format = format }
    refused("stream id", near.write_frame, near, 1, "x", WIDE, 0)
    refused("flags", near.write_frame, near, 1, "x", 1, 256)
    refused("mode", core.fs.mkdir, support.tmpdir() .. "/x", WIDE + 448)
    near:close()
    far:close()
  end))

  it("is a size and a time of files", run(function()
    local path = support.tmpdir() .. "/large"
    local file = assert(io.open(path, "w"))
    assert(file:seek("set", 3 << 30))
    assert(file:write "x")
    file:close()
    assert.equal((3 << 30) + 1, core.fs.stat(path).size)
    local root <close> = assert(core.fs.root(path:match "^(.*)/"))
    assert(root:chtimes("large", WIDE, WIDE))
    assert.equal(WIDE, core.fs.stat(path).mtime)
  end))
end)
