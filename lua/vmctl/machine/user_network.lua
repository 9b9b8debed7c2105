--- A network of the guest's own, by QEMU's user networking: no way out of it, and ports of this machine's loopback that lead in.
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"

local M = {}

local ADDRESS = "10.0.2.15" -- what QEMU gives its first guest: docs of QEMU, "-netdev user"
local MOST = 64             -- ports
local PORT = 65535

--- The word for stage 1, so that the card has an address even where nothing in the root asks for one.
M.WORD = ("vmctl.address=%s,24"):format(ADDRESS)

local function number(text)
  local n = math.tointeger(tonumber(text))
  return n and n >= 1 and n <= PORT and n or nil
end

local function parse(text)
  local host, guest, protocol = tostring(text):match "^(%d+):(%d+)(.*)$"
  host, guest = number(host), number(guest)
  if host and guest and protocol == "" then return host, guest end
  return errors.fail("EINVAL", "launch: port '%s': HOST:GUEST expected, two numbers from 1 to %d", tostring(text), PORT)
end

-- QEMU ends without saying which port it was, so it is asked for before.
local function is_free(port)
  local listener, err, code = dial.listen { kind = "tcp", host = "127.0.0.1", port = port }
  if not listener then return nil, ("launch: port %d of this machine: %s"):format(port, err), code end
  listener:close()
  return true
end

--- Plans the network. Waits for nothing.
---@param network "none"|"user"|nil
---@param ports? string[] "8080:80": the port of this machine's loopback, and that of the guest
---@return string|nil backend for QEMU's -netdev, "" for none
---@return string?, string? code EINVAL; EADDRINUSE
function M.plan(network, ports)
  ports = ports or {}
  if network ~= "user" then
    if #ports == 0 then return "" end
    return errors.fail("EINVAL", 'launch: ports lead into a network: network = "user"')
  end
  if #ports > MOST then return errors.fail("EINVAL", "launch: at most %d ports", MOST) end
  local parts, seen = { "user,restrict=on,ipv6=off" }, {}
  for _, text in ipairs(ports) do
    local host, guest, code = parse(text)
    if not host then return nil, guest, code end
    if seen[host] then return errors.fail("EINVAL", "launch: port %d of this machine is named twice", host) end
    seen[host] = true
    local ok, err, why = is_free(host)
    if not ok then return nil, err, why end
    parts[#parts + 1] = ("hostfwd=tcp:127.0.0.1:%d-:%d"):format(host, guest)
  end
  return table.concat(parts, ",")
end

return M
