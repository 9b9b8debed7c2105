--- This machine as a target: the calls of an exec client, with the agent's own code running in this process. No VM needed.
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local exec = require "vmctl.exec"
local server = require "vmctl.exec.server"

local function connect()
  local near, far, code = core.pair()
  if not near then return nil, far, code end
  near:label "host"
  background.spawn("host", server.converse, far, {})
  return near
end

--- vmctl.host: run, start, pipeline, read_file, write_file, list_files, forward, ready, as vmctl.exec.client has them.
local host = assert(exec.client(address.func(connect, "host"), { revision = "vmctl" }))

return host
