--- yamux: our sessions, in either role, drive Go's on the reference package; and our mux a guest in Go.
local mux = require "vmctl.mux"
local service = require "yamux_service"
local support = require "support"
local vmctl = require "vmctl"
local yamux = require "vmctl.yamux"

local LIMIT, LARGE, PORT = service.LIMIT, 16 << 20, 5000

local function both_ways(session)
  local s <close> = assert(session:open())
  local data = service.pattern(LARGE)
  local writing = vmctl.spawn(function()
    return s:write("both " .. LARGE .. "\n", LIMIT) and s:write(data, LIMIT) and s:shutdown(LIMIT)
  end)
  local got = assert(service.read_all(s))
  assert(writing:join(LIMIT))
  return got:sub(1, LARGE) == data, got:sub(LARGE + 1) == service.sum(data)
end

local function many(session, count)
  local good, numbers = 0, {}
  for i = 1, count do numbers[i] = i end
  vmctl.map(numbers, function(i)
    local text = (i .. " "):rep(5000)
    if service.ask(session, "echo", text) == text then good = good + 1 end
  end)
  return good
end

-- Streams that are not read hold up no other.
local function unread(session)
  local stuck = {}
  for i = 1, 5 do
    stuck[i] = assert(session:open())
    assert(stuck[i]:write("both 4194304\n", LIMIT))
  end
  local answer = service.ask(session, "echo", "beside")
  for _, s in ipairs(stuck) do s:close() end
  return answer
end

-- The peer closes and never reads; after a while it resets the stream.
local function left(session)
  local s <close> = assert(session:open())
  local ok, code, _ = s:write("leave\n", LIMIT), nil, nil
  while ok do ok, _, code = s:write(("x"):rep(1 << 16), LIMIT) end
  return (code == "EPIPE" or code == "ECONNRESET") and "reset" or code
end

local function go_away(say, session)
  local s <close> = assert(session:open())
  assert(s:write("goaway\n", LIMIT))
  say("the peer says go away", "said", s:read_exact(4, LIMIT))
  local other, _, code = session:open()
  say("no stream after that", "ECONNREFUSED", not other and code or "a stream")
  assert(s:shutdown(LIMIT))
  say("what was open goes on", " and done", service.read_all(s))
end

local function check_session(say, session)
  say("echo", "hello", service.ask(session, "echo", "hello"))
  say("nothing", "", service.ask(session, "echo", ""))
  say("half-close", "1000000", service.ask(session, "count", ("x"):rep(1000000)))
  local out, back = both_ways(session)
  say("16 MiB come", true, out)
  say("16 MiB go", true, back)
  say("500 streams at once", 500, many(session, 500)) -- more than it lets wait
  say("the peer opens streams", "ok", service.ask(session, "open 50", ""))
  for _ = 1, 50 do assert(session:ping(LIMIT)) end
  say("pings of the peer", "ok", service.ask(session, "ping 50", ""))
  say("beside streams that are not read", "beside", unread(session))
  say("a peer that closes unread", "reset", left(session))
  say("after all that", "again", service.ask(session, "echo", "again"))
  go_away(say, session)
end

-- Starts Go's side and connects to it.
local function with_go(report, program, role, path, fn)
  local child <close> = support.start(program, "serve", role, "unix:" .. path)
  report:same(("yamux %s in Go: is there"):format(role), "ready", (child.stdout:read_line(100, 10)))
  fn(function(what, ...) report:same(("yamux %s in Go: %s"):format(role, what), ...) end, assert(vmctl.dial("unix:" .. path)))
  child:kill "KILL"
  child:wait(5)
end

local function drive(is_client)
  return function(say, transport)
    local session
    session = yamux.session(transport, { client = is_client, on_stream = function(s) service.work(s, session) end })
    local closing <close> = session:start "yamux" -- luacheck: ignore
    vmctl.yield()
    check_session(say, session)
  end
end

local function drive_mux(say, transport)
  local host <close> = assert(mux.connect(transport, LIMIT))
  local s <close> = assert(host:connect(PORT, LIMIT))
  assert(s:write("echo\nhello", LIMIT) and s:shutdown(LIMIT))
  say("CONNECT", "hello", service.read_all(s))
  local other, _, code = host:connect(PORT + 1, LIMIT)
  say("CONNECT to a port that is not served", "ECONNREFUSED", not other and code or "a stream")
  assert(host:ping(LIMIT))
  say("after that", true, host:alive())
end

return function(report)
  if not support.has_go() then return report:skip("yamux, our sessions drive Go's", "no Go here") end
  local program, why, is_missing = support.build "yamux_go"
  if is_missing then return report:skip("yamux, our sessions drive Go's", "the reference is not to be had: " .. why) end
  if not program then return report:check("yamux, a program on the reference package", false, why) end
  local folder <close> = support.directory()
  with_go(report, program, "server", folder.path .. "/server", drive(true))
  with_go(report, program, "client", folder.path .. "/client", drive(false))
  with_go(report, program, "mux", folder.path .. "/mux", drive_mux)
end
