-- vmctl: a switch whose ports all dial one socket. The runner ends it.
-- Usage: l2_ports.lua PATH

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

vmctl.run(function()
  local sw <close> = vmctl.l2.switch()
  assert(sw:listen("unix:" .. arg[1]))
  support.ready()
  vmctl.sleep(math.huge)
end)
