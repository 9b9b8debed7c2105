-- libev ends the process when it has no memory for a table that must grow.
local native = require "spec.support.native"
local script = require "spec.support.script"
local support = require "spec.support"

describe("libev", function()
  it("has memory for the watchers of a thousand descriptors from the start", support.run(function()
    local before, library = os.getenv "LD_PRELOAD", native.build("libev_grows", support.tmpdir())
    script.check([[
      local vmctl = require "vmctl"
      local left, right = {}, {}
      for i = 1, 450 do left[i], right[i] = vmctl.pair() end
      vmctl.run(function()
        for i = 1, #left do vmctl.spawn(function() assert(left[i]:read_line(nil, 30) == "x") end) end
        vmctl.sleep(0.01)
        for i = 1, #right do assert(right[i]:write "x\n") end
      end)
    ]], { env = { ("LD_PRELOAD=%s%s"):format(before and before .. ":" or "", library) } })
  end))
end)
