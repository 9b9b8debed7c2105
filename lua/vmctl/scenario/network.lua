--- The networks of a scenario's machines: a switch each, captured, with an address for every card.
local l2 = require "vmctl.l2"

local M = {}

---@class vmctl.ScenarioNetwork
local methods = {}
local mt = { __name = "vmctl.ScenarioNetwork", __index = methods }

--- Makes a network. It lasts until `close`.
---@param name string
---@param number integer 1 …: a part of its cards' addresses
---@param opts { folder: string, capture: string, seed: integer? } where its sockets are, and the capture goes
---@return vmctl.ScenarioNetwork|nil, string?, string?
function M.open(name, number, opts)
  local switch = l2.switch { name = name, seed = opts.seed }
  local capture, err, code = switch:capture(opts.capture)
  if not capture then
    switch:close()
    return nil, err, code
  end
  return setmetatable({
    name = name, number = number, switch = switch, _capture = capture, _folder = opts.folder, _cards = {}, _blocked = {},
  }, mt)
end

--- The hardware address of a machine's card.
---@param network integer
---@param machine integer
---@return string
function M.mac(network, machine)
  return ("52:54:00:77:%02x:%02x"):format(network, machine)
end

--- The card of a machine, as machine.launch takes it. QEMU connects when it starts; the port is there as long as the network.
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

--- Cuts a machine off, or joins it again; also one that is not connected yet.
function methods:block(name, is_blocked)
  self._blocked[name] = is_blocked or nil
  local port = self.switch:port(name)
  if port and is_blocked then port:cut() elseif port then port:heal() end
end

--- Divides it; nil: into one again.
---@param groups string[][]|nil names of machines; those that are in none are together
function methods:partition(groups)
  self._groups = groups
  if groups then self:apply() else self.switch:partition {} end
end

--- Does to the ports that have come meanwhile what was asked for before.
function methods:apply()
  for name in pairs(self._blocked) do
    local port = self.switch:port(name)
    if port then port:cut() end
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

--- Ends it. The capture is complete then.
function methods:close()
  self._capture:close()
  self.switch:close()
end

-- $1: names of this machine's networks' peers, as lines of /etc/hosts; then pairs: hardware address, address with its length. An
-- IPv6 address counts at once: nobody else can have it.
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

--- The command that gives a guest's cards their addresses, and tells it its peers' names.
---@param cards { mac: string, address: string }[] addresses with their length: "10.1.2.3/24"
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
