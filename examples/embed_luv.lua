-- vmctl inside the event loop of luv: a poll handle for vmctl.loop's descriptor, a timer for its time-outs, set before each wait.
-- Usage: lua5.4 examples/embed_luv.lua   (needs lua-luv; says so and ends well where it is missing)
-- You will see ticks of luv's own timer while a command runs in a vmctl task.
local vmctl = require "vmctl"

local found, uv = pcall(require, "luv")
if not found then
  print "skipped: lua-luv is not installed (Debian: lua-luv)"
  return
end

local poll, timer, prepare, ticker = uv.new_poll(vmctl.loop.pollfd()), uv.new_timer(), uv.new_prepare(), uv.new_timer()

vmctl.spawn(function()
  local result = assert(vmctl.host:run { "sh", "-c", "sleep 0.35; echo command finished" })
  io.write(result.stdout)
  for _, handle in ipairs { poll, timer, prepare, ticker } do handle:close() end
end)

local function step() vmctl.loop.step(0) end

poll:start(vmctl.loop.events(), step)
prepare:start(function()
  local seconds = vmctl.loop.timeout()
  timer:stop()
  if seconds then timer:start(math.ceil(seconds * 1000), 0, step) end
end)
ticker:start(0, 100, function() print "tick of the host program" end)

uv.run()
