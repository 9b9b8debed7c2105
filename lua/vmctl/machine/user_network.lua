--- A network of the guest's own, with ports of this machine's loopback that lead in. It is isolated by default: QEMU's user networking,
--- restricted, needs no other program. With access to the outside it is passt's, which can keep this machine's loopback closed; QEMU's
--- own cannot, and serves users who want the loopback open.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"
local process = require "vmctl.process"

local M = {}

local ADDRESS, GATEWAY = "10.0.2.15", "10.0.2.2" -- QEMU's defaults for its first guest: docs of QEMU, "-netdev user"
local NAMESERVER = "10.0.2.3"                    -- likewise
local BITS = 24
local MOST = 64             -- ports
local PORT = 65535
local FIRST_FD = 4          -- QEMU's number of the launch's first `fds`
local PASST_FD = 3

local known = { [1] = { "user", "none" }, out = "boolean", host_loopback = "boolean" }

---@class vmctl.MachineNetwork the first element is "user"
---@field [1] "none"|"user"
---@field out? boolean access to the outside, and a name server (false)
---@field host_loopback? boolean with `out`: its gateway leads to this machine's loopback (false)

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

-- QEMU and passt end without naming a port that is taken, so each port is tried before.
local function is_free(port)
  local listener, err, code = dial.listen { kind = "tcp", host = "127.0.0.1", port = port }
  if not listener then return nil, ("launch: port %d of this machine: %s"):format(port, err), code end
  listener:close()
  return true
end

local function parse_ports(ports)
  if #ports > MOST then return errors.fail("EINVAL", "launch: at most %d ports", MOST) end
  local list, seen = {}, {}
  for i, text in ipairs(ports) do
    local host, guest, code = parse(text)
    if not host then return nil, guest, code end
    if seen[host] then return errors.fail("EINVAL", "launch: port %d of this machine is named twice", host) end
    seen[host] = true
    local ok, err, why = is_free(host)
    if not ok then return nil, err, why end
    list[i] = { host = host, guest = guest }
  end
  return list
end

local function slirp(ports, is_open)
  local parts = { is_open and "user,ipv6=off" or "user,restrict=on,ipv6=off" }
  for _, port in ipairs(ports) do parts[#parts + 1] = ("hostfwd=tcp:127.0.0.1:%d-:%d"):format(port.host, port.guest) end
  return table.concat(parts, ",")
end

local function passt_command(ports)
  local words = { "passt", "--foreground", "--fd", tostring(PASST_FD), "--ipv4-only", "--no-map-gw", "--address", ADDRESS, "--netmask",
    tostring(BITS), "--gateway", GATEWAY, "--dns-forward", GATEWAY, "--udp-ports", "none" }
  local list = {}
  for i, port in ipairs(ports) do list[i] = ("%d:%d"):format(port.host, port.guest) end
  words[#words + 1] = "--tcp-ports"
  words[#words + 1] = #list > 0 and "127.0.0.1/" .. table.concat(list, ",") or "none"
  return words
end

---@class vmctl.MachineUserNetwork
---@field netdev string for QEMU
---@field word string for stage 1, so that the card has an address even where nothing in the root asks for one
---@field fds integer[] of the launch
local methods = {}
local mt = { __name = "vmctl.MachineUserNetwork", __index = methods }

-- Tells if passt is in PATH, before anything is started.
local function has_passt()
  for folder in (os.getenv "PATH" or "/usr/bin:/bin"):gmatch "[^:]+" do
    if core.fs.stat(folder .. "/passt") then return true end
  end
  return false
end

local function plan_passt(self, ports, fds)
  if not has_passt() then
    return errors.fail("ENOSYS", "launch: a network with a way out needs passt (Debian: passt): QEMU's own would open this machine's " ..
      "loopback to the guest as well (host_loopback = true takes that)")
  end
  local far, code
  self._near, far, code = dial.pair()
  if not self._near then return nil, far, code end
  self._far, self._command = far, passt_command(ports)
  self.fds = table.move(fds, 1, #fds, 1, {})
  self.fds[#self.fds + 1] = self._near:fileno()
  self.netdev = ("socket,fd=%d"):format(FIRST_FD + #fds)
  return self
end

--- Plans the network. Waits for nothing.
---@param network "none"|"user"|vmctl.MachineNetwork|nil
---@param ports? string[] "8080:80": the port of this machine's loopback, and that of the guest
---@param fds? integer[] of the launch
---@return vmctl.MachineUserNetwork|false|nil network false: none
---@return string?, string? code EINVAL; EADDRINUSE; ENOSYS: no passt
function M.plan(network, ports, fds)
  ports, fds = ports or {}, fds or {}
  local opts = type(network) == "table" and options.check(network, known, "machine.launch: network", 5) or { network }
  if opts[1] ~= nil and opts[1] ~= "user" and opts[1] ~= "none" then
    error(('machine.launch: network: "none" or "user" expected, not "%s"'):format(opts[1]), 5)
  end
  if opts[1] ~= "user" then
    if #ports == 0 then return false end
    return errors.fail("EINVAL", 'launch: ports lead into a network: network = "user"')
  end
  if opts.host_loopback and not opts.out then
    return errors.fail("EINVAL", "launch: network: host_loopback is part of a way out (out)")
  end
  local list, err, code = parse_ports(ports)
  if not list then return nil, err, code end
  local self = setmetatable({ fds = fds, word = ("vmctl.address=%s,%d"):format(ADDRESS, BITS) }, mt)
  if opts.out then self.word = ("%s,%s,%s"):format(self.word, GATEWAY, opts.host_loopback and NAMESERVER or GATEWAY) end
  if opts.out and not opts.host_loopback then return plan_passt(self, list, fds) end
  self.netdev = slirp(list, opts.out)
  return self
end

--- Starts the program that serves it. Does not wait for it.
---@return true|nil, string?, string?
function methods:start()
  if not self._command then return true end
  local argv, err, code = self._command
  argv.fds, argv.death_signal, argv.stdin, argv.stdout, argv.stderr = { self._far:fileno() }, "KILL", "null", "null", "null"
  self._child, err, code = process.spawn(argv)
  self._far:close()
  if not self._child then return nil, "launch: network: " .. err, code end
  return true
end

--- Closes our copy of QEMU's end, when QEMU has started. Does not wait.
function methods:started()
  if self._near then self._near:close() end
end

--- Ends it. Idempotent, does not wait.
function methods:close()
  self:started()
  if self._far then self._far:close() end
  if self._child then self._child:close() end
end

return M
