-- cqueues: one 64-byte frame in flight, sent back by the server.
-- Usage: echo_cqueues.lua server|client SOCKET WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local cqueues = require "cqueues"
local socket = require "cqueues.socket"
local support = require "support"

local role, path, warmup, count = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local pack, unpack = string.pack, string.unpack

-- Binary, input buffered; a frame is one write, so output needs no buffer.
local function prepare(connection)
  connection:setmode("bf", "bn")
  return connection
end

-- Type and payload, or nil at end of stream. The payload mostly is in the input buffer when the head has come.
local function read_frame(connection)
  local head = connection:read(5)
  if not head then return nil end
  local kind, length = unpack(">BI4", head)
  assert(length <= support.MAX, "frame over the limit")
  return kind, connection:read(length)
end

local function write_frame(connection, kind, payload)
  assert(connection:write(pack(">Bs4", kind, payload)))
end

local function serve()
  local listener = assert(socket.listen { path = path })
  assert(listener:listen())
  support.ready()
  local connection = prepare(assert(listener:accept()))
  for kind, payload in read_frame, connection do
    write_frame(connection, kind, payload)
  end
end

local function call(connection)
  write_frame(connection, support.DATA, support.PAYLOAD)
  local _, payload = read_frame(connection)
  assert(payload == support.PAYLOAD, "not the frame that was sent")
end

local function measure()
  local connection = prepare(assert(socket.connect { path = path }))
  for _ = 1, warmup do call(connection) end
  local start = cqueues.monotime()
  for _ = 1, count do call(connection) end
  support.result("rate", count / (cqueues.monotime() - start))
end

local queue = cqueues.new()
queue:wrap(role == "server" and serve or measure)
assert(queue:loop())
