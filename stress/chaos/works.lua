--- The scripts' work while one of the processes that take part is killed. Each is a function of a folder of its own and of `tell`,
-- to which it gives the names and numbers of processes; it works until something fails, and returns nil, message, code. It raises
-- "wrong: …" at a result that cannot be right.
local core = require "vmctl.core"
local vmctl = require "vmctl"

local GUEST = { kernel = "build/kernel/vmlinuz", initrd = "build/guest.img" }
local AGENT = "build/vmctl-agent"
local HELPER = "bin/vmctl-cc-helper"
local BOOT = 120 -- seconds
local WAIT = 30
local BYTES = 1 << 20

local works = {}

local function expect(ok, what) if not ok then error("wrong: " .. what, 0) end end

local function remove(path)
  for _, name in ipairs(core.fs.list(path) or {}) do remove(path .. "/" .. name) end
  os.remove(path)
end

local function booted(tell)
  local vm, err, code = vmctl.machine.launch(GUEST)
  if not vm then return nil, err, code end
  tell("qemu", vm.pid)
  local ok
  ok, err, code = vm:wait_ready(BOOT)
  if ok then return vm end
  vm:close()
  return nil, err, code
end

-- Calls `work` again and again, until it fails.
local function forever(work, ...)
  local ok, err, code
  repeat ok, err, code = work(...) until not ok
  return nil, err, code
end

local function echo(client)
  local record, err, code = client:run { "echo", "out", timeout = WAIT }
  if not record then return nil, err, code end
  if record.signal or record.error then return nil, record.error or "a signal", record.signal or "ERROR" end
  expect(record.exit_code == 0 and record.stdout == "out\n", "output")
  return true
end

local function copy(client, path)
  local bytes = ("b"):rep(math.random(BYTES))
  local ok, err, code = client:write_file(path, bytes)
  if not ok then return nil, err, code end
  local back
  back, err, code = client:read_file(path)
  if not back then return nil, err, code end
  expect(back == bytes, "file")
  return true
end

function works.boot(_, tell)
  return forever(function()
    local vm <close>, err, code = booted(tell)
    return vm, err, code
  end)
end

function works.exec(_, tell)
  local vm <close>, err, code = booted(tell)
  if not vm then return nil, err, code end
  return forever(echo, vm)
end

function works.copy(_, tell)
  local vm <close>, err, code = booted(tell)
  if not vm then return nil, err, code end
  return forever(copy, vm, "/tmp/copy")
end

function works.forward(folder, tell)
  local vm <close>, err, code = booted(tell)
  if not vm then return nil, err, code end
  local server
  server, err, code = vm:start { "/sbin/vmctl-agent", "--listen", "unix:/run/inner.sock" }
  if not server then return nil, err, code end
  local forward <close>, why, told = vmctl.forward { from = "unix:" .. folder .. "/forward", to = vm:inside "unix:/run/inner.sock" }
  if not forward then return nil, why, told end
  local client = assert(vmctl.exec.client(forward:address()))
  local ok
  ok, err, code = client:ready(WAIT)
  if not ok then return nil, err, code end
  return forever(echo, client)
end

function works.scenario(folder, tell)
  local opts = { artefacts = folder .. "/artefacts" }
  local ran, err = pcall(vmctl.scenario.run, "chaos", { one = GUEST }, opts, function(vms)
    tell("qemu", vms.one:machine().pid)
    while true do expect(vms.one:succeed "echo out" == "out\n", "output") end
  end)
  remove(folder .. "/artefacts") -- a failed test leaves its report there
  if ran then return nil, "ended", "ENDED" end
  if tostring(err):find "^wrong:" then error(err, 0) end
  return nil, tostring(err), "RAISED"
end

-- The agent's program on this machine.
local function with_agent(folder, tell, work, ...)
  local address = "unix:" .. folder .. "/agent"
  local child <close> = assert(vmctl.process.spawn { AGENT, "--listen", address, death_signal = "KILL" })
  tell("agent", child.pid)
  local client = assert(vmctl.exec.client(address))
  local ok, err, code = client:ready(WAIT)
  if ok then ok, err, code = forever(work, client, ...) end
  child:kill "KILL"
  child:wait(WAIT)
  os.remove(folder .. "/agent") -- who was killed cannot
  return ok, err, code
end

function works.agent_exec(folder, tell) return with_agent(folder, tell, echo) end

function works.agent_copy(folder, tell)
  local place = folder .. "/files"
  assert(core.fs.mkdir(place))
  local ok, err, code = with_agent(folder, tell, copy, place .. "/copy")
  for _, name in ipairs(core.fs.list(place) or {}) do os.remove(place .. "/" .. name) end
  os.remove(place)
  return ok, err, code
end

function works.helper(folder, tell)
  local root, path = folder .. "/root", folder .. "/helper"
  assert(core.fs.mkdir(root))
  local child <close> = assert(vmctl.process.spawn { HELPER, "-socket", path, "--local", root, death_signal = "KILL" })
  tell("helper", child.pid)
  local client, err, code
  local last = vmctl.now() + WAIT
  repeat
    vmctl.sleep(0.01)
    client, err, code = vmctl.cc.connect(path)
  until client or vmctl.now() > last or child:wait(0)
  if client then
    local vm
    vm, err, code = client:instance { directory = "/" }
    if vm then
      err, code = select(2, forever(function()
        local id, why, told = vm:id()
        expect(not id or #id == 36, "id")
        return id, why, told
      end))
    end
    client:close()
  end
  child:kill "KILL"
  child:wait(WAIT)
  os.remove(path)
  os.remove(root)
  return nil, err, code
end

return works
