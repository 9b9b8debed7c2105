-- A line of 100 KB in a trace took 100 seconds.
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local MOST = 5 -- seconds of processor time, of which it takes a fraction of one

describe("a trace of long lines", function()
  it("takes no longer for one than for many", support.run(function()
    local folder = support.tmpdir()
    assert(vmctl.trace.start(folder .. "/trace"))
    local near, far = support.pair()
    local began = os.clock()
    local reader = vmctl.spawn(function()
      for _ = 1, 3 do assert(far:read_line(1 << 20, 30)) end
    end)
    for _ = 1, 40 do assert(near:write(("x"):rep(10000), 30)) end
    assert(near:write(("\n"):rep(2) .. ("y"):rep(300000) .. "\n", 30))
    reader:join(30)
    vmctl.trace.stop()
    near:close()
    far:close()
    assert(os.clock() - began < MOST, os.clock() - began)
    local sizes = {}
    for record in assert(vmctl.trace.read(folder .. "/trace")) do
      if record.ev == "line" and record.dir == "in" then sizes[#sizes + 1] = record.size end
    end
    assert.same({ 400000, 0, 300000 }, sizes)
  end, 60))
end)
