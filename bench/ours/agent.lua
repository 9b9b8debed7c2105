-- vmctl: an exec agent in a process of its own; the runner ends it. Usage: agent.lua SOCKET

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

vmctl.run(function()
  local listener <close> = assert(vmctl.listen("unix:" .. arg[1]))
  support.ready()
  assert(vmctl.exec.serve(listener))
end)
