-- QEMU's monitor: a QEMU without a guest is started, asked, made to run, followed by its events, and told to leave.
-- Usage: lua5.4 examples/qmp.lua [ADDRESS]     ADDRESS: of a monitor that is there, "unix:/run/vm/qmp.sock"
-- You will see its version and its state; without an address also how it goes on. Without QEMU it says so and ends.
local vmctl = require "vmctl"

local function show(client)
  local v = client.version
  print(("QEMU %d.%d.%d, %s"):format(v.major, v.minor, v.micro, assert(client:execute "query-status").status))
end

if arg[1] then
  local client <close> = assert(vmctl.qmp.connect(arg[1]))
  return show(client)
end

local ours, theirs = assert(vmctl.pair())
local qemu, why = vmctl.process.spawn {
  "qemu-system-x86_64", "-M", "none", "-nodefaults", "-display", "none", "-S", "-chardev", "socket,id=monitor,fd=3",
  "-mon", "chardev=monitor,mode=control", fds = { theirs:fileno() }, death_signal = "KILL",
}
theirs:close()
if not qemu then
  print("skipped: " .. why)
  return
end

local client <close> = assert(vmctl.qmp.connect(function() return ours end, { greeting_timeout = 30 }))
show(client)

local cancel = client:on_event(function(event) print("event " .. event.event) end)
assert(client:execute "cont")
assert(client:wait_event "RESUME")                  -- that it came before cont's answer does not matter

local ok, message, code, problem = client:execute("device_del", { id = "nothing" })
assert(not ok and code == "ENODEV")
print(message, assert(problem).class)

local answers = vmctl.map({ "query-name", "query-cpus-fast", "query-chardev" }, function(name)
  return (assert(client:execute(name)))             -- side by side, on one connection
end)
print(("%d answers"):format(#answers))

assert(client:execute "quit")
print("it left: " .. assert(client:wait_event "SHUTDOWN").data.reason, assert(qemu:wait(10)).exit_code)
cancel()
