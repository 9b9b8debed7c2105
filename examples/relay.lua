-- A relay in C between a TCP port and a Unix socket, with half-close carried over.
-- Usage: lua5.4 examples/relay.lua
-- You will see a question sent through the relay, answered only after its end, and how many bytes went each way.
local vmctl = require "vmctl"

local path = os.tmpname()
os.remove(path)

vmctl.run(function()
  local inside <close> = assert(vmctl.listen("unix:" .. path))
  local outside <close> = assert(vmctl.listen "tcp:127.0.0.1:0")

  vmctl.spawn(function() -- a server that reads to the end before it answers
    local s <close> = assert(inside:accept(5))
    local parts = {}
    for data in function() return (s:read()) end do parts[#parts + 1] = data end
    assert(s:write(("you sent %d bytes"):format(#table.concat(parts))))
  end)

  local relay = vmctl.spawn(function()
    return assert(vmctl.relay(assert(outside:accept(5)), assert(vmctl.dial("unix:" .. path)), { idle = 10 }))
  end)

  local client <close> = assert(vmctl.dial(outside:address()))
  assert(client:write(("x"):rep(100000)))
  assert(client:shutdown())
  print(client:read())
  local stats = relay:join()
  print(("%d bytes there, %d back"):format(stats.a_to_b, stats.b_to_a))
end)
