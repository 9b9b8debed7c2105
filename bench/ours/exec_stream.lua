-- vmctl: all of a command's stdout through agent and client, from its start to its exit code.
-- Usage: exec_stream.lua SOCKET BYTES

package.path = (arg[0]:match "^.*/" or "") .. "../?.lua;" .. package.path
local support = require "support"
local vmctl = require "vmctl"

local path, bytes = "unix:" .. arg[1], tonumber(arg[2])

vmctl.run(function()
  local client = assert(vmctl.exec.client(path))
  assert(assert(client:run { "true" }).exit_code == 0)
  local start, total = vmctl.now(), 0
  local process = assert(client:start { "head", "-c", tostring(bytes), "/dev/zero" })
  while true do
    local data, err, code = process:read()
    if not data then
      assert(code == "EOF", err)
      break
    end
    total = total + #data
  end
  local exit = assert(process:wait())
  local seconds = vmctl.now() - start
  assert(exit.exit_code == 0 and total == bytes, "output was lost")
  support.result("mib_rate", bytes / 2 ^ 20 / seconds)
end)
