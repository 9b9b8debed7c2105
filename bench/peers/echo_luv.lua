-- luv: one 64-byte frame in flight, sent back by the server. Usage: echo_luv.lua server|client SOCKET WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local uv = require "luv"
local support = require "support"

local role, path, warmup, count = arg[1], arg[2], tonumber(arg[3]), tonumber(arg[4])
local pack, unpack = string.pack, string.unpack

-- Calls take(kind, payload) for each frame, and ended() at end of stream.
local function read_frames(pipe, take, ended)
  local pending = ""
  local function on_read(err, chunk)
    assert(not err, err)
    if not chunk then return ended() end
    pending = pending == "" and chunk or pending .. chunk
    local at = 1
    while #pending - at >= 4 do
      local kind, length = unpack(">BI4", pending, at)
      assert(length <= support.MAX, "frame over the limit")
      if #pending - at - 4 < length then break end
      take(kind, pending:sub(at + 5, at + 4 + length))
      at = at + 5 + length
    end
    pending = at > #pending and "" or pending:sub(at)
  end
  assert(pipe:read_start(on_read))
end

-- try_write saves the request object; what the socket does not take at once goes the long way.
local function write_frame(pipe, kind, payload)
  local frame = pack(">Bs4", kind, payload)
  local sent = pipe:try_write(frame) or 0
  if sent < #frame then assert(pipe:write(frame:sub(sent + 1))) end
end

local function serve()
  local listener = uv.new_pipe(false)
  assert(listener:bind(path))
  assert(listener:listen(1, function(err)
    assert(not err, err)
    local connection = uv.new_pipe(false)
    assert(listener:accept(connection))
    listener:close()
    read_frames(connection, function(kind, payload)
      write_frame(connection, kind, payload)
    end, function() connection:close() end)
  end))
  support.ready()
end

local function measure()
  local pipe = uv.new_pipe(false)
  local done, start = 0, nil
  local function take(_, payload)
    assert(payload == support.PAYLOAD, "not the frame that was sent")
    done = done + 1
    if done == warmup then start = uv.hrtime() end
    if done < warmup + count then return write_frame(pipe, support.DATA, support.PAYLOAD) end
    support.result("rate", count / ((uv.hrtime() - start) * 1e-9))
    pipe:close()
  end
  assert(pipe:connect(path, function(err)
    assert(not err, err)
    read_frames(pipe, take, function() error "the server closed the connection" end)
    write_frame(pipe, support.DATA, support.PAYLOAD)
  end))
end

if role == "server" then serve() else measure() end
uv.run()
