-- Both ends of the exec protocol: a server on a Unix socket, and a client that finds out which agent it talks to.
-- Usage: lua5.4 examples/agent.lua
-- You will see the agent's revision, a command's output as it comes, and five commands at once.
local vmctl = require "vmctl"

local path = os.tmpname()
os.remove(path)

vmctl.run(function()
  local listener <close> = assert(vmctl.listen("unix:" .. path))
  local server = vmctl.spawn(vmctl.exec.serve, listener)
  local client = assert(vmctl.exec.client("unix:" .. path))
  print("the agent is " .. assert(client:probe()))

  local p <close> = assert(client:start { "sh", "-c", "for i in 1 2 3; do echo line $i; done; echo done >&2" })
  for data, stream in function() return p:read(5) end do
    if not data then break end
    io.write(("%s: %s"):format(stream, data))
  end
  print("exit code " .. assert(p:wait()).exit_code)

  local numbers = vmctl.map({ 1, 2, 3, 4, 5 }, function(n)
    return assert(client:run { "sh", "-c", 'echo $(($1 * $1))', "sh", tostring(n) }).stdout:match "%d+"
  end)
  print("squares: " .. table.concat(numbers, " "))
  server:cancel()
end)
