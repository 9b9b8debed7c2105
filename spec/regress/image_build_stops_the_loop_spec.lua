-- Building an image ran find and gzip by io.popen, which stops the loop: no task went on meanwhile.
local assert = require "luassert"
local image = require "vmctl.machine.image"
local support = require "spec.support"
local vmctl = require "vmctl"

local BYTES = 8 << 20 -- of a file that gzip needs a moment for

describe("building an image", function()
  it("lets other tasks go on while its commands run, and two go on side by side", support.run(function()
    local folder = support.tmpdir()
    local init = folder .. "/init"
    local file = assert(io.open(init, "w"))
    file:write "#!/bin/sh\n"
    file:close()
    local turns = 0
    vmctl.scope(function(scope)
      local counting = vmctl.spawn_in(scope, function()
        while vmctl.sleep(0.001) do turns = turns + 1 end
      end)
      local function build()
        return assert(image.build { output = folder .. "/image", init = init, busybox = false,
          files = { ["/data"] = require "vmctl.base.random".bytes(1 << 16):rep(BYTES >> 16) } })
      end
      vmctl.all { build, build }
      counting:cancel()
    end)
    assert.is_true(turns > 10, turns .. " turns")
    local left = require "vmctl.core".fs.list(folder)
    table.sort(left)
    assert.same({ "image", "init" }, left)
  end, 60))
end)
