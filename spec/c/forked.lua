-- The program of forked.c. Opens one of each thing, forks, and looks in the parent whether all of them go on. Returns true in the child.
local folder = ...
local core = require "vmctl.core"
local vmctl = require "vmctl"

local LIMIT = 30

local things = {}

local function exists(path) return core.fs.stat(path, true) ~= nil end

function things.open()
  things.process = assert(vmctl.process.spawn { "sleep", "3600" })
  things.swept = assert(core.process { argv = { "sleep", "3600" }, group = true, sweep = true })
  things.cat = assert(vmctl.process.stream({ "cat" }, "cat"))
  things.listener = assert(vmctl.listen("unix:" .. folder .. "/listener"))
  things.near, things.far = vmctl.pair()
  things.near:cork()
  assert(things.near:write "corked")
  things.left, things.in_left = vmctl.pair()
  things.right, things.in_right = vmctl.pair()
  things.relay = core.relay(things.in_left, things.in_right)
  things.reset = vmctl.pair()
  things.capture_path = folder .. "/capture"
  things.switch = core.switch(1)
  local port = things.switch:add "one"
  things.capture = assert(things.switch:capture(things.capture_path))
  things.switch:inject(port, ("\1"):rep(60))
  things.sleeper = vmctl.spawn(function()
    local _ <close> = setmetatable({}, { __close = function() io.open(folder .. "/closed", "a"):write("x"):close() end })
    return vmctl.sleep(0.3)
  end)
  things.reader = vmctl.spawn(function() return things.far:read_exact(6, LIMIT) end)
end

-- In the child nothing can be waited for, and nothing said.
function things.check_child()
  assert(core.forked())
  for _, wait in ipairs { function() vmctl.sleep(0.001) end, function() things.cat:read(1, 1) end } do
    local ok, message = pcall(wait)
    assert(not ok and message:find "fork", message)
  end
  assert(select(3, things.cat:write "from the child") == "ECLOSED")
  assert(select(3, things.process:kill()) == "ESRCH")
  things.reset:reset()
  things.listener:close()
  things.process:close()
end

function things.check_parent()
  assert(not core.forked())
  assert(ended() == 0, "the child has failed") -- luacheck: ignore
  assert(select(3, things.process:wait(0.05)) == "ETIMEDOUT", "the process has ended")
  assert(select(3, things.swept:wait(0)) == "ETIMEDOUT", "the process has ended")
  assert(exists(folder .. "/listener"), "the socket is gone")
  local client = assert(vmctl.dial("unix:" .. folder .. "/listener"))
  assert(things.listener:accept(LIMIT))
  client:close()
  assert(things.cat:write "through cat")
  assert(things.cat:read_exact(11, LIMIT) == "through cat")
  assert(things.left:write "through the relay")
  assert(things.right:read_exact(17, LIMIT) == "through the relay")
  assert(things.reader:join(LIMIT) == "corked")
  assert(select(3, things.far:read(nil, 0.05)) == "ETIMEDOUT", "something was sent twice")
  assert(things.sleeper:join(LIMIT) == true)
  assert(core.fs.stat(folder .. "/closed").size == 1, "a <close> variable was closed twice")
  assert(things.capture:close() == 1)
  assert(core.fs.stat(things.capture_path).size < 400, "frames were written twice")
end

local function in_task()
  local child
  vmctl.run(function()
    vmctl.spawn(function() child = fork() vmctl.sleep(0.001) end) -- luacheck: ignore
    vmctl.sleep(0.01)
  end)
  return child
end

things.open()
if fork() then -- luacheck: ignore
  things.check_child()
  return true
end
things.check_parent()
local ok, message = pcall(in_task)
if not ok then
  assert(core.forked() and message:find "fork", message)
  return true
end
assert(ended() == 0) -- luacheck: ignore
assert(select(3, things.process:wait(0)) == "ETIMEDOUT", "the process has ended")
return false
