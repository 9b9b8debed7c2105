-- vmctl inside another event loop: cqueues polls vmctl.loop, which has pollfd(), events() and timeout(), and steps it.
-- Usage: lua5.4 examples/embed_cqueues.lua   (needs lua-cqueues; says so and ends well where it is missing)
-- You will see ticks of the host's own timer while a command runs in a vmctl task.
local vmctl = require "vmctl"

local found, cqueues = pcall(require, "cqueues")
if not found then
  print "skipped: lua-cqueues is not installed (Debian: lua-cqueues)"
  return
end

local loop = cqueues.new()
local done = false

vmctl.spawn(function()
  local result = assert(vmctl.host:run { "sh", "-c", "sleep 0.3; echo command finished" })
  io.write(result.stdout)
  done = true
end)

loop:wrap(function()
  while not done do
    cqueues.poll(vmctl.loop, 0.5)
    vmctl.loop.step(0)
  end
end)

loop:wrap(function()
  while not done do
    print "tick of the host program"
    cqueues.sleep(0.1)
  end
end)

assert(loop:loop())
