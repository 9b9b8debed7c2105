--- A guest's network cards: each on an Ethernet socket of QEMU's (docs/wire/qemu-l2.md#command-line), for a switch of
--- vmctl.l2 or anything else that speaks it. A guest without `nics` has none.
local address = require "vmctl.net.address"
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local known = { listen = "string|table", connect = "string|table", netdev = "string", backend = { "stream", "socket" }, mac = "string",
  model = { "virtio-net", "e1000", "e1000e", "rtl8139", "vmxnet3" }, mtu = "integer>=68<=65535" }

-- QEMU gives the first card of every guest the same address, which must not occur twice in a network.
local function random_mac()
  local n = math.random(0)
  return ("52:54:00:%02x:%02x:%02x"):format(n & 255, n >> 8 & 255, n >> 16 & 255)
end

local function escape(text)
  return (text:gsub(",", ",,"))
end

local function stream_netdev(a, id, is_server)
  local head = ("stream,id=%s,server=%s,"):format(id, is_server and "on" or "off")
  if a.kind == "unix" then return head .. "addr.type=unix,addr.path=" .. escape(a.path) end
  return ("%saddr.type=inet,addr.host=%s,addr.port=%d"):format(head, a.host, a.port)
end

-- IPv4 over TCP only: the older backend supports no more.
local function socket_netdev(a, id, is_server)
  if a.kind ~= "tcp" then return errors.fail("EINVAL", "the backend 'socket' takes tcp addresses, not %s", a) end
  if a.host:find(":", 1, true) then return errors.fail("EINVAL", "the backend 'socket' takes IPv4 addresses, not %s", a) end
  return ("socket,id=%s,%s=%s:%d"):format(id, is_server and "listen" or "connect", a.host, a.port)
end

local function netdev(nic, id)
  if nic.netdev then return ("%s,id=%s"):format(nic.netdev, id) end
  local where = nic.listen or nic.connect
  if not where then return errors.fail("EINVAL", "one of 'listen', 'connect' and 'netdev' expected") end
  local a, err, code = address.parse(where)
  if not a then return nil, err, code end
  if a.kind ~= "unix" and a.kind ~= "tcp" then return errors.fail("EINVAL", "a unix or tcp address expected, not %s", a) end
  local make = nic.backend == "socket" and socket_netdev or stream_netdev
  return make(a, id, nic.listen ~= nil)
end

local UNIX_CLIENT = "^(stream,id=[^,]*,server=off,)addr%.type=unix,addr%.path=(.*)$"

--- Those of the arguments that name paths which QEMU itself uses: it gets connected what `hand_over` finds.
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
    if nic.mtu then return errors.fail("EINVAL", "only virtio-net tells its guest an MTU, %s does not", model) end
    if not suffix:find "pci" then return errors.fail("EINVAL", "this machine has no PCI for the model %s", model) end
    return ("%s,netdev=%s,mac=%s"):format(model, id, mac)
  end
  return ("virtio-net%s,netdev=%s,mac=%s%s"):format(suffix, id, mac, nic.mtu and (",host_mtu=%d"):format(nic.mtu) or "")
end

--- QEMU's arguments for network cards.
---@param nics { listen: string?, connect: string?, netdev: string?, backend: "stream"|"socket"|nil, mac: string? }[] listen: the
-- address on which QEMU listens (preferable with QEMU 7.2, which does not reconnect as a client); connect: the address that it dials;
-- netdev: any other backend in QEMU's syntax, without an id; mac: random by default
---@param suffix string of the machine's virtio devices
---@return string[]|nil arguments, table|string macs_or_message, string? code
function M.arguments(nics, suffix)
  local list, macs = {}, {}
  for i, nic in ipairs(nics) do
    options.check(nic, known, ("machine.launch: nics[%d]"):format(i), 4)
    local id = "nic" .. i - 1
    local backend, err, code = netdev(nic, id)
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
