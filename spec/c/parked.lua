-- Leaves tasks behind that wait for all there is to wait for. `closed` is the host's: it counts.
local process = require "vmctl.process"
local vmctl = require "vmctl"

local parked = 0

local function guard()
  parked = parked + 1
  return setmetatable({}, { __close = closed }) -- luacheck: ignore
end

local function park(fn, ...)
  vmctl.spawn(function(...)
    local _ <close> = guard()
    fn(...)
  end, ...)
end

local near, far = vmctl.pair()
local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
local child = assert(process.spawn { "cat", stdin = "pipe", stdout = "pipe" })
local channel = vmctl.channel()

park(vmctl.sleep, 60)
park(near.read, near, 1, 60)
park(far.write, far, ("x"):rep(1 << 22), 60)
park(listener.accept, listener, 60)
park(child.wait, child, 60)
park(child.stdout.read, child.stdout, 1, 60)
park(channel.recv, channel)
park(vmctl.scope, function() vmctl.spawn(vmctl.sleep, 60) end)
park(vmctl.race, { function() vmctl.sleep(60) end, function() channel:recv() end })
park(function() vmctl.spawn(vmctl.sleep, 60):join() end)
local inner = vmctl.wrap(function()
  local _ <close> = guard()
  vmctl.sleep(60)
end)
park(vmctl.wrap(function()
  local _ <close> = guard()
  inner()
end))

for _ = 1, 3 do vmctl.yield() end
park(vmctl.sleep, 60) -- one that has not begun has nothing to close
return parked
