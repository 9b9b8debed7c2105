-- vmctl: 64-byte frames one way, at most 64 in flight: what peers/stream_libev.c does, window by window.
-- With "call" each frame is a Lua call at both ends, with "batch" they go through write_frames and read_frames.
-- Usage: frame_stream.lua call|batch server|client SOCKET WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local mode, role, path = arg[1], arg[2], "unix:" .. arg[3]
local warmup, count = tonumber(arg[4]), tonumber(arg[5])
local format = vmctl.format { type = 1, length = 4, max = support.MAX }
local WINDOW, DATA, ACK, PAYLOAD = support.WINDOW, support.DATA, support.ACK, support.PAYLOAD

-- Each of these receives one window of frames; returns their payload bytes.
local receive = {}

function receive.call(stream)
  local bytes = 0
  for _ = 1, WINDOW do
    local kind, payload = stream:read_frame()
    if kind ~= DATA then error(kind and "data expected" or payload) end
    bytes = bytes + #payload
  end
  return bytes
end

function receive.batch(stream)
  local bytes, left = 0, WINDOW
  while left > 0 do
    local payloads, kinds = stream:read_frames(left)
    assert(payloads, kinds)
    for i = 1, #payloads do
      if kinds[i] ~= DATA then error "data expected" end
      bytes = bytes + #payloads[i]
    end
    left = left - #payloads
  end
  return bytes
end

-- Each of these sends one window of frames.
local send = {}

function send.call(stream)
  stream:cork()
  for _ = 1, WINDOW do assert(stream:write_frame(DATA, PAYLOAD)) end
  assert(stream:flush())
end

function send.batch(stream)
  local payloads = {}
  for i = 1, WINDOW do payloads[i] = PAYLOAD end
  assert(stream:write_frames(DATA, payloads))
end

local function receive_frames(stream, frames)
  local receive_window, bytes = receive[mode], 0
  for _ = 1, frames // WINDOW do
    bytes = bytes + receive_window(stream)
    assert(stream:write_frame(ACK, ""))
  end
  assert(bytes == frames * #PAYLOAD, "payloads of another length")
end

local function serve()
  local listener <close> = assert(vmctl.listen(path))
  support.ready()
  local stream <close> = assert(listener:accept())
  stream:set_format(format)
  receive_frames(stream, warmup)
  local start = vmctl.now()
  receive_frames(stream, count)
  support.result("rate", count / (vmctl.now() - start))
end

local function send_frames()
  local stream <close> = assert(vmctl.dial(path, { format = format }))
  local send_window = send[mode]
  for _ = 1, (warmup + count) // WINDOW do
    send_window(stream)
    local kind, payload = stream:read_frame()
    if kind ~= ACK then error(kind and "ACK expected" or payload) end
  end
end

vmctl.run(role == "server" and serve or send_frames)
