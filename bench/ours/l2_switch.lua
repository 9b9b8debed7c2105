-- vmctl: a switch of two ports, with a Lua function that sees each frame if asked. It ends when one of the two leaves.
-- Usage: l2_switch.lua A B [tap]

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local LIMIT, LOOK = 10, 0.05 -- seconds

-- A function for a tap, and the check that it has seen everything: one that is not lossy holds the switch up.
local function counter(sw)
  local frames, bytes = 0, 0
  return function(frame)
    frames, bytes = frames + 1, bytes + #frame
  end, function()
    local total, deadline = sw:counts().total, vmctl.now() + LIMIT
    while frames < total.frames_in and vmctl.now() < deadline do vmctl.sleep(LOOK) end
    assert(frames == total.frames_in and bytes == total.bytes_in,
      ("the tap has seen %d frames of %d"):format(frames, total.frames_in))
  end
end

vmctl.run(function()
  local sw <close> = vmctl.l2.switch()
  local count, check = counter(sw)
  local tap = arg[3] == "tap" and sw:tap(count)
  local listeners, ports = {}, {}
  for i = 1, 2 do listeners[i] = assert(vmctl.l2.listen("unix:" .. arg[i])) end
  support.ready()
  for i, listener in ipairs(listeners) do ports[i] = assert(sw:add(assert(listener:accept(LIMIT)))) end
  while ports[1]:state() == "connected" and ports[2]:state() == "connected" do vmctl.sleep(LOOK) end
  if tap then check() end
end)
