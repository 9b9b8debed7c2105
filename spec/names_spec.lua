local assert = require "luassert"
local vmctl = require "vmctl"

describe("vmctl", function()
  local functions = { "run", "spawn", "spawn_in", "scope", "all", "map", "race", "timeout", "sleep", "yield", "now", "wrap",
    "in_task", "format", "channel", "lock", "dial", "listen", "pair", "relay", "pipeline" }
  for _, name in ipairs(functions) do
    it("has the function " .. name, function() assert.equal("function", type(vmctl[name])) end)
  end

  local parts = {
    address = "parse", errors = "fail", json = "encode", log = "sanitize", vsock = "dial", exec = "client", host = "run",
    machine = "launch", process = "spawn", mux = "connect", signals = "number", loop = "step",
  }
  for name, member in pairs(parts) do
    it("loads " .. name .. " when it is first used", function()
      assert.equal("function", type(vmctl[name][member]))
    end)
  end

  it("has nothing under any other name", function() assert.is_nil(vmctl.no_such_part) end)
end)

describe("vmctl.exec", function()
  it("names all message types of both revisions", function()
    assert.same({
      EXEC = 1, EXEC_RESULT = 2, STDOUT = 3, STDERR = 4, SIGNAL = 5, READY = 6, STDIN = 7, RESIZE = 8, EXEC_TTY = 9,
      EXIT = 10, EXEC_STREAM = 11, EXEC_PIPE = 12, PORT_FORWARD = 13, WRITE_FILE = 14, READ_FILE = 15, LIST_FILES = 16,
      FILE_RESULT = 17,
    }, vmctl.exec.types)
  end)
end)
