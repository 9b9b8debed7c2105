-- Waiting for things to be ready: a port, a file, a command, a guest's control plane, and all of them at once.
-- Usage: lua5.4 examples/ready.lua
-- You will see how long each took, and what a wait that comes to nothing has to say. This machine stands in for a guest.
local vmctl = require "vmctl"

local ready, host = vmctl.ready, vmctl.host
local folder = os.tmpname()
os.remove(folder)
assert(host:run { "mkdir", "-m", "700", folder, check = true })

-- A stand-in for a guest that boots: first a flag, then a port with a greeting, then a control plane that is ready a moment later.
local function boot()
  vmctl.sleep(0.1)
  assert(host:write_file(folder .. "/booted", ""))
  vmctl.spawn(function()
    local listener <close> = assert(vmctl.listen("unix:" .. folder .. "/ssh"))
    for s in function() return (listener:accept(math.huge)) end do
      s:write "SSH-2.0-example\r\n"
      s:close()
    end
  end)
  local control = vmctl.stereos.server {}
  control:lifecycle "booting"
  vmctl.spawn(function() control:serve(assert(vmctl.listen("unix:" .. folder .. "/stereos"))) end)
  vmctl.sleep(0.1)
  control:lifecycle "ready"
end

local function main(scope)
  local guest = vmctl.spawn_in(scope, boot)

  local seconds = assert(ready.wait(ready.file(host, folder .. "/booted"), { timeout = 5 }))
  print(("the flag was there after %.1f s"):format(seconds))

  local results = assert(ready.all {
    timeout = 10,
    ssh = ready.port("unix:" .. folder .. "/ssh", { expect = "^SSH%-2" }), -- a connect alone proves little
    control = ready.stereos("unix:" .. folder .. "/stereos"),
    shell = ready.command(host, { "sh", "-c", "exit 0" }),
  })
  print("ssh says " .. results.ssh.value:gsub("%s", "") .. ", the control plane " .. results.control.value.state)
  guest:join()

  local nothing, why = ready.wait(ready.command(host, "echo 'disk not found' >&2; exit 2"), { timeout = 0.3 })
  assert(not nothing)
  print(why)

  local locked = ready.fn(function() return nil, "the door is locked", "EACCES" end, "the door")
  nothing, why = ready.wait(locked, { timeout = 60 }) -- fails at once: no waiting mends that
  assert(not nothing)
  print(why)
  scope:cancel() -- the servers would go on
end

vmctl.scope(main)
host:run { "rm", "-rf", folder }
