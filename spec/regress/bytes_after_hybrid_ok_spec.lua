-- The guest may speak first: its bytes come together with the VMM's OK line and belong to the application.
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run

local function dial_vmm(answer, options)
  local path = support.tmpdir() .. "/vsock"
  local listener = assert(vmctl.listen("unix:" .. path))
  vmctl.spawn(function()
    local conn = assert(listener:accept(30))
    listener:close()
    conn:read()
    conn:write(answer)
    conn:shutdown()
  end)
  return assert(vmctl.dial("hybrid:" .. path .. ":52", options))
end

describe("bytes behind the hybrid OK", function()
  it("are the first that read returns", run(function()
    assert.equal("HELLO", dial_vmm "OK 1073741825\nHELLO":read())
  end))

  it("are kept when they look like a second OK line", run(function()
    assert.equal("OK 7", dial_vmm "OK 1\nOK 7\n":read_line())
  end))

  it("are kept when they are many", run(function()
    local many = ("x"):rep(100000)
    assert.is_true(dial_vmm("OK 1\n" .. many):read_exact(100000) == many)
  end))

  it("are decoded as frames when the stream has a format", run(function()
    local s = dial_vmm("OK 1\n\0\0\0\5hello", { format = { max = 10 } })
    assert.equal("hello", s:read_frame())
    assert.equal("EOF", support.code(s:read_frame()))
  end))
end)
