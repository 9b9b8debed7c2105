-- Properties that hold for any bytes that a yamux session is sent. Returns a function that raises when one does not.
-- The session is the real one, with its streams; the core below is one that never waits: a task goes on when what it waits for
-- has come, and tasks have their turn between two frames.
local ready = {}

local function resume(co, ...)
  local ok, err = coroutine.resume(co, ...)
  if not ok then error(debug.traceback(co, err), 0) end
end

local function take_turns()
  while ready[1] do resume(table.remove(ready, 1), true) end
end

local function spawn(_, fn, ...)
  local args = table.pack(...)
  ready[#ready + 1] = coroutine.create(function() fn(table.unpack(args, 1, args.n)) end)
end

local queue = {}
queue.__index = queue

function queue:wait()
  if not coroutine.isyieldable() then return nil, "timed out", "ETIMEDOUT" end
  self[#self + 1] = coroutine.running()
  return coroutine.yield()
end

function queue:wake()
  table.move(self, 1, #self, #ready + 1, ready)
  for i = #self, 1, -1 do self[i] = nil end
end

-- The user's ends: there are those who only read, who read nothing, who have closed, and who write more than a window.
local MUCH = 300 * 1024
local users = {
  [0] = { write = function() return true end, read = coroutine.yield },
  { write = coroutine.yield, read = coroutine.yield },
  { write = function() return nil, "closed", "EPIPE" end, read = function() return nil, "closed", "EOF" end },
  { write = function() return true end, read = function(self, most)
    local size = math.min(most, self.given == 0 and 1000 or MUCH - self.given) -- then no piece ends where the window does
    self.given = self.given + size
    if size == 0 then return nil, "the end", "EOF" end
    return ("x"):rep(size)
  end },
}

local function nothing() end

local pairs_made = 0

local function make_pair()
  pairs_made = pairs_made + 1
  local user = users[pairs_made % 4]
  local inner = { given = 0, read = user.read, write = user.write, close = nothing, set_timeout = nothing, shutdown = nothing,
    hung_up = function() return true, user == users[2] end }
  return { label = nothing, close = nothing }, inner
end

package.loaded["vmctl.core"] = {
  queue = function() return setmetatable({}, queue) end, pair = make_pair, now = function() return 0 end, sleep = nothing,
}
package.loaded["vmctl.base.background"] = { spawn_in = spawn }
package.loaded["vmctl.base.task"] = { spawn_in = spawn, scope = function(fn) fn { cancel = nothing } end }
package.loaded["vmctl.base.channel"] = { lock = function() return { with = function(_, _, fn, ...) return fn(...) end } end }

local frame = require "vmctl.yamux.frame"
local yamux = require "vmctl.yamux"

local STREAMS, OWED = 1024, 2048

local function check_streams(session)
  local count = 0
  for id, st in pairs(session._streams) do
    count = count + 1
    assert(id == st.id and id > 0, "a stream under another number")
    local held = 0
    for _, data in pairs(st._incoming) do held = held + #data end
    assert(held <= frame.WINDOW_SIZE and st._recv_window >= 0, "more is held than a window")
    assert(st._recv_window + held <= frame.WINDOW_SIZE, "a window that is too large")
    assert(st._send_window >= 0, "more was sent than the window")
  end
  assert(count == session._count and count <= STREAMS, "a wrong count of streams")
  assert(session._owed <= OWED, "too many answers wait")
end

-- The session's frames are well formed and within the windows that the peer has given; it gives no more than it got.
local function check_sent(windows, taken, bytes)
  local version, kind, flags, id, length = frame.unpack(bytes)
  assert(version == 0 and kind <= frame.GO_AWAY and flags <= 15)
  assert(#bytes == frame.SIZE + (kind == frame.DATA and length or 0), "a length that is not the data's")
  assert((id == 0) == (kind >= frame.PING), "a frame of no stream, or of one that cannot be")
  if kind == frame.DATA then
    windows[id] = (windows[id] or frame.WINDOW_SIZE) - length
    assert(windows[id] >= 0, "data beyond the peer's window")
  elseif kind == frame.WINDOW then
    taken[id] = (taken[id] or 0) - length
    assert(taken[id] >= 0, "more window than there was data")
  end
end

local function note_received(windows, taken, header)
  local _, kind, flags, id, length = frame.unpack(header)
  if kind > frame.WINDOW then return end
  if flags & frame.SYN ~= 0 then windows[id], taken[id] = nil, nil end
  if kind == frame.WINDOW then
    windows[id] = (windows[id] or frame.WINDOW_SIZE) + length
  else
    taken[id] = (taken[id] or 0) + length
  end
end

-- A transport whose peer sends these bytes and ends.
local function make_transport(bytes, between)
  local at, windows, taken = 1, {}, {}
  local transport = { label = function() return "the transport" end }
  function transport:read_exact(size) -- luacheck: ignore self
    if size == frame.SIZE then between() end
    if #bytes - at + 1 < size then return nil, "the end", "EOF" end
    local data = bytes:sub(at, at + size - 1)
    at = at + size
    if size == frame.SIZE then note_received(windows, taken, data) end
    return data
  end
  function transport:write(data) -- luacheck: ignore self
    check_sent(windows, taken, data)
    return true
  end
  return transport
end

return function(bytes)
  ready, pairs_made = {}, 0
  local session, opened
  session = yamux.session(make_transport(bytes, function()
    if not opened then opened = { session:open(), session:open() } end
    take_turns()
    check_streams(session)
  end), { client = #bytes % 2 == 0, on_stream = nothing })
  local ok, message, code = session:run()
  assert(ok == nil and type(message) == "string", "an end without a reason")
  assert(code == "EPROTO" or code == "EOF", "an end for another reason")
  assert(next(session._streams) == nil and session._count == 0, "a stream outlives the session")
end
