--- The networks of a scenario. Each is a switch with a capture, and has an address for every card.
local l2 = require "vmctl.l2"

local M = {}

---@class vmctl.ScenarioNetwork
local methods = {}
local mt = { __name = "vmctl.ScenarioNetwork", __index = methods }

--- Makes a network. It exists until `close`.
---@param name string
---@param number integer from 1: a part of its cards' addresses
---@param opts { folder: string, capture: string, seed: integer? } folder: of its sockets; capture: path of the capture
---@return vmctl.ScenarioNetwork|nil, string?, string?
function M.open(name, number, opts)
  local switch, err, code = l2.switch { name = name, seed = opts.seed, thread = true }
  if not switch then return nil, err, code end
  local capture
  capture, err, code = switch:capture(opts.capture)
  if not capture then
    switch:close()
    return nil, err, code
  end
  return setmetatable({
    name = name, number = number, switch = switch, _capture = capture, _folder = opts.folder, _cards = {}, _blocked = {}, _down = {},
  }, mt)
end

--- The hardware address of a machine's card.
---@param network integer
---@param machine integer
---@return string
function M.mac(network, machine)
  return ("52:54:00:77:%02x:%02x"):format(network, machine)
end

--- The card of a machine, as machine.launch takes it. QEMU connects when it starts. The port exists as long as the network.
---@param name string
---@param number integer
---@return table|nil nic, string?, string?
function methods:card(name, number)
  if self._cards[name] then return self._cards[name] end
  local where = ("unix:%s/%d-%d"):format(self._folder, self.number, number)
  local listener, err, code = self.switch:listen(where, { name = name, ports = 1 })
  if not listener then return nil, err, code end
  self._cards[name] = { connect = where, mac = M.mac(self.number, number) }
  return self._cards[name]
end

-- Cuts a machine's port while there is a reason to. The machine need not have a port yet.
local function cut_or_heal(self, name)
  local port = self.switch:port(name)
  if not port then return end
  if self._blocked[name] or self._down[name] then port:cut() else port:heal() end
end

--- Cuts a machine off, or connects it again. The machine need not have a port yet.
function methods:block(name, is_blocked)
  self._blocked[name] = is_blocked or nil
  cut_or_heal(self, name)
end

--- Lets nothing through while the link of a machine's card is down. The machine need not have a port yet.
function methods:link(name, is_up)
  self._down[name] = not is_up or nil
  cut_or_heal(self, name)
end

--- Partitions the network, or ends the partition.
---@param groups string[][]|nil names of machines; machines in no group form one of their own. nil ends the partition
function methods:partition(groups)
  self._groups = groups
  if groups then self:apply() else self.switch:partition {} end
end

--- Applies earlier cuts and partitions to ports that were added since.
function methods:apply()
  for _, names in ipairs { self._blocked, self._down } do
    for name in pairs(names) do cut_or_heal(self, name) end
  end
  if not self._groups then return end
  local present = {}
  for i, group in ipairs(self._groups) do
    present[i] = {}
    for _, name in ipairs(group) do
      if self.switch:port(name) then table.insert(present[i], name) end
    end
  end
  self.switch:partition(present)
end

--- Closes the network, and completes its capture.
function methods:close()
  self._capture:close()
  self.switch:close()
end

-- $1: lines of /etc/hosts with the names of the machine's peers. Then pairs: hardware address, address with prefix length. IPv6
-- addresses skip duplicate address detection: the plan gives no address twice.
local CONFIGURE = [[
set -e
[ -z "$1" ] || printf '%s' "$1" >> /etc/hosts
shift
ip link set lo up
while [ $# -gt 1 ]; do
  found=
  for card in /sys/class/net/*; do
    if [ "$(cat "$card/address")" = "$1" ]; then found=${card##*/}; fi
  done
  if [ -z "$found" ]; then echo "no network card with address $1" >&2; exit 1; fi
  detection=/proc/sys/net/ipv6/conf/$found/accept_dad
  [ ! -e "$detection" ] || echo 0 > "$detection"
  ip link set "$found" up
  ip addr add "$2" dev "$found"
  shift 2
done
]]

--- The command that configures a guest's cards and writes the names of its peers.
---@param cards { mac: string, address: string }[] addresses with prefix length: "10.1.2.3/24"
---@param hosts string lines for /etc/hosts
---@return string[]
function M.configuration(cards, hosts)
  local command = { "sh", "-c", CONFIGURE, "sh", hosts }
  for _, card in ipairs(cards) do
    command[#command + 1] = card.mac
    command[#command + 1] = card.address
  end
  return command
end

return M
