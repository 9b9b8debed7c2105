-- The program of each of the two threads, in its own Lua state: sockets and processes, in tasks. Raises what goes wrong.
local name, rounds = ...
local process = require "vmctl.process"
local vmctl = require "vmctl"

local LEAP = 1e6 -- seconds, of one thread's clock alone

local function uptime()
  local file <close> = assert(io.open "/proc/uptime")
  return file:read "n"
end

local ahead = vmctl.now() - uptime()

local function serve(listener)
  while true do
    local conn, _, code = listener:accept(30)
    if not conn then return code end
    vmctl.spawn(function()
      for line in function() return (conn:read_line(nil, 30)) end do
        assert(conn:write(line .. " to " .. name .. "\n"))
      end
      conn:close()
    end)
  end
end

local function talk(address, i)
  local conn = assert(vmctl.dial(address, { timeout = 5 }))
  for n = 1, 5 do
    assert(conn:write(("%s %d %d\n"):format(name, i, n)))
    local answer = assert(conn:read_line(nil, 30))
    assert(answer == ("%s %d %d to %s"):format(name, i, n, name), answer)
  end
  local _, _, code = conn:read_line(nil, 0.001)
  assert(code == "ETIMEDOUT", code)
  conn:close()
end

local function run_child(exit_code)
  local child <close> = assert(process.spawn { "sh", "-c", "read x; exit $x", stdin = "pipe" })
  assert(child.stdin:write(exit_code .. "\n"))
  assert(assert(child:wait(30)).exit_code == exit_code)
  local ok, _, code
  repeat -- the reading end may live on for a moment in what the other thread has just forked
    ok, _, code = child.stdin:write("nobody reads this", 5)
  until not ok
  assert(code == "EPIPE", code)
end

for round = 1, rounds do
  vmctl.run(function()
    local listener = assert(vmctl.listen "tcp:127.0.0.1:0")
    local server = vmctl.spawn(serve, listener)
    vmctl.all {
      function() vmctl.map({ 1, 2, 3 }, function(i) talk(listener:address(), i) end) end,
      function() vmctl.map({ 1, 2 }, function(i) run_child(10 * round + i) end) end,
      function() assert(vmctl.sleep(0.001)) end,
    }
    listener:close()
    assert(server:join(30) == "ECLOSED")
  end)
end

if name == "one" then vmctl.clock.virtual(function() assert(vmctl.sleep(LEAP)) end) end
local leapt = vmctl.now() - uptime() - ahead
assert(math.abs(leapt - (name == "one" and LEAP or 0)) < 10, leapt)
