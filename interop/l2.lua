--- Ethernet wires: pktkit's Dial and Listen, and a stand-in that knows the wire only, against our ports and our switch.
local support = require "support"
local vmctl = require "vmctl"

local l2 = vmctl.l2

local WAIT = 10 -- seconds
local SHORTEST, LONGEST, OVERSIZE = 14, 65535, 4096 + 65536
local NEAR, FAR = "\2\0\0\0\0\1", "\2\0\0\0\1\1"
local DATA, COMMAND = "\x88\xb5", "\x88\xb6"
local BURSTS = { { 20000, 60 }, { 5000, 1514 }, { 500, 9014 }, { 50, LONGEST } } -- frames, bytes
local NETWORKS = { "unix", "tcp" }

-- The contents of frames. Bytes which come twice, or not at all, are seen in them.
local FILL = {}
for i = 1, LONGEST // 4 + 252 do FILL[i] = (">I4"):pack(i * 2654435761 & 0xffffffff) end
FILL = table.concat(FILL)

local function frame(size, at)
  return FAR .. NEAR .. DATA .. FILL:sub(1 + at % 1000, size - SHORTEST + at % 1000)
end

-- The frame that the other end returns.
local function returned(sent)
  return sent:sub(7, 12) .. sent:sub(1, 6) .. sent:sub(13)
end

local function command(port, text)
  return port:send(FAR .. NEAR .. COMMAND .. text, WAIT)
end

-- Waits for what the other end says once it listens.
local function hear_hello(report, who, port)
  local hello, err = port:recv(WAIT)
  report:same(who .. ": says hello", "hello", hello and hello:sub(SHORTEST + 1) or err)
end

