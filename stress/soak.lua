-- Makes CALLS mixed calls in one process, on servers of its own, and looks ten times at its descriptors, children and memory:
-- nothing may grow. Usage: lua5.4 stress/soak.lua     environment: CALLS (1000000), SEED
local vmctl = require "vmctl"
local core = require "vmctl.core"
local left = require "stress.left"

local CALLS = tonumber(os.getenv "CALLS") or 1000000
local SEED = tonumber(os.getenv "SEED") or core.unix_time()
local LOOKS = 10
local WARM = 2          -- looks in which memory may still grow
local SLACK = 4096      -- KiB that it may differ by afterwards: pages that the allocator has kept
local WAIT = 30         -- seconds
local WORKERS = 8       -- tasks that make calls beside each other

local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-soak"))
local random = math.random

local servers, calls = {}, {}

local function expect(ok, what) if not ok then error("wrong: " .. what, 0) end end

local function address(name) return ("unix:%s/%s"):format(folder, name) end

function servers.exec(listener) return vmctl.exec.serve(listener) end

function servers.stereos(listener)
  return vmctl.stereos.server({ get_health = function() return { state = "healthy", uptime_seconds = 7 } end }):serve(listener)
end

function servers.lines(listener)
  for stream in function() return listener:accept() end do
    local line = stream:read_line(nil, WAIT)
    if line then stream:write(line .. "!\n") end
    stream:close()
  end
end

local function pair_frames()
  local near, far = assert(vmctl.pair { format = { type = 1, length = 4, max = 1 << 20 } })
  local body = ("x"):rep(random(0, 20000))
  assert(near:write_frame(7, body))
  local kind, got = assert(far:read_frame(WAIT))
  near:close()
  far:close()
  expect(kind == 7 and got == body, "frame")
end

-- Weights, and what a call does with the clients that all share.
calls.health = { 300, function(c) expect(assert(c.stereos:get_health { timeout = WAIT }).state == "healthy", "health") end }
calls.frames = { 200, pair_frames }
calls.json = { 200, function()
  local value = { a = random(1 << 40), b = { "x", random() }, c = ("y"):rep(random(0, 300)) }
  local back = assert(vmctl.json.decode(assert(vmctl.json.encode(value))))
  expect(back.a == value.a and back.b[2] == value.b[2] and back.c == value.c, "json")
end }
calls.tasks = { 100, function()
  local sum = 0
  vmctl.scope(function()
    for i = 1, 4 do
      vmctl.spawn(function()
        vmctl.sleep(0)
        sum = sum + i
      end)
    end
  end)
  expect(sum == 10, "tasks")
end }
calls.timeout = { 50, function()
  local near, far = assert(vmctl.pair())
  local _, _, code = far:read(1, 0.001)
  near:close()
  far:close()
  expect(code == "ETIMEDOUT", "time-out")
end }
calls.cancelled = { 50, function()
  local task = vmctl.spawn(function() return vmctl.sleep(WAIT) end)
  vmctl.sleep(0)
  task:cancel()
  task:join()
end }
calls.lines = { 50, function(c)
  local stream <close> = assert(vmctl.dial(c.forwarded))
  assert(stream:write "hello\n")
  expect(assert(stream:read_line(nil, WAIT)) == "hello!", "line")
end }
calls.refused = { 20, function() expect(select(3, vmctl.dial(address "nobody")) == "ENOENT", "refusal") end }
calls.file = { 20, function(c)
  local path = ("%s/file.%d"):format(folder, c.worker)
  local bytes = ("z"):rep(random(0, 100000))
  assert(c.exec:write_file(path, bytes))
  expect(assert(c.exec:read_file(path)) == bytes, "file")
  assert(os.remove(path))
end }
calls.command = { 8, function(c)
  expect(assert(c.exec:run { "echo", "out", timeout = WAIT }).stdout == "out\n", "command")
end }
calls.killed = { 2, function(c)
  local _, _, code = c.exec:run { "sleep", "100", timeout = 0.01 }
  expect(code == "ETIMEDOUT", "a command that takes too long")
end }

local function deck()
  local cards, names = {}, {}
  for name in pairs(calls) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    for _ = 1, calls[name][1] do cards[#cards + 1] = calls[name][2] end
  end
  return cards
end

local function make_calls(cards, clients, count)
  vmctl.scope(function()
    for worker = 1, WORKERS do
      vmctl.spawn(function()
        local own = setmetatable({ worker = worker }, { __index = clients })
        for _ = 1, count // WORKERS do cards[random(#cards)](own) end
      end)
    end
  end)
end

local function memory()
  collectgarbage()
  collectgarbage()
  return left.resident(), collectgarbage "count"
end

local function soak(clients)
  local cards, most, before = deck(), nil, nil
  for look = 1, LOOKS do
    make_calls(cards, clients, CALLS // LOOKS)
    local more = before and left.settled(folder, before)
    if more then error("left behind: " .. more, 0) end
    local resident, lua = memory()
    print(("soak: %d calls, %d KiB resident, %.0f KiB of Lua's"):format(look * (CALLS // LOOKS), resident, lua))
    if look == WARM then most, before = resident + SLACK, left.look(folder) end
    if most and resident > most then error(("memory grows: %d KiB, at most %d were expected"):format(resident, most), 0) end
  end
end

local function main()
  io.stdout:setvbuf "line"
  math.randomseed(SEED)
  local begin = vmctl.now()
  vmctl.scope(function(scope)
    local listeners = {}
    for name, serve in pairs(servers) do
      listeners[name] = assert(vmctl.listen(address(name)))
      vmctl.spawn_in(scope, serve, listeners[name])
    end
    local forward <close> = assert(vmctl.forward { from = address "forward", to = address "lines" })
    local stereos <close> = assert(vmctl.stereos.client(address "stereos"))
    soak { exec = assert(vmctl.exec.client(address "exec")), stereos = stereos, forwarded = forward:address() }
    for _, listener in pairs(listeners) do listener:close() end
    scope:cancel()
  end)
  print(("soak: %d calls, seed %d, %.0f s"):format(CALLS, SEED, vmctl.now() - begin))
end

local ok, err = pcall(vmctl.run, main)
if not ok then io.stderr:write("soak: ", tostring(err), "\n") end
local empty = os.remove(folder)
if not empty then io.stderr:write("soak: ", folder, " is not empty\n") end
os.exit(ok and empty ~= nil, true)
