-- A transport of one's own: a function that gives a stream is an address like any other.
-- Usage: lua5.4 examples/transport.lua
-- You will see a frame echoed by a child process over its pipes, and a client whose every connection is made by a function.
local vmctl = require "vmctl"

local format = vmctl.format { length = 4, max = 1024 }
local echo <close> = assert(vmctl.dial("exec:cat", { format = format }))
assert(echo:write_frame "over a pipe")
print(echo:read_frame(5))

local connections = 0
local function connect()
  connections = connections + 1
  local near, far = assert(vmctl.pair())
  vmctl.spawn(function() require("vmctl.exec.server").converse(far, {}) end)
  return near
end

local client = assert(vmctl.exec.client(vmctl.address.func(connect, "in-process agent")))
print(assert(client:run { "uname", "-s" }).stdout:match "%S+", tostring(client))
print(connections .. " connections: one asked which agent it is, one ran the command")
