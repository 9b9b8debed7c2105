--- A scenario machine's network cards: their addresses, and the verbs that cut the machine off.
local network = require "vmctl.scenario.network"

local M = {}

--- The machine's address in a network, by default in its first one.
---@param name? string
---@return string
function M:ip(name)
  local address = self._run.plan:address(self.name, name or self._networks[1])
  if not address then self:_fail("ip", name and ("it is not in a network '%s'"):format(name) or "it has no 'networks'") end
  return address
end

--- The cards as machine.launch takes them: the given ones, and one for each network. The networks are made at the first call.
---@param given table[]
---@return table[]|nil nics, string?, string?
function M:_cards(given)
  local networks, err, code = self._run:open_networks()
  if not networks then return nil, err, code end
  local nics = table.move(given, 1, #given, 1, {})
  for _, name in ipairs(self._networks) do
    local card
    card, err, code = networks[name]:card(self.name, self.number)
    if not card then return nil, err, code end
    nics[#nics + 1] = card
  end
  return nics
end

--- Configures the guest: addresses for its cards, and the names of its peers. Waits.
---@param timeout number seconds
---@return true|nil, string?, string?
function M:_configure_cards(timeout)
  if #self._networks == 0 or not self._run.configures then return true end
  local cards, hosts = {}, {}
  for i, name in ipairs(self._networks) do
    local number, subnet = self._run.plan.numbers[name], self._run.plan.subnets[name]
    cards[i] = { mac = network.mac(number, self.number), address = ("%s/%d"):format(self:ip(name), subnet.prefix) }
  end
  for _, other in ipairs(self._group:machines()) do
    if other._networks[1] then hosts[#hosts + 1] = ("%s %s\n"):format(other:ip(), other.name) end
  end
  local command = network.configuration(cards, table.concat(hosts))
  command.timeout, command.check = timeout, true
  local done, err, code = self.vm:run(command)
  if not done then return nil, ("%s: giving its network cards addresses: %s"):format(self.name, err), code end
  return true
end

--- Applies to the machine's ports the cuts and partitions that were asked for before the ports existed.
function M:_join_networks()
  local networks = assert(self._run:open_networks())
  for _, name in ipairs(self._networks) do networks[name]:apply() end
end

local function set_blocked(self, verb, is_blocked)
  if #self._networks == 0 then self:_fail(verb, "it has no 'networks'") end
  self._run:note("%s: %s", self.name, verb)
  for _, name in ipairs(self._networks) do
    self._group:_some_networks(name, verb)[name]:block(self.name, is_blocked)
  end
end

--- Cuts the machine off from its networks. Its cards keep their link.
function M:block() set_blocked(self, "block", true) end

--- Ends `block`.
function M:unblock() set_blocked(self, "unblock", false) end

-- The number of the machine's card in a network.
local function card_of(self, name)
  for i, network_name in ipairs(self._networks) do
    if network_name == name then return #(self._spec.nics or {}) + i end
  end
end

local function set_link(self, verb, name, is_up)
  if #self._networks == 0 then self:_fail(verb, "it has no 'networks'") end
  name = name or self._networks[1]
  local card = card_of(self, name)
  if not card then self:_fail(verb, ("it is not in a network '%s'"):format(name)) end
  local vm = self:_running(verb)
  self._run:note("%s: %s (%s)", self.name, verb, name)
  self._group:_some_networks(name, verb)[name]:link(self.name, is_up)
  local ok, err = vm:set_link(card, is_up)
  if not ok then self:_fail(verb, err) end
end

--- Takes the link of the machine's card in a network down: the guest loses its carrier, and nothing passes. The machine must run.
--- Waits.
---@param name? string of the network, by default its first one
function M:link_down(name) set_link(self, "link_down", name, false) end

--- Ends `link_down`. Waits.
---@param name? string
function M:link_up(name) set_link(self, "link_up", name, true) end

return M
