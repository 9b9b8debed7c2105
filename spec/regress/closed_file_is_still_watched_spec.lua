-- A descriptor that was closed here while a child, a fork or a duplicate still had its file stayed in the loop's epoll set. Its events
-- made libev open the epoll descriptor anew, which ended the process where the kernel gave no new one.
local core = require "vmctl.core"
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"
local vmctl = require "vmctl"

local WAIT = 30 -- seconds
local EMFILE = 24

-- Tells if the kernel watches this descriptor for the loop.
local function watched(fd)
  for line in io.lines("/proc/self/fdinfo/" .. vmctl.loop.pollfd()) do
    if line:match "^tfd:%s*(%d+)" == tostring(fd) then return true end
  end
  return false
end

-- The environment of a script behind a library.
local function preloaded(library, ...)
  local before = os.getenv "LD_PRELOAD"
  return { ("LD_PRELOAD=%s%s"):format(before and before .. ":" or "", library), ... }
end

-- Two ends; the first has been waited for.
local function waited_for()
  local near, far = support.pair()
  assert.equal("ETIMEDOUT", select(3, near:read_line(nil, 0.01)))
  assert.is_true(watched(near:fileno()))
  return near, far
end

describe("a file that a child still has", function()
  it("is not watched any more once its stream is closed", support.run(function()
    local near, far = waited_for()
    local fd = near:fileno()
    local child <close> = assert(vmctl.process.spawn { "sleep", "60", stdin = fd }) -- luacheck: ignore
    near:close()
    assert.is_false(watched(fd))
    far:close()
  end))

  it("is not watched any more once its stream is detached", support.run(function()
    local near, far = waited_for()
    local fd = near:detach()
    assert.is_false(watched(fd))
    local again = assert(core.open(fd, "socket", "again"))
    far:write "x\n"
    assert.equal("x", again:read_line(nil, WAIT))
    again:close()
    far:close()
  end))

  it("does not end the process when no descriptor is left", support.run(function()
    local folder = support.tmpdir()
    local library = native.build("count", folder)
    script.check(([[
      local vmctl = require "vmctl"
      local near, far = vmctl.pair()
      near:read_line(nil, 0.01)
      local child <close> = vmctl.process.spawn { "sleep", "60", stdin = near:fileno() }
      near:close()
      assert(package.loadlib(%q, "faults_begin"))()
      far:close()
      for _ = 1, 300 do vmctl.sleep(0) end
    ]]):format(library), { env = preloaded(library, "FAULT_CALL=epoll_create1", "FAULT_AT=1", "FAULT_ERROR=" .. EMFILE) })
  end))
end)
