--- ttrpc: the reference's client, in Go, drives our server. It reports a line per step.
local echo = require "ttrpc_echo"
local support = require "support"
local vmctl = require "vmctl"

local STEPS = 23

local function drive(report, program, path)
  local address = "unix:" .. path
  local listener <close> = assert(vmctl.listen(address))
  local server = assert(vmctl.ttrpc.server { [echo.service] = echo.handlers })
  local serving = vmctl.spawn(server.serve, server, listener)
  local child <close> = support.start(program, "drive", address)
  local lines, ok = support.lines(child)
  report:check("ttrpc client in Go: runs to its end", ok, "it failed, see above")
  for _, line in ipairs(lines) do
    local name, said = line:match "^(.-)\t(.*)$"
    report:check("ttrpc client in Go: " .. tostring(name), said == "ok", said or line)
  end
  report:same("ttrpc client in Go: every step was reported", STEPS, #lines)
  report:check("ttrpc server: shuts down", server:shutdown(5))
  report:check("ttrpc server: has ended", serving:join(5))
end

return function(report)
  if not support.has_go() then return report:skip("ttrpc, a client in Go drives our server", "no Go here") end
  local program, why, is_missing = support.build "ttrpc_go"
  if is_missing then return report:skip("ttrpc, a client in Go drives our server", "the reference is not to be had: " .. why) end
  if not program then return report:check("ttrpc, a program on the reference package", false, why) end
  local folder <close> = support.directory()
  drive(report, program, folder.path .. "/ttrpc")
end
