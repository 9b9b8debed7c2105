-- The child of a fork ended its copy of a Lua state, and with it the commands, sockets and files of its parent.
local child = require "spec.support.child"
local support = require "spec.support"

local BUILD = "cc -O1 -g -Wall -Wextra $(pkg-config --cflags lua5.4) spec/c/forked.c -o %s $(pkg-config --libs lua5.4)"

describe("a C program that forks", function()
  it("finds its processes, sockets, tasks and files as they were when the child has ended", support.run(function()
    local folder = support.tmpdir()
    local program = folder .. "/forked"
    assert.equal("", child.output_of { "sh", "-c", BUILD:format(program), stderr = "stdout" })
    local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
    assert.equal("ok\n", child.output_of { program, "spec/c", folder, env = env, stderr = "stdout" })
  end, 120))
end)
