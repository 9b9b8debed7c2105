-- vmctl: one 64-byte frame in flight, sent back by the server. Usage: frame_echo.lua server|client SOCKET WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local role, path, warmup, count = arg[1], "unix:" .. arg[2], tonumber(arg[3]), tonumber(arg[4])
local format = vmctl.format { type = 1, length = 4, max = support.MAX }

local function echo(stream)
  while true do
    local kind, payload, code = stream:read_frame()
    if not kind then return assert(code == "EOF", payload) end
    assert(stream:write_frame(kind, payload))
  end
end

local function serve()
  local listener <close> = assert(vmctl.listen(path))
  support.ready()
  local stream <close> = assert(listener:accept())
  stream:set_format(format)
  vmctl.spawn(echo, stream):join()
end

local function call(stream)
  assert(stream:write_frame(support.DATA, support.PAYLOAD))
  local kind, payload = stream:read_frame()
  assert(kind, payload)
  assert(payload == support.PAYLOAD, "not the frame that was sent")
end

local function measure()
  local stream <close> = assert(vmctl.dial(path, { format = format }))
  for _ = 1, warmup do call(stream) end
  local start = vmctl.now()
  for _ = 1, count do call(stream) end
  support.result("rate", count / (vmctl.now() - start))
end

vmctl.run(role == "server" and serve or measure)
