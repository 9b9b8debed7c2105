-- A caller that gave up waiting for protoc got an error in place of a failure: the removal of protoc's missing output raised it.
local assert = require "luassert"
local core = require "vmctl.core"
local script = require "spec.support.script"
local support = require "spec.support"

describe("vmctl.protobuf.load, when protoc does not come to an end,", function()
  if not require("vmctl.protobuf").available then return pending "needs protobuf-c" end

  it("fails with what has ended it, and leaves nothing", support.run(function()
    local folder = support.tmpdir()
    local program <close> = assert(io.open(folder .. "/protoc", "w"))
    program:write "#!/bin/sh\nexec sleep 1000\n"
    program:close()
    assert(core.fs.chmod(folder .. "/protoc", 493))
    assert(core.fs.mkdir(folder .. "/tmp"))
    script.check([[
      local vmctl = require "vmctl"
      local path = "spec/descriptor_set/common.proto"
      local function load(opts) return vmctl.protobuf.load(path, opts) end
      local function expect(code, bytes, message, got)
        assert(bytes == nil and got == code, tostring(message))
      end
      vmctl.run(function()
        local task = vmctl.spawn(load)
        vmctl.yield()
        task:cancel() -- before protoc has been started, perhaps
        expect("ECANCELED", task:join())
        task = vmctl.spawn(load)
        vmctl.timeout(0.2, task.join, task)
        task:cancel()
        expect("ECANCELED", task:join())
        expect("ETIMEDOUT", vmctl.timeout(0.2, load))
        expect("ETIMEDOUT", load { timeout = 0.2 })
      end)
    ]], { command = { "env", "PATH=" .. folder .. ":" .. os.getenv "PATH", "TMPDIR=" .. folder .. "/tmp" } })
    assert.same({}, core.fs.list(folder .. "/tmp"))
  end, 60))
end)
