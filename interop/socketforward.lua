--- Socket forwarding: a host in Go, on the reference's ttrpc package and with the reference's messages, drives our guest's
--- service. It reports a line per step.
local support = require "support"
local vmctl = require "vmctl"

local STEPS = 15

local function drive(report, program, folder)
  local service <close> = vmctl.socketforward.service { directory = folder .. "/fwd" }
  local server <close> = assert(vmctl.ttrpc.server {})
  service:register(server)
  local rpc <close> = assert(vmctl.listen("unix:" .. folder .. "/rpc.sock"))
  local streams <close> = assert(vmctl.listen("unix:" .. folder .. "/streams.sock"))
  local serving = vmctl.spawn(server.serve, server, rpc)
  local serving_streams = vmctl.spawn(service.serve_streams, service, streams)
  local child <close> = support.start(program, folder)
  local lines, ok = support.lines(child)
  report:check("socketforward host in Go: runs to its end", ok, "it failed, see above")
  for _, line in ipairs(lines) do
    local name, said = line:match "^(.-)\t(.*)$"
    report:check("socketforward host in Go: " .. tostring(name), said == "ok", said or line)
  end
  report:same("socketforward host in Go: every step was reported", STEPS, #lines)
  report:check("socketforward: shuts down", service:shutdown() and server:shutdown(5))
  streams:close()
  report:check("socketforward: has ended", serving:join(5) and serving_streams:join(5))
end

return function(report)
  if not support.has_go() then return report:skip("socketforward, a host in Go drives our service", "no Go here") end
  local program, why, is_missing = support.build "socketforward_go"
  if is_missing then return report:skip("socketforward, a host in Go drives our service", "the reference is not to be had: " .. why) end
  if not program then return report:check("socketforward, a program on the reference package", false, why) end
  local folder <close> = support.directory()
  drive(report, program, folder.path)
end
