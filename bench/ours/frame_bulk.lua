-- vmctl: 64 KiB frames one way, each into a Lua string. Usage: frame_bulk.lua server|client SOCKET WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local role, path, warmup, count = arg[1], "unix:" .. arg[2], tonumber(arg[3]), tonumber(arg[4])
local format = vmctl.format { type = 1, length = 4, max = support.MAX }

local function receive(stream, frames)
  for _ = 1, frames do
    local kind, payload = stream:read_frame()
    assert(kind, payload)
    assert(#payload == support.MAX, "not the frame that was sent")
  end
end

local function serve()
  local listener <close> = assert(vmctl.listen(path))
  support.ready()
  local stream <close> = assert(listener:accept())
  stream:set_format(format)
  receive(stream, warmup)
  local start = vmctl.now()
  receive(stream, count)
  support.result("mib_rate", count * support.MAX / 2 ^ 20 / (vmctl.now() - start))
end

local function send()
  local stream <close> = assert(vmctl.dial(path, { format = format }))
  for _ = 1, warmup + count do
    assert(stream:write_frame(support.DATA, support.BULK_PAYLOAD))
  end
end

vmctl.run(role == "server" and serve or send)
