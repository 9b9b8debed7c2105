-- vmctl: accepts one connection, dials the other side, and relays both ways. Usage: relay.lua LISTEN DIAL

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

vmctl.run(function()
  local listener <close> = assert(vmctl.listen("unix:" .. arg[1]))
  support.ready()
  local near <close> = assert(listener:accept())
  local far <close> = assert(vmctl.dial("unix:" .. arg[2]))
  assert(vmctl.relay(near, far))
end)
