-- A socket of the host, used inside a guest: a process there connects to a path, and a server here answers.
-- Usage: lua5.4 examples/socketforward.lua (needs `make guest`)
-- You will see what a process in the guest read from the host's server, and what was counted.
local vmctl = require "vmctl"

local path = os.tmpname()
os.remove(path)

local function serve(listener)
  for stream in function() return (listener:accept()) end do
    local name = stream:read_line(100, 10)
    stream:write(("hello %s, this is the host\n"):format(name or "nobody"), 10)
    stream:close()
  end
end

-- The guest's script. Our agent has Lua inside.
local ASK = [[
local s = assert(require("vmctl").dial "unix:/run/socketfwd/hello.sock")
s:write "guest\n"
print(s:read_line(200, 10))
]]

vmctl.scope(function(scope)
  local listener <close> = assert(vmctl.listen("unix:" .. path))
  vmctl.spawn_in(scope, serve, listener)

  local vm <close>, why, code = vmctl.machine.launch { kernel = "build/kernel/vmlinuz", initrd = "build/guest.img" }
  if not vm then
    assert(code == "ENOENT", why)
    print(("skipped: %s (make guest)"):format(why))
    return os.exit(0, true)
  end
  assert(vm:wait_ready { timeout = 60 })
  local forwarder <close> = assert(vm:socketforward { hello = { guest_path = "/run/socketfwd/hello.sock", host_path = path } })

  local out = assert(vm:run { "/sbin/vmctl-agent", "--lua", "-", stdin = ASK, timeout = 30, check = true })
  io.write("the guest read: ", out.stdout)
  local stats = forwarder:stats()
  print(("%d connection, %d bytes to the host, %d to the guest"):format(stats.total, stats.to_host, stats.to_guest))
end)
