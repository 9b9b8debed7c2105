-- Checks of AF_VSOCK inside a guest, over its loopback transport (CID 1): { name, function } each, for tap.lua.
-- On the host only the names are read.
package.path = "/tmp/?.lua;" .. package.path -- of the guest: what the agent does not carry
local core = require "vmctl.core"
local vmctl = require "vmctl"

local vsock = vmctl.vsock

local AGENT = "/sbin/vmctl-agent"
local LOCAL, NOBODY = vsock.CID_LOCAL, "65534"
local WAIT = 10 -- seconds: a limit, not a promise

local checks = {}

local function check(name, fn)
  checks[#checks + 1] = { name, fn }
end

local function equal(want, got, what)
  if want ~= got then error(("%s: %s expected, got %s"):format(what or "value", want, got), 2) end
end

local function code(...)
  return (select(3, ...))
end

local function one_of(got, ...)
  for _, want in ipairs { ... } do
    if got == want then return end
  end
  error(("%s expected, got %s"):format(table.concat({ ... }, " or "), tostring(got)), 2)
end

-- Two ends of a connection over CID 1, and the listener, which is closed.
local function pair(options)
  local listener <close> = assert(vsock.listen())
  local dialled = vmctl.spawn(function() return assert(vsock.dial(LOCAL, listener:address().port, options)) end)
  local accepted = assert(listener:accept(WAIT))
  return dialled:join(), accepted
end

-- The body of a check with two ends of a connection.
local function with_pair(fn, options)
  return function()
    local a <close>, b = pair(options)
    local other <close> = b -- luacheck: ignore
    fn(a, b)
  end
end

local function read_all(s)
  local parts = {}
  for data in function() return (s:read { timeout = WAIT }) end do parts[#parts + 1] = data end
  return table.concat(parts)
end

check("listens on any free port and on a given one", function()
  local any <close> = assert(vsock.listen())
  local port = any:address().port
  assert(port >= 1024 and port < vsock.PORT_ANY, port)
  equal("vsock", any:address().network)
  equal(vsock.local_cid(), any:address().cid)
  local given <close> = assert(vsock.listen(port + 1))
  equal(port + 1, given:address().port)
end)

check("carries bytes both ways", with_pair(function(a, b)
  assert(a:write "there")
  equal("there", b:read_exact(5))
  assert(b:write "and back")
  equal("and back", a:read_exact(8))
end))

check("tells the peer's CID and the own address", with_pair(function(a, b)
  equal("vsock", b:peer().kind)
  equal(LOCAL, b:peer().cid)
  equal(b:peer().port, a:address().port)
  equal(LOCAL, a:peer().cid)
  equal(b:address().port, a:peer().port)
end))

check("has no credentials but the CID", with_pair(function(a, b)
  equal("ENOTSUP", code(a:credentials()))
  equal("ENOTSUP", code(b:credentials()))
end))

check("half-closes from the side that dialled", with_pair(function(a, b)
  assert(a:write "question")
  assert(a:shutdown())
  equal("question", read_all(b))
  assert(b:write "answer")
  assert(b:shutdown())
  equal("answer", read_all(a))
end))

check("half-closes from the side that accepted", with_pair(function(a, b)
  assert(b:write "greeting")
  assert(b:shutdown())
  equal("greeting", read_all(a))
  assert(a:write "reply")
  assert(a:shutdown())
  equal("reply", read_all(b))
end))

check("a port where nobody listens is ECONNRESET", function()
  equal("ECONNRESET", code(vsock.dial(LOCAL, 7, { timeout = WAIT })))
end)

check("a CID to which no transport leads is ENODEV", function()
  equal("ENODEV", code(vsock.dial(77, 5000, { timeout = WAIT })))
  equal("ENODEV", code(vsock.dial("host", 5000, { timeout = WAIT })))
end)

check("a full backlog is ECONNRESET, and those before it are kept", function()
  local listener <close> = assert(vsock.listen(nil, { backlog = 1 }))
  local port, kept, refused = listener:address().port, {}, nil
  while not refused and #kept < 10 do
    local s, _, name = vsock.dial(LOCAL, port, { timeout = WAIT })
    if s then kept[#kept + 1] = s else refused = name end
  end
  equal("ECONNRESET", refused)
  assert(#kept >= 1)
  for i, s in ipairs(kept) do
    assert(s:write(("%d"):format(i)))
    local conn <close> = assert(listener:accept(WAIT))
    equal(("%d"):format(i), conn:read_exact(1))
    s:close()
  end
end)

check("knows the local CID, or that it has none", function()
  local cid = vsock.local_cid()
  one_of(cid, vsock.CID_ANY, LOCAL) -- without a vsock device, the one or the other, as the kernel likes
end)

check("a deadline that has passed is a time-out, and leaves no socket", function()
  local listener <close> = assert(vsock.listen())
  equal("ETIMEDOUT", code(vsock.dial(LOCAL, listener:address().port, { timeout = 0 })))
  equal("ETIMEDOUT", code(vsock.dial(LOCAL, listener:address().port, { timeout = -1 })))
end)

check("accept has a time-out, and close wakes it", function()
  local listener <close> = assert(vsock.listen())
  equal("ETIMEDOUT", code(listener:accept(0.05)))
  local waiting = vmctl.spawn(function() return listener:accept(WAIT) end)
  vmctl.yield()
  listener:close()
  equal("ECLOSED", code(waiting:join()))
end)

check("a port that is taken is EADDRINUSE, a foreign CID EADDRNOTAVAIL", function()
  local listener <close> = assert(vsock.listen())
  equal("EADDRINUSE", code(vsock.listen(listener:address().port)))
  equal("EADDRNOTAVAIL", code(vsock.listen(nil, { cid = 42 })))
end)

check("listens on the loopback CID alone", function()
  local listener <close> = assert(vsock.listen(nil, { cid = "local" }))
  equal(LOCAL, listener:address().cid)
  local dialled = vmctl.spawn(function() return assert(vsock.dial(LOCAL, listener:address().port)) end)
  local conn <close> = assert(listener:accept(WAIT))
  local s <close> = dialled:join()
  assert(s:write "x")
  equal("x", conn:read_exact(1))
end)

check("a port below 1024 is EACCES for an ordinary user", function()
  local script = "local _, _, code = require('vmctl').vsock.listen(1000) io.write(code or 'done')"
  assert(core.fs.replace("/tmp/listen.lua", script, 420))
  equal("EACCES", assert(vmctl.host:run { AGENT, "--lua", "/tmp/listen.lua", user = NOBODY }).stdout)
  equal("done", assert(vmctl.host:run { AGENT, "--lua", "/tmp/listen.lua" }).stdout)
end)

check("delivers 16 MiB intact", with_pair(function(a, b)
  local block = ("0123456789abcdef"):rep(16384) -- 256 KiB; each is sent with its number in front
  local sender = vmctl.spawn(function()
    for i = 1, 64 do assert(a:write(("%8d"):format(i) .. block, WAIT)) end
    assert(a:shutdown(WAIT))
  end)
  for i = 1, 64 do
    local got = assert(b:read_exact(8 + #block, WAIT))
    assert(got == ("%8d"):format(i) .. block, ("block %d is damaged"):format(i))
  end
  equal("EOF", code(b:read { timeout = WAIT }))
  sender:join()
end))

check("a reader that stops reading stops the writer, in bounded memory", with_pair(function(a, b)
  local piece, sent = ("x"):rep(64 * 1024), 0
  while true do
    local ok, _, name, taken = a:write(piece, 0.3)
    sent = sent + (ok and #piece or taken)
    if not ok then
      equal("ETIMEDOUT", name)
      break
    end
    assert(sent < 8 << 20, "nothing stops it")
  end
  assert(a:stats().buffered_out <= 512 * 1024)
  local flusher = vmctl.spawn(function() return a:shutdown(WAIT) end)
  equal(sent, #read_all(b))
  assert(flusher:join())
end))

local format = vmctl.format { type = 1, max = 1 << 20 }

check("carries frames", with_pair(function(a, b)
  b:set_format(format)
  assert(a:write_frame(7, "hello"))
  local kind, payload = b:read_frame { timeout = WAIT }
  equal(7, kind)
  equal("hello", payload)
end, { format = format }))

check("writing to a peer that has closed is EPIPE or ECONNRESET, and no SIGPIPE", function()
  local a <close>, b = pair()
  b:close()
  local name
  for _ = 1, 50 do
    name = code(a:write(("x"):rep(1000), 1))
    if name then break end
    vmctl.sleep(0.02)
  end
  one_of(name, "EPIPE", "ECONNRESET")
end)

check("a peer that is killed ends the stream", function()
  local listener <close> = assert(vsock.listen())
  local script = ("local s = assert(require('vmctl').vsock.dial(1, %d)) s:write 'half' require('vmctl').sleep(100)")
    :format(listener:address().port)
  assert(core.fs.replace("/tmp/dial.lua", script))
  local child <close> = assert(vmctl.process.spawn { AGENT, "--lua", "/tmp/dial.lua" })
  local conn <close> = assert(listener:accept(WAIT))
  equal("half", conn:read_exact(4))
  assert(child:kill "KILL")
  one_of(code(conn:read { timeout = WAIT }), "EOF", "ECONNRESET")
end)

check("a hundred connections at once", function()
  local listener <close> = assert(vsock.listen())
  local port, numbers = listener:address().port, {}
  for i = 1, 100 do numbers[i] = i end
  local server = vmctl.spawn(function()
    for _ = 1, 100 do
      local conn = assert(listener:accept(WAIT))
      vmctl.spawn(function()
        conn:write(read_all(conn):reverse())
        conn:close()
      end)
    end
  end)
  vmctl.map(numbers, function(i)
    local s <close> = assert(vsock.dial(LOCAL, port))
    local text = ("connection %d"):format(i)
    assert(s:write(text))
    assert(s:shutdown())
    equal(text:reverse(), read_all(s))
  end)
  server:join()
end)

local function is_refused(client)
  one_of(code(client:probe(WAIT)), "EOF", "ECONNRESET", "EPIPE")
end

check("exec: a server refuses CID 1 unless it is allowed", function()
  local listener <close> = assert(vsock.listen())
  local server = vmctl.spawn(vmctl.exec.serve, listener)
  is_refused(assert(vmctl.exec.client(vsock.address(LOCAL, listener:address().port))))
  listener:close()
  server:join()
end)

check("exec: commands, input, signals and large output", function()
  local listener <close> = assert(vsock.listen())
  local server = vmctl.spawn(vmctl.exec.serve, listener, { allow = { cid = { LOCAL } } })
  local client = assert(vmctl.exec.client(vsock.address(LOCAL, listener:address().port)))
  local result = assert(client:run { "sh", "-c", "cat; echo err >&2; exit 3", stdin = "in" })
  equal("in", result.stdout)
  equal("err\n", result.stderr)
  equal(3, result.exit_code)
  local p <close> = assert(client:start { "sleep", "100" })
  assert(p:kill "TERM")
  equal("TERM", assert(p:wait(WAIT)).signal)
  local count = 0
  assert(client:run { "dd", "if=/dev/zero", "bs=64k", "count=256", on_output = function(data, name)
    if name == "stdout" then count = count + #data end
  end })
  equal(16 << 20, count)
  listener:close()
  server:join()
end)

local function agent_with(port, ...)
  local argv = { AGENT, "--listen", ("vsock:any:%d"):format(port), "--ready", ("vsock:any:%d"):format(port + 2), ... }
  local child = assert(vmctl.process.spawn(argv))
  local deadline = vmctl.now() + WAIT
  while true do -- its readiness port tells when it is there, without a right to run commands
    local s = vsock.dial(LOCAL, port + 2, { timeout = 1 })
    if s then
      s:close()
      return child
    end
    assert(vmctl.now() < deadline, "the agent does not listen")
    vmctl.sleep(0.05)
  end
end

check("vmctl-agent: refuses CID 1 by default", function()
  local child <close> = agent_with(6000)
  is_refused(assert(vmctl.exec.client "vsock:1:6000"))
  assert(child:kill "TERM")
  equal(0, assert(child:wait(WAIT)).exit_code)
end)

check("vmctl-agent: --allow-cid 1 lets it in", function()
  local child <close> = agent_with(6010, "--allow-cid", "1")
  local client = assert(vmctl.exec.client "vsock:1:6010")
  equal("allowed\n", assert(client:run { "echo", "allowed" }).stdout)
  assert(child:kill "TERM")
  equal(0, assert(child:wait(WAIT)).exit_code)
end)

check("vmctl-agent: readiness on ports 5000 and 5002, as the protocol has them", function()
  local child <close> = agent_with(5000, "--allow-cid=any")
  local client = assert(vmctl.exec.client "vsock:1:5000")
  assert(client:ready(WAIT))
  equal("ready\n", assert(client:run { "echo", "ready" }).stdout)
  assert(child:kill "TERM")
  equal(0, assert(child:wait(WAIT)).exit_code)
end)

check("stereos: the control plane on port 1024, and not for CID 1 unless it is allowed", function()
  local child <close> = agent_with(6020, "--allow-cid", "1", "--stereos", "vsock:any:1024", "--root", "/tmp/control")
  local client <close> = assert(vmctl.stereos.client(LOCAL))
  equal("vmctl.StereosClient(vsock:CID=1,port=1024)", tostring(client))
  equal("ready", assert(client:wait_for_ready { timeout = WAIT }).state)
  equal(true, (client:set_config "over vsock"))
  local file <close> = assert(io.open "/tmp/control/etc/stereos/jcard.toml")
  equal("over vsock", file:read "a")
  assert(child:kill "TERM")
  equal(0, assert(child:wait(WAIT)).exit_code)
  equal("ECONNRESET", code(client:ping()))
  local strict <close> = agent_with(6021, "--stereos", "vsock:any:1024", "--root", "/tmp/control")
  one_of(code(client:ping(WAIT)), "ERESET", "ECONNRESET")
  assert(strict:kill "TERM")
end)

-- Ten zero bytes are no request: a ttrpc server says so, on stream 0.
local function answers_calls(s)
  assert(s:write(("\0"):rep(10), WAIT))
  local length, id, kind = string.unpack(">I4I4BB", assert(s:read_exact(10, WAIT)))
  equal(0, id, "stream")
  equal(2, kind, "type")
  assert(s:read_exact(length, WAIT))
end

check("socket forwarding: calls on port 1025 and streams on port 1026", function()
  local child <close> = agent_with(6030, "--allow-cid", "1", "--forward", "vsock:any:1025", "--forward-streams", "vsock:any:1026")
  local calls <close> = assert(vsock.dial(LOCAL, 1025))
  answers_calls(calls)
  local stream <close> = assert(vsock.dial(LOCAL, 1026))
  local hello = string.pack(">s4", "a-stream-1")
  assert(stream:write(hello, WAIT))
  equal(hello, assert(stream:read_exact(#hello, WAIT)))
  assert(child:kill "TERM")
  equal(0, assert(child:wait(WAIT)).exit_code)
end)

check("socket forwarding: an agent that dials the host's port for calls", function()
  local listener <close> = assert(vsock.listen())
  local child <close> = agent_with(6040, "--allow-cid", "1", "--dial-rpc", ("vsock:1:%d"):format(listener:address().port))
  local calls <close> = assert(listener:accept(WAIT))
  answers_calls(calls)
  assert(child:kill "TERM")
  equal(0, assert(child:wait(WAIT)).exit_code)
end)

check("a relay carries bytes and half-close between vsock and a Unix socket", function()
  local a, b = pair()
  local near <close>, far = assert(vmctl.pair())
  local relayed = vmctl.spawn(function() return vmctl.relay(b, far, { timeout = WAIT }) end)
  local text = ("relayed "):rep(100000)
  local writer = vmctl.spawn(function()
    assert(a:write(text, WAIT))
    assert(a:shutdown(WAIT))
  end)
  assert(read_all(near) == text, "the bytes are damaged")
  writer:join()
  assert(near:write "answer")
  assert(near:shutdown())
  equal("answer", read_all(a))
  local stats = assert(relayed:join())
  equal(#text, stats.a_to_b)
  equal(6, stats.b_to_a)
  a:close()
end)

return checks
