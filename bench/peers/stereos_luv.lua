-- luv with lua-cjson: StereOS' control plane, every message encoded and decoded, each ping in flight a callback.
-- Usage: stereos_luv.lua server SOCKET | stereos_luv.lua client SOCKET CONNECTIONS FLIGHT WARMUP COUNT

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local json = require "cjson.safe"
local uv = require "luv"
local support = require "support"

local role, path = arg[1], arg[2]
local MAX_LINE = 1 << 20         -- bytes, with the line feed

-- Calls take(line) for each line, and ended() at end of stream or when a line is too long.
local function read_lines(pipe, take, ended)
  local pending = ""
  local function on_read(err, chunk)
    if err or not chunk then return ended() end
    if pending ~= "" then chunk = pending .. chunk end
    local at = 1
    while true do
      local feed = chunk:find("\n", at, true)
      if not feed then break end
      take(chunk:sub(at, feed - 1))
      at = feed + 1
    end
    pending = at > #chunk and "" or chunk:sub(at)
    if #pending >= MAX_LINE then ended() end
  end
  assert(pipe:read_start(on_read))
end

-- try_write saves the request object; what the socket does not take at once goes the long way.
local function write_line(pipe, message)
  local line = json.encode(message) .. "\n"
  local sent = pipe:try_write(line) or 0
  if sent < #line then assert(pipe:write(line:sub(sent + 1))) end
end

local function refuse(to, why)
  return { type = "ack", payload = { reply_to = to, ok = false, error = why } }
end

local function answer(line)
  local request, err = json.decode(line)
  if type(request) ~= "table" then return refuse("", "malformed JSON: " .. (err or "not an object")) end
  if request.type == "ping" then return { type = "pong" } end
  return refuse(request.type, "unknown message type: " .. tostring(request.type))
end

local function serve()
  local listener = uv.new_pipe(false)
  assert(listener:bind(path))
  assert(listener:listen(1024, function(err)
    assert(not err, err)
    local connection = uv.new_pipe(false)
    assert(listener:accept(connection))
    read_lines(connection, function(line) write_line(connection, answer(line)) end, function() connection:close() end)
  end))
  support.ready()
end

-- Replies come in the order of the requests: each goes to the callback that has waited longest.
local function client(pipe)
  local waiting, first, last = {}, 1, 0
  local self = {}
  function self.ping(callback)
    last = last + 1
    waiting[last] = callback
    write_line(pipe, { type = "ping" })
  end
  read_lines(pipe, function(line)
    local reply, callback = assert(json.decode(line)), waiting[first]
    waiting[first] = nil
    first = first + 1
    callback(reply)
  end, function() error "the server closed the connection" end)
  return self
end

-- Keeps `flight` pings in flight on each client, until `count` have come back in all.
local function run(clients, flight, count, finished)
  local unsent, done, start = count, 0, uv.hrtime()
  for _, c in ipairs(clients) do
    local function on_reply(reply)
      assert(reply.type == "pong", "pong expected")
      done = done + 1
      if unsent > 0 then
        unsent = unsent - 1
        return c.ping(on_reply)
      end
      if done == count then finished((uv.hrtime() - start) * 1e-9) end
    end
    for _ = 1, flight do
      unsent = unsent - 1
      c.ping(on_reply)
    end
  end
end

local function measure(connections, flight, warmup, count)
  local clients, pipes = {}, {}
  local function begin()
    run(clients, flight, warmup, function()
      run(clients, flight, count, function(seconds)
        support.result("rate", count / seconds)
        for _, pipe in ipairs(pipes) do pipe:close() end
      end)
    end)
  end
  for i = 1, connections do
    pipes[i] = uv.new_pipe(false)
    assert(pipes[i]:connect(path, function(err)
      assert(not err, err)
      table.insert(clients, client(pipes[i]))
      if #clients == connections then begin() end
    end))
  end
end

if role == "server" then
  serve()
else
  measure(tonumber(arg[3]), tonumber(arg[4]), tonumber(arg[5]), tonumber(arg[6]))
end
uv.run()
