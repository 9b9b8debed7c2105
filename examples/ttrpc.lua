-- ttrpc, both ends in one process: a service of your own with a unary method and one that streams, over a Unix socket.
-- usage: lua5.4 examples/ttrpc.lua
-- prints an answer, a refusal by its name, three ticks and a sum; without protobuf-c, that it needs it.
local vmctl = require "vmctl"
local ttrpc = vmctl.ttrpc

if not vmctl.protobuf.available then
  print "skipped: needs libprotobuf-c-dev and protobuf-c-compiler"
  return
end

-- Messages are named; those of a .proto of your own are loaded (examples/protobuf.lua), and so
-- are its services: ttrpc.services "agent.proto". What has no type is bytes.
local clock = ttrpc.service {
  name = "example.Clock",
  methods = {
    Now = { request = "google.protobuf.Empty", response = "google.protobuf.Timestamp" },
    Ticks = { request = "google.protobuf.Timestamp", response = "google.protobuf.Timestamp", server_stream = true },
    Add = { client_stream = true },
  },
}

local handlers = { -- each call runs beside the others, and may wait
  Now = function(_, context)
    if context.metadata.zone then return nil, "no zone but UTC: " .. context.metadata.zone[1], "NOT_FOUND" end
    return { seconds = os.time() }
  end,
  Ticks = function(stream)
    for i = 1, assert(stream:recv()).seconds do
      vmctl.sleep(0.05)
      assert(stream:send { seconds = i })
    end
  end,
  Add = function(stream)
    local sum = 0 ---@type number
    for number in stream:messages() do sum = sum + assert(tonumber(number)) end
    return tostring(sum)
  end,
}

vmctl.run(function()
  local path = os.tmpname()
  os.remove(path)
  local listener <close> = assert(vmctl.listen("unix:" .. path))
  local server = assert(ttrpc.server { [clock] = handlers })
  vmctl.spawn(server.serve, server, listener)

  local client <close> = assert(ttrpc.connect("unix:" .. path, { services = { clock } }))
  print("the time is there", assert(client:call("example.Clock", "Now", {}, { timeout = 5 })).seconds > 0)
  print((select(2, client:call("example.Clock", "Now", {}, { metadata = { zone = "Mars" } }))))
  for tick in assert(client:stream("example.Clock", "Ticks", { seconds = 3 })):messages() do print("tick", tick.seconds) end
  local adding = assert(client:stream("example.Clock", "Add"))
  for i = 1, 4 do assert(adding:send(tostring(i))) end
  assert(adding:close_send())
  print("the sum", assert(adding:recv()))
  assert(server:shutdown(5))
end)
