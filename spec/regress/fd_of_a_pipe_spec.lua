-- The address fd: took every descriptor for a socket: nothing could be written to a pipe or a terminal.
local core = require "vmctl.core"
local support = require "spec.support"
local vmctl = require "vmctl"

describe("vmctl.dial fd of what is no socket", function()
  it("reads and writes pipes", support.run(function()
    local child, stdin, stdout = core.process { argv = { "cat" }, stdin = "pipe", stdout = "pipe" }
    local into = assert(vmctl.dial { kind = "fd", fd = stdin:detach() })
    local out = assert(vmctl.dial { kind = "fd", fd = stdout:detach() })
    assert.is_true(into:write "through a pipe")
    assert.equal("through a pipe", out:read())
    into:close()
    assert.equal("EOF", support.code(out:read()))
    child:wait()
  end))

  it("reads terminals to their end", support.run(function()
    local child, terminal = core.process { argv = { "echo", "done" }, tty = true, session = true }
    local s = assert(vmctl.dial { kind = "fd", fd = terminal:detach() })
    assert.equal("done", s:read_line())
    assert.equal("EOF", support.code(s:read()))
    child:wait()
  end))
end)
