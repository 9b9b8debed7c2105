-- vmctl: COUNT accepted connections, each with a task that waits in read; the other ends are in peers/hold.c.
-- Usage: connections.lua SOCKET COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local path, count = "unix:" .. arg[1], tonumber(arg[2])
local waiting = 0

local function idle(stream)
  waiting = waiting + 1
  local data, _, code = stream:read()
  assert(not data and code == "ECLOSED", "a silent connection until it is closed expected")
end

vmctl.run(function()
  local listener <close> = assert(vmctl.listen(path, { backlog = 4096 }))
  local streams, tasks = {}, {}
  support.ready()
  local before = support.memory()
  for i = 1, count do
    streams[i] = assert(listener:accept())
    tasks[i] = vmctl.spawn(idle, streams[i])
  end
  vmctl.yield()
  assert(waiting == count, "every task should wait in read now")
  support.report_memory(before, support.memory(), count)
  for i = 1, count do streams[i]:close() end
  for i = 1, count do tasks[i]:join() end
end)
