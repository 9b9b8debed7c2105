--- A guest's network cards: each on an Ethernet socket of QEMU's (docs/wire/qemu-l2.md#command-line), for a switch of
--- vmctl.l2 or anything else that speaks it. A guest without `nics` has none.
local address = require "vmctl.net.address"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local known = { listen = "string|table", connect = "string|table", netdev = "string", backend = { "stream", "socket" }, mac = "string",
  reconnect = "number>0<=3600", queues = "integer>=1<=64",
  model = { "virtio-net", "e1000", "e1000e", "rtl8139", "vmxnet3" }, mtu = "integer>=68<=65535" }

---@class vmctl.NetworkCard
---@field listen? string the address on which QEMU listens: "unix:PATH", "tcp:HOST:PORT"
---@field connect? string the address that it dials; where nobody listens the card has a link to nobody, which wait_ready logs
---@field netdev? string any other backend in QEMU's syntax, without an id
---@field backend? "stream"|"socket" of `listen` and `connect`: stream needs QEMU 7.2; socket knows IPv4 alone
---@field mac? string random by default
---@field model? "virtio-net"|"e1000"|"e1000e"|"rtl8139"|"vmxnet3"
---@field mtu? integer that virtio-net tells the guest
---@field reconnect? number seconds after which QEMU dials again; from QEMU 8.0 on. With 7.2 let it `listen`, and dial it
---@field queues? integer of virtio-net, on a `netdev` of tap or vhost-user

-- QEMU gives the first card of every guest the same address, which must not occur twice in a network.
local function random_mac()
  local n = math.random(0)
  return ("52:54:00:%02x:%02x:%02x"):format(n & 255, n >> 8 & 255, n >> 16 & 255)
end

local function escape(text)
  return (text:gsub(",", ",,"))
end

-- QEMU's option for connecting again, by its version.
local function reconnect_option(nic, version)
  if not nic.reconnect then return "" end
  if nic.listen then return errors.fail("EINVAL", "'reconnect' is for cards that connect: who listens waits for the next one anyway") end
  local number, err, code = version()
  if not number then return nil, err, code end
  if number >= 9.02 then return ("reconnect-ms=%d,"):format(math.ceil(nic.reconnect * 1000)) end
  if number >= 8 then return ("reconnect=%d,"):format(math.ceil(nic.reconnect)) end
  return errors.fail("ENOTSUP", "QEMU %d.%d does not connect again: let it 'listen', and dial it (switch:dial does so again and again)",
    number // 1, (number % 1 * 100 + 0.5) // 1)
end

local function stream_netdev(a, id, is_server, again)
  local head = ("stream,id=%s,server=%s,%s"):format(id, is_server and "on" or "off", again)
  if a.kind == "unix" then return head .. "addr.type=unix,addr.path=" .. escape(a.path) end
  return ("%saddr.type=inet,addr.host=%s,addr.port=%d"):format(head, a.host, a.port)
end

-- IPv4 over TCP only: the older backend supports no more.
local function socket_netdev(a, id, is_server)
  if a.kind ~= "tcp" then return errors.fail("EINVAL", "the backend 'socket' takes tcp addresses, not %s", a) end
  if a.host:find(":", 1, true) then return errors.fail("EINVAL", "the backend 'socket' takes IPv4 addresses, not %s", a) end
  return ("socket,id=%s,%s=%s:%d"):format(id, is_server and "listen" or "connect", a.host, a.port)
end

local MANY_QUEUES = { tap = true, ["vhost-user"] = true, ["vhost-vdpa"] = true }

-- A backend in QEMU's syntax, with its queues.
local function given_netdev(nic, id)
  if nic.reconnect then return errors.fail("EINVAL", "'reconnect' goes with 'connect', not with 'netdev'") end
  if not nic.queues then return ("%s,id=%s"):format(nic.netdev, id) end
  local kind = nic.netdev:match "^[^,]*"
  if not MANY_QUEUES[kind] then return errors.fail("EINVAL", "the backend '%s' has one queue", kind) end
  return ("%s,id=%s,queues=%d"):format(nic.netdev, id, nic.queues)
end

local function netdev(nic, id, version)
  if nic.netdev then return given_netdev(nic, id) end
  if nic.queues then return errors.fail("EINVAL", "'queues': QEMU's Ethernet sockets have one queue; give a 'netdev' such as tap") end
  local where = nic.listen or nic.connect
  if not where then return errors.fail("EINVAL", "one of 'listen', 'connect' and 'netdev' expected") end
  local a, err, code = address.parse(where)
  if not a then return nil, err, code end
  if a.kind ~= "unix" and a.kind ~= "tcp" then return errors.fail("EINVAL", "a unix or tcp address expected, not %s", a) end
  if nic.backend == "socket" then
    if nic.reconnect then return errors.fail("EINVAL", "the backend 'socket' does not connect again") end
    return socket_netdev(a, id, nic.listen ~= nil)
  end
  local again
  again, err, code = reconnect_option(nic, version)
  if not again then return nil, err, code end
  return stream_netdev(a, id, nic.listen ~= nil, again)
end

local UNIX_CLIENT = "^(stream,id=[^,]*,server=off,)addr%.type=unix,addr%.path=(.*)$"

--- The arguments whose paths QEMU itself uses: those without the sockets that `hand_over` connects.
---@param cards string[]
---@return string[]
function M.own_paths(cards)
  local list = {}
  for _, argument in ipairs(cards) do
    if not argument:find(UNIX_CLIENT) then list[#list + 1] = argument end
  end
  return list
end

--- The same arguments for a QEMU that cannot connect to sockets by their paths: it gets what `connect(path)` has connected, by the
--- number that this returns. A socket where nobody listens stays a path, and QEMU says so.
---@param cards string[]
---@param connect fun(path: string): integer|nil
---@return string[]
function M.hand_over(cards, connect)
  local list = {}
  for i, argument in ipairs(cards) do
    local head, path = argument:match(UNIX_CLIENT)
    local fd = head and connect((path:gsub(",,", ",")))
    list[i] = fd and ("%saddr.type=fd,addr.str=%d"):format(head, fd) or argument
  end
  return list
end

-- The card itself, as QEMU writes it.
local function device(nic, id, mac, suffix)
  local model = nic.model or "virtio-net"
  if not mac:find "^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$" then return errors.fail("EINVAL", "no hardware address: %s", mac) end
  if tonumber(mac:sub(1, 2), 16) & 1 == 1 then return errors.fail("EINVAL", "the address of a group: %s", mac) end
  if model ~= "virtio-net" then
    if nic.queues then return errors.fail("EINVAL", "only virtio-net has queues, %s has one", model) end
    if nic.mtu then return errors.fail("EINVAL", "only virtio-net tells its guest an MTU, %s does not", model) end
    if not suffix:find "pci" then return errors.fail("EINVAL", "this machine has no PCI for the model %s", model) end
    return ("%s,netdev=%s,mac=%s"):format(model, id, mac)
  end
  local more = nic.mtu and (",host_mtu=%d"):format(nic.mtu) or ""
  if nic.queues then -- a vector for each direction of a queue, one for the control queue, one for changes
    more = ("%s,mq=on%s"):format(more, suffix:find "pci" and (",vectors=%d"):format(2 * nic.queues + 2) or "")
  end
  return ("virtio-net%s,netdev=%s,mac=%s%s"):format(suffix, id, mac, more)
end

--- QEMU's arguments for network cards.
---@param nics vmctl.NetworkCard[]
---@param suffix string of the machine's virtio devices
---@param version? fun(): number|nil, string?, string? of QEMU, as vmctl.machine.qemu_version has it; called when it matters. May wait
---@return string[]|nil arguments, table|string macs_or_message, string? code
function M.arguments(nics, suffix, version)
  local list, macs = {}, {}
  for i, nic in ipairs(nics) do
    options.check(nic, known, ("machine.launch: nics[%d]"):format(i), 4)
    local id = "nic" .. i - 1
    local backend, err, code = netdev(nic, id, version)
    if not backend then return nil, ("launch: nics[%d]: %s"):format(i, err), code end
    macs[i] = nic.mac or random_mac()
    local card
    card, err, code = device(nic, id, macs[i], suffix)
    if not card then return nil, ("launch: nics[%d]: %s"):format(i, err), code end
    table.move({ "-netdev", backend, "-device", card }, 1, 4, #list + 1, list)
  end
  return list, macs
end

return M
