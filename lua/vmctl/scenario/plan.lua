--- The plan of a scenario's networks, from its options: the number and subnet of each, and the addresses of the machines.
local subnets = require "vmctl.scenario.subnet"

local M = {}

local LAST = 255 -- networks and machines: their numbers are bytes of the cards' addresses

---@class vmctl.ScenarioPlan
local methods = {}
local mt = { __name = "vmctl.ScenarioPlan", __index = methods }

local function fail(level, text, ...)
  error("scenario: " .. text:format(...), level + 1)
end

--- A machine's networks in the order of its cards: those of the list, then those with an address of its own, by name.
---@param networks? table names, and addresses by name
---@return string[]
function M.names_of(networks)
  local names, own = {}, {}
  for key, value in pairs(networks or {}) do
    if math.type(key) == "integer" then names[key] = value else own[#own + 1] = key end
  end
  table.sort(own)
  return table.move(own, 1, #own, #names + 1, names)
end

local function all_names(specs, given, level)
  local seen, names = {}, {}
  for _, spec in pairs(specs) do
    for _, name in ipairs(M.names_of(spec.networks)) do
      if not seen[name] then names[#names + 1] = name end
      seen[name] = true
    end
  end
  for name in pairs(given) do
    if not seen[name] then fail(level + 1, "network '%s': no machine is in it", tostring(name)) end
  end
  table.sort(names)
  return names
end

local function subnet_of(name, number, given, level)
  local text = given == nil and ("10.77.%d.0/24"):format(number) or given
  if type(text) ~= "string" then fail(level + 1, "network '%s': a subnet as a string expected, got %s", name, type(text)) end
  local subnet, err = subnets.parse(text)
  if not subnet then fail(level + 1, "network '%s': %s", name, err) end
  return subnet
end

local function address_of(subnet, machine, number, own, level)
  if own == nil then
    return subnet:address(number) or fail(level + 1, "machine '%s': there is no address %d in %s", machine, number, subnet)
  elseif type(own) ~= "string" or not subnet:contains(own) then
    fail(level + 1, "machine '%s': '%s' is no address in %s", machine, tostring(own), subnet)
  end
  return own
end

local function assign(self, machines, specs, level)
  local taken = {}
  for number, machine in ipairs(machines) do
    local given = specs[machine].networks or {}
    self._addresses[machine] = {}
    for _, name in ipairs(M.names_of(given)) do
      local address = address_of(self.subnets[name], machine, number, given[name], level + 1)
      local key = name .. " " .. address
      if taken[key] then fail(level + 1, "machines '%s' and '%s' have the address %s", taken[key], machine, address) end
      taken[key], self._addresses[machine][name] = machine, address
    end
  end
end

--- Makes the plan. Raises at the line that `level` names when an option is malformed.
---@param machines string[] sorted names
---@param specs table<string, table>
---@param given? table<string, string> subnets by the networks' names
---@param level integer as for `error`
---@return vmctl.ScenarioPlan plan with numbers and subnets by name
function M.new(machines, specs, given, level)
  local self = setmetatable({ numbers = {}, subnets = {}, _addresses = {} }, mt)
  local names = all_names(specs, given or {}, level + 1)
  if #names > LAST or #machines > LAST then fail(level + 1, "at most %d networks, and machines, expected", LAST) end
  for number, name in ipairs(names) do
    self.numbers[name] = number
    self.subnets[name] = subnet_of(name, number, (given or {})[name], level + 1)
  end
  assign(self, machines, specs, level + 1)
  return self
end

--- The address of a machine in a network, nil when it has none.
---@param machine string
---@param network? string
---@return string|nil
function methods:address(machine, network)
  return network and self._addresses[machine][network]
end

return M
