-- How vmctl.doctor looks at a machine.
local assert = require "luassert"
local core = require "vmctl.core"
local probe = require "vmctl.doctor.probe"
local support = require "spec.support"

local run = support.run

local function write(path, text, mode)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(core.fs.chmod(path, mode))
end

describe("probe.find", function()
  it("takes the first program of a path: a file that can be executed", run(function()
    local a, b, c = support.tmpdir(), support.tmpdir(), support.tmpdir()
    assert(core.fs.mkdir(a .. "/tool", 448))
    write(b .. "/tool", "", 420)
    write(c .. "/tool", "", 493)
    assert.equal(c .. "/tool", probe.find("tool", table.concat({ "/no/such", a, b, c }, ":")))
    assert.is_nil(probe.find("tool", a .. ":" .. b))
    assert.is_nil(probe.find("tool", ""))
    assert.is_nil(probe.find("other", c))
  end))
end)

describe("probe.first", function()
  it("is the first path that is there", function()
    assert.equal("/etc/passwd", probe.first { "/no/such", "/etc/passwd", "/" })
    assert.is_nil(probe.first { "/no/such" })
    assert.is_nil(probe.first {})
  end)
end)

describe("probe.text", function()
  it("is the beginning of a file, and empty where there is none to read", run(function()
    local path = support.tmpdir() .. "/long"
    write(path, ("x"):rep(100000), 420)
    assert.equal(("x"):rep(65536), probe.text(path))
    assert.equal("", probe.text "/no/such")
    assert.equal("", probe.text "/")
  end))
end)

describe("probe.device", function()
  it("tells what can be opened from what is not there, and from what is refused", function()
    assert.same({ "yes", "/dev/null can be opened" }, { probe.device "/dev/null" })
    assert.same({ "absent", "/no/such is not there" }, { probe.device "/no/such" })
    local state, detail = probe.device "/" -- a folder cannot be opened for writing
    assert.equal("refused", state)
    assert.matches("^/: ", detail)
  end)
end)

describe("probe.output", function()
  it("has both streams, and how the program ended", run(function()
    assert.same({ "out\nerr\n", 3 }, { probe.output { "/bin/sh", "-c", "echo out; echo err >&2; exit 3" } })
    assert.same({ "", 0 }, { probe.output { "/bin/sh", "-c", "cat" } }) -- nothing to read
  end))

  it("is nothing where a program is not there, was killed, or says too much", run(function()
    assert.is_nil((probe.output { "/no/such" }))
    assert.is_nil(select(2, probe.output { "/bin/sh", "-c", "kill -9 $$" }))
    assert.is_nil((probe.output { "/bin/sh", "-c", "exec head -c 300000 /dev/zero" }))
  end))
end)
