-- Structured tasks: a scope ends when its tasks have, a failure ends the others, a time limit bounds all that is inside.
-- Usage: lua5.4 examples/tasks.lua
-- You will see two tasks talk over a channel, a race, a time limit, and an error that cancels its neighbours.
local vmctl = require "vmctl"

vmctl.run(function()
  local channel = vmctl.channel()
  vmctl.spawn(function()
    for i = 1, 3 do channel:send(i) end
    channel:close()
  end)
  for value in function() return (channel:recv()) end do print("received " .. value) end
end)

print(vmctl.race {
  function() vmctl.sleep(5) return "the tortoise" end,
  function() vmctl.sleep(0.01) return "the hare" end,
})

print(vmctl.timeout(0.05, function() return vmctl.sleep(60) end))

local ok, err = pcall(vmctl.run, function()
  vmctl.spawn(function() print(select(2, vmctl.sleep(60))) end)
  vmctl.sleep(0)
  error "one of us failed"
end)
print(ok, (err:match "^[^\n]*"))
