-- A script that ended while a child of a collected stream was still to be reaped used freed memory.
local script = require "spec.support.script"
local support = require "spec.support"

describe("a script that ends with a child running", function()
  it("ends well when it has let go of the child", support.run(function()
    script.check [[
      local core = require "vmctl.core"
      for _ = 1, 3 do assert(core.process { argv = { "sleep", "60" }, group = true }) end
      collectgarbage()
      os.exit(0, true)
    ]]
  end))

  it("ends well when it still holds it, and the child ends, too", support.run(function()
    local folder = support.tmpdir()
    script.check(([[
      local core = require "vmctl.core"
      child = assert(core.process { argv = { "sleep", "60" }, group = true })
      stream = assert(core.process_stream({ argv = { "sh", "-c", "sleep 60" }, group = true }, "stream"))
      io.open(%q, "w"):write(child:pid()):close()
      os.exit(0, true)
    ]]):format(folder .. "/pid"))
    local pid = io.open(folder .. "/pid"):read "a"
    support.eventually(function() return not io.open("/proc/" .. pid .. "/stat") end)
  end))
end)