-- Sends frames while a task compares what comes back; the first difference, or nil.
local function echo(port, count, make, send)
  local difference
  local reader = vmctl.spawn(function()
    for i = 1, count do
      local got, err = port:recv(WAIT)
      if got ~= returned(make(i)) then
        difference = ("frame %d of %d: %s"):format(i, count, got and #got .. " bytes came, others than sent" or err)
        return
      end
    end
  end)
  local ok, err = send(port)
  reader:join()
  return difference or not ok and err or nil
end

local function check_sizes(report, who, port)
  local function make(i) return frame(SHORTEST - 1 + i, i) end
  local count = LONGEST - SHORTEST + 1
  local difference = echo(port, count, make, function()
    for i = 1, count do
      local ok, err = port:send(make(i), WAIT)
      if not ok then return nil, err end
    end
    return true
  end)
  report:check(who .. ": frames of every size from 14 to 65535 come back", not difference, difference)
end

local function check_bursts(report, who, port)
  for _, burst in ipairs(BURSTS) do
    local count, size = table.unpack(burst)
    local frames = {}
    for i = 1, count do frames[i] = frame(size, i) end
    local difference = echo(port, count, function(i) return frames[i] end, function()
      return port:send_many(frames, WAIT)
    end)
    report:check(("%s: %d frames of %d bytes at once come back"):format(who, count, size), not difference, difference)
  end
end

-- How many numbered frames have come before one that has another number or size.
local function receive_numbered(port, count, size)
  for i = 1, count do
    local got = port:recv(WAIT)
    if not got or #got ~= size or (">I4"):unpack(got, SHORTEST + 1) ~= i then return i - 1 end
  end
  return count
end

local function check_its_bursts(report, who, port)
  for _, burst in ipairs(BURSTS) do
    local count, size = table.unpack(burst)
    command(port, ("burst %d %d"):format(count, size))
    report:same(("%s: its %d frames of %d bytes come in order"):format(who, count, size), count,
      receive_numbered(port, count, size))
  end
  command(port, "oversize")
  report:same(who .. ": its frame of 69632 bytes comes", OVERSIZE, #(port:recv(WAIT) or ""))
end

-- Several tasks send; frames come back whole, those of a task in their order.
local function check_tasks(report, who, port)
  local TASKS, EACH = 8, 500
  local next_of, wrong = {}, 0
  vmctl.scope(function()
    for task = 1, TASKS do
      next_of[task] = 1
      vmctl.spawn(function()
        for i = 1, EACH do assert(port:send(FAR .. NEAR .. DATA .. (">I4I4s4"):pack(task, i, ("x"):rep(i)), WAIT)) end
      end)
    end
    for _ = 1, TASKS * EACH do
      local got = assert(port:recv(WAIT))
      local task, i, text = (">I4I4s4"):unpack(got, SHORTEST + 1)
      if next_of[task] ~= i or text ~= ("x"):rep(i) then wrong = wrong + 1 end
      next_of[task] = i + 1
    end
  end)
  report:same(who .. ": frames of eight tasks come back whole", 0, wrong)
end

local function converse(report, who, port)
  hear_hello(report, who, port)
  check_sizes(report, who, port)
  check_bursts(report, who, port)
  check_its_bursts(report, who, port)
  check_tasks(report, who, port)
end

local function close_ours(report, who, port, child)
  port:close()
  report:same(who .. ": hears that we have closed", "closed", child.stdout:read_line(100, WAIT))
end

local function close_theirs(report, who, port)
  command(port, "close")
  report:same(who .. ": we hear that it has closed", "EOF", select(3, port:recv(WAIT)))
  report:same(who .. ": and why it is done", "EOF", port:done(WAIT))
  port:close()
end

-- An address of ours to listen at.
local function our_address(network, path)
  return network == "unix" and "unix:" .. path or "tcp:127.0.0.1:0"
end

-- As the program takes it.
local function their_words(network, path, address)
  return network, network == "unix" and path or ("127.0.0.1:%d"):format(address and address.port or 0)
end

-- It dials us, twice: one wire is closed by us, the other one by it.
local function their_dial(report, who, program, network, path)
  local listener <close> = assert(l2.listen(our_address(network, path)))
  for _, close in ipairs { close_ours, close_theirs } do
    local child <close> = support.start(program, "dial", their_words(network, path, listener:address()))
    local port <close> = assert(listener:accept(WAIT))
    if close == close_ours then
      converse(report, who, port)
    else
      hear_hello(report, who .. ", again", port)
    end
    close(report, who, port, child)
  end
end

-- Starts a program that listens; the address to dial.
local function start_listener(program, network, path)
  local child = support.start(program, "listen", their_words(network, path))
  return child, ("%s:%s"):format(network, child.stdout:read_line(200, WAIT))
end

local function their_listen(report, who, program, network, path)
  local listening, address = start_listener(program, network, path)
  local child <close> = listening
  local port <close> = assert(l2.dial(address, WAIT))
  converse(report, who, port)
  close_ours(report, who, port, child)
  local again <close> = assert(l2.dial(address, WAIT))
  hear_hello(report, who .. ", again", again)
  close_theirs(report, who, again)
end

-- Few frames are under way at a time: a switch drops what its ports do not take soon.
local function converse_switched(report, who, port)
  hear_hello(report, who, port)
  local failed, tried = nil, 0
  for size = SHORTEST, LONGEST do
    if size <= 1600 or size % 97 == 0 or size == 9014 or size == LONGEST then
      tried = tried + 1
      local sent = frame(size, size)
      assert(port:send(sent, WAIT))
      if port:recv(WAIT) ~= returned(sent) then failed = failed or size end
    end
  end
  report:check(("%s: frames of %d sizes come back"):format(who, tried), not failed, ("not the one of %s"):format(failed))
  local frames = {}
  for i = 1, 2000 do frames[i] = frame(60, i) end
  local difference = echo(port, #frames, function(i) return frames[i] end, function() return port:send_many(frames, WAIT) end)
  report:check(who .. ": 2000 frames at once come back", not difference, difference)
end

-- A switch between it and us; both its ways in.
local function through_switch(report, who, program, network, path)
  local near, wire = assert(l2.socketpair())
  local sw <close> = l2.switch()
  sw:add(wire, { name = "near" })
  do
    local listener <close> = assert(sw:listen(our_address(network, path .. ".in"), { name = "dialled", ports = 1 }))
    local child <close> = support.start(program, "dial", their_words(network, path .. ".in", listener:address()))
    converse_switched(report, who .. " dials the switch", near)
    sw:port("dialled"):disconnect()
    report:same(who .. ": hears that the switch has let go", "closed", child.stdout:read_line(100, WAIT))
    sw:port("dialled"):remove()
  end
  local listening, address = start_listener(program, network, path .. ".out")
  local child <close> = listening
  local far = assert(sw:dial(address, { name = "dialling" }))
  converse_switched(report, who .. " is dialled by the switch", near)
  command(near, "close")
  hear_hello(report, who .. " is dialled again by the switch", near)
  report:same(who .. ": the second connection of that port", 2, far:wait_connected(WAIT))
  local total = sw:counts().total
  report:same(who .. ": no frame was dropped or invalid", { 0, 0 }, { total.dropped_full, total.invalid })
  near:close()
  child:kill "KILL"
end

local function drive(report, who, program, folder)
  for _, network in ipairs(NETWORKS) do
    local path = ("%s/%s"):format(folder, network)
    their_dial(report, ("%s dials, %s"):format(who, network), program, network, path .. ".a")
    their_listen(report, ("%s listens, %s"):format(who, network), program, network, path .. ".b")
    through_switch(report, ("%s, %s"):format(who, network), program, network, path .. ".c")
  end
end

return function(report)
  if not support.has_go() then return report:skip("l2, programs in Go against our wires", "no Go here") end
  local reference, why, is_missing = support.build("l2_wire", "pktkit")
  if reference then
    local folder <close> = support.directory()
    drive(report, "pktkit", reference, folder.path)
  elseif is_missing then
    report:skip("l2, pktkit against our wires", "it is not to be had: " .. why)
  else
    report:check("l2, a program on pktkit", false, why)
  end
  local standin
  standin, why = support.build "l2_wire"
  if not standin then return report:check("l2, a program in Go", false, why) end
  local folder <close> = support.directory()
  drive(report, "stand-in", standin, folder.path)
end
