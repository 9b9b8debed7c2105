local assert = require "luassert"
local process = require "vmctl.process"
local support = require "spec.support"

local function run(command)
  command.stdout, command.stderr = "pipe", "stdout"
  local child <close> = assert(process.spawn(command))
  local text = ""
  for chunk in function() return (child.stdout:read(nil, 60)) end do text = text .. chunk end
  return text, assert(child:wait())
end

local BUILD = "cc -O1 -g -Wall -Wextra -pthread $(pkg-config --cflags lua5.4) spec/c/two_states.c -o %s "
  .. "$(pkg-config --libs lua5.4)"

describe("a C program with two Lua states", function()
  it("runs tasks in both, closes one with tasks in it, and finds its own things untouched", support.run(function()
    local program = support.tmpdir() .. "/two_states"
    local output, ended = run { "sh", "-c", BUILD:format(program) }
    assert.same({ "", 0 }, { output, ended.exit_code })
    local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
    output, ended = run { program, "spec/c", "20", env = env }
    assert.equal("ok\n", output)
    assert.same({ exit_code = 0 }, ended)
  end, 60))
end)
