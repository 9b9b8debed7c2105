-- A script that ended while a task waited for a worker's call wrote to freed memory: the call went before the task (seen by ASan).
local assert = require "luassert"
local support = require "spec.support"
local vmctl = require "vmctl"

local SCRIPT = [[
local core = require "vmctl.core"
local vmctl = require "vmctl"
local begun
core.spawn(nil, function()
  while true do
    begun = true
    core.work(math.huge, "list", core.fs.list, arg[1])
  end
end)
while not begun do vmctl.sleep(0.001) end
os.execute "sleep 0.2" -- the call is over, and nobody has taken what it gives
print "ended"
]]

describe("a script that ends while a task waits for a worker", function()
  it("ends in order", support.run(function()
    local folder = support.tmpdir()
    local file <close> = assert(io.open(folder .. "/script.lua", "w"))
    assert(file:write(SCRIPT))
    file:close()
    local result = assert(vmctl.host:run { "lua5.4", folder .. "/script.lua", folder, timeout = 30,
      env = { LUA_PATH = package.path, LUA_CPATH = package.cpath } })
    assert.same({ "ended\n", "", 0 }, { result.stdout, result.stderr, result.exit_code })
  end))
end)
