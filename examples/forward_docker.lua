-- A Docker-like API, served on a Unix socket of the host and used inside a guest: by its socket, and by a TCP port.
-- Usage: lua5.4 examples/forward_docker.lua (needs `make guest`)
-- You will see what a program in the guest gets from /version and, event by event, from /events; then the counts.
local vmctl = require "vmctl"

local KERNEL, IMAGE, SOCKET = "build/kernel/vmlinuz", "build/guest.img", "/run/socketfwd/docker.sock"
local HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"

local function version(s)
  local body = '{"Version":"1.0","ApiVersion":"1.43"}\n'
  s:write(("%sContent-Length: %d\r\n\r\n%s"):format(HEAD, #body, body))
end

local function events(s) -- a chunk an event, as it happens
  assert(s:write(HEAD .. "Transfer-Encoding: chunked\r\n\r\n"))
  for _, status in ipairs { "create", "start", "die" } do
    local event = ('{"status":"%s"}\n'):format(status)
    assert(s:write(("%x\r\n%s\r\n"):format(#event, event)))
    vmctl.sleep(0.1)
  end
  s:write "0\r\n\r\n"
end

local function serve(s)
  local path = (s:read_line() or ""):match "^GET (%S+) "
  while (s:read_line() or "") ~= "" do end -- headers
  local page = ({ ["/version"] = version, ["/events"] = events })[path]
  if page then page(s) else s:write "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n" end
  s:close()
end

-- Runs inside the guest: GET over the socket, each line of the answer with the time since the question.
local GET = [[
local vmctl = require "vmctl"
local socket, path = ...
local s <close> = assert(vmctl.dial("unix:" .. socket))
assert(s:write("GET " .. path .. " HTTP/1.1\r\nHost: docker\r\n\r\n"))
local began = vmctl.now()
for line in function() return (s:read_line()) end do
  if line:find "^{" then print(("%s after %.1f s: %s"):format(path, vmctl.now() - began, line)) end
end
]]

local function try_it(vm)
  local path = os.tmpname()
  os.remove(path)
  local listener <close> = assert(vmctl.listen("unix:" .. path))
  vmctl.spawn(function()
    for s in function() return (listener:accept()) end do vmctl.spawn(serve, s) end
  end)
  assert(vm:wait_ready { timeout = 30 })
  local socket <close> = assert(vmctl.forward { from = vm:inside("unix:" .. SOCKET), to = "unix:" .. path })
  local port <close> = assert(vmctl.forward { from = vm:inside "tcp:127.0.0.1:2375", to = "unix:" .. path })
  for _, page in ipairs { "/version", "/events" } do
    io.write(assert(vm:run { "/sbin/vmctl-agent", "--lua", "-", SOCKET, page, stdin = GET, check = true }).stdout)
  end
  io.write("wget: ", assert(vm:run { "wget", "-q", "-O", "-", "http://127.0.0.1:2375/version", check = true }).stdout)
  for _, forward in ipairs { socket, port } do
    local stats = forward:stats()
    print(("%s: %d connections, %d bytes there, %d back"):format(forward:address(), stats.connections, stats.from_to, stats.to_from))
  end
end

local vm <close>, why, code = vmctl.machine.launch { kernel = KERNEL, initrd = IMAGE }
assert(vm or code == "ENOENT", why)
if vm then vmctl.run(try_it, vm) else print("skipped: " .. why .. " (make guest)") end
