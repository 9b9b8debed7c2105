-- A session recorded by vmctl.trace and played back: the client meets the same answers with no guest there, and a difference
-- is told.
-- Usage: lua5.4 examples/replay.lua
-- You will see the recorded session, the played answers, and where another client did something else.
local vmctl = require "vmctl"

local function ask(where, name)
  local guest = assert(vmctl.stereos.connect(where))
  assert(guest:ping())
  print("the guest answers:", guest:inject_secret(name, "hunter2"))
  guest:close()
end

vmctl.run(function()
  local trace = os.tmpname()
  local path = trace .. ".sock"
  local listener = assert(vmctl.listen("unix:" .. path))
  local serving = vmctl.spawn(vmctl.stereos.serve, listener, {
    inject_secret = function() return nil, "the disk is full", "ENOSPC" end,
  })

  assert(vmctl.trace.start(trace)) -- or VMCTL_TRACE=file in the environment of any program
  ask("unix:" .. path, "api-key")
  vmctl.trace.stop()
  listener:close()
  serving:join(5)
  vmctl.trace.print(trace)

  local guest = vmctl.replay(trace)
  ask(guest, "api-key")
  print("as recorded:", guest.play:wait())

  guest = vmctl.replay(trace)
  pcall(ask, guest, "another-key")
  print("as recorded:", guest.play:wait())
  os.remove(trace)
end)
