-- The host's ssh-agent, used inside a guest: its socket is forwarded to SSH_AUTH_SOCK there; the key itself never goes there.
-- Usage: lua5.4 examples/forward_agent.lua (needs `make guest`, and ssh-agent, ssh-add and ssh-keygen of openssh-client)
-- You will see the key that a program inside the guest is offered, and how much was said for that.
local vmctl = require "vmctl"

local KERNEL, IMAGE, SOCKET = "build/kernel/vmlinuz", "build/guest.img", "/run/socketfwd/ssh-agent.sock"

-- Runs inside the guest: asks for the identities (message 11), prints the comment of each (message 12).
local LIST_KEYS = [[
local vmctl = require "vmctl"
local agent <close> = assert(vmctl.dial("unix:" .. os.getenv "SSH_AUTH_SOCK"))
assert(agent:write((">s4"):pack "\11"))
local answer = assert(agent:read_exact((">I4"):unpack(assert(agent:read_exact(4)))))
local kind, count, pos = (">BI4"):unpack(answer)
assert(kind == 12, "the agent refused")
for _ = 1, count do
  local key, comment
  key, comment, pos = (">s4s4"):unpack(answer, pos)
  print(("%s: %s"):format((">s4"):unpack(key), comment))
end
]]

local function skip(why)
  print("skipped: " .. why)
  os.exit(0, true)
end

if assert(vmctl.host:run "command -v ssh-agent ssh-add ssh-keygen").exit_code ~= 0 then skip "openssh-client is not installed" end
if not io.open(IMAGE) then skip "there is no guest image (make guest)" end
local vm <close>, why, code = vmctl.machine.launch { kernel = KERNEL, initrd = IMAGE }
assert(vm or code == "ENOENT", why)
if not vm then return skip(why) end

local folder = assert(vmctl.host:run { "mktemp", "-d", check = true }).stdout:gsub("\n", "")
local cleaning <close> = setmetatable({}, { __close = function() vmctl.host:run { "rm", "-r", folder } end }) -- luacheck: ignore
local socket, key = folder .. "/agent", folder .. "/key"

-- An agent with a new key. It ends with this program.
local agent <close> = assert(vmctl.process.spawn { "ssh-agent", "-D", "-a", socket, stdout = "null" }) -- luacheck: ignore
assert(vmctl.ready.wait(vmctl.ready.port("unix:" .. socket), { timeout = 5 }))
assert(vmctl.host:run { "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "key of the host", "-f", key, check = true })
assert(vmctl.host:run { "ssh-add", "-q", key, env = { SSH_AUTH_SOCK = socket }, check = true })

assert(vm:wait_ready { timeout = 30 })
local forward <close> = assert(vmctl.forward { from = assert(vm:inside("unix:" .. SOCKET)), to = "unix:" .. socket })
local command = { "/sbin/vmctl-agent", "--lua", "-", stdin = LIST_KEYS, env = { SSH_AUTH_SOCK = SOCKET }, check = true }
io.write("offered in the guest: ", assert(vm:run(command)).stdout)
local stats = forward:stats()
print(("%d connection, %d bytes asked, %d bytes answered"):format(stats.connections, stats.from_to, stats.to_from))
