--- A switch's faults between ports: for pairs, and for groups that are separated. Ports are given by handle or by name;
--- a name that no port has is a mistake of the program and raises.
local faults = require "vmctl.l2.faults"
local options = require "vmctl.base.options"
local switch_port = require "vmctl.l2.switch_port"

local M = {}

-- The entry for one direction between two ports.
local function pair_of(switch, from, to)
  local row = switch._pairs[from] or {}
  switch._pairs[from] = row
  row[to] = row[to] or { cut = false }
  return row[to]
end

local function tell(switch, from, to)
  local pair = pair_of(switch, from, to)
  if from:_here() and to:_here() then
    switch._core:fault_pair(from._index, to._index, faults.with_cut(pair.faults, pair.cut))
  end
  if not pair.faults and not pair.cut then switch._pairs[from][to] = nil end
end

local function two_ports(switch, a, b, what)
  a, b = switch:_resolve(a, 4), switch:_resolve(b, 4)
  if a == b then error(what .. ": two ports expected, got one twice", 3) end
  return a, b
end

local function gone(...)
  for _, port in ipairs { ... } do
    if not port:_here() then return port end
  end
end

--- Sets the faults of frames between two ports, in place of earlier ones; nil clears them. A port's own
--- faults come on top. At once; does not wait.
---@param a vmctl.L2SwitchPort|string
---@param b vmctl.L2SwitchPort|string
---@param wanted? vmctl.L2Faults
---@param opts? { direction?: "both"|"one" } one: only frames from a to b; "both" by default
---@return true|nil, string?, string? code ECLOSED
function M.faults(switch, a, b, wanted, opts)
  opts = options.check(opts, { direction = { "both", "one" } }, "faults")
  wanted = faults.check(wanted, 2)
  if switch._closed then return switch:_fail_closed "faults" end
  a, b = two_ports(switch, a, b, "faults")
  local missing = gone(a, b)
  if missing then return missing:faults(nil) end
  pair_of(switch, a, b).faults = wanted
  tell(switch, a, b)
  if opts.direction ~= "one" then
    pair_of(switch, b, a).faults = wanted
    tell(switch, b, a)
  end
  return true
end

--- Sets the faults of frames from each port, those that join later included, in place of earlier ones; nil clears them. Faults between
--- two ports, and of frames to a port, stay. Does not wait.
---@param wanted? vmctl.L2Faults
---@return true|nil, string?, string? code ECLOSED
function M.faults_of_all(switch, wanted)
  local checked = faults.check(wanted, 2)
  if switch._closed then return switch:_fail_closed "faults" end
  switch._faults = checked and options.merge(wanted)
  for _, port in ipairs(switch:ports()) do port:faults(wanted, { direction = "from" }) end
  return true
end

local function set_cut(switch, a, b, is_cut)
  pair_of(switch, a, b).cut = is_cut
  pair_of(switch, b, a).cut = is_cut
  tell(switch, a, b)
  tell(switch, b, a)
end

--- Lets nothing through between two ports, or (without b) from and to one. Connections stay. Does not wait.
---@param a vmctl.L2SwitchPort|string
---@param b? vmctl.L2SwitchPort|string
---@return true|nil, string?, string? code ECLOSED
function M.cut(switch, a, b)
  if switch._closed then return switch:_fail_closed "cut" end
  if b == nil then return switch:_resolve(a, 3):cut() end
  a, b = two_ports(switch, a, b, "cut")
  local missing = gone(a, b)
  if missing then return missing:cut() end
  set_cut(switch, a, b, true)
  return true
end

local function group_of(switch, groups)
  local group = {}
  for number, names in ipairs(groups) do
    if type(names) ~= "table" or switch_port.is_port(names) then error("partition: groups of ports expected", 3) end
    for _, name in ipairs(names) do
      local port = switch:_resolve(name, 4)
      if group[port] then error(("partition: port %s is in two groups"):format(port.name), 3) end
      group[port] = number
    end
  end
  return group
end

--- Splits the network: frames pass only between ports of one group. All other ports, also those that
--- join later, form one more group. Replaces an earlier partition. Does not wait.
---@param groups (vmctl.L2SwitchPort|string)[][]
---@return true|nil, string?, string? code ECLOSED
function M.partition(switch, groups)
  if type(groups) ~= "table" then error("partition: groups of ports expected", 2) end
  if switch._closed then return switch:_fail_closed "partition" end
  local group = group_of(switch, groups)
  for _, port in ipairs(switch:ports()) do switch._core:group(port._index, group[port] or 0) end
  return true
end

local function heal_all(switch, clear_faults)
  for _, port in ipairs(switch:ports()) do
    switch._core:group(port._index, 0)
    port:heal()
    if clear_faults then port:faults(nil) end
  end
  for from, row in pairs(switch._pairs) do
    for to, pair in pairs(row) do
      pair.cut = false
      if clear_faults then pair.faults = nil end
      tell(switch, from, to) -- at most removes an entry
    end
  end
end

--- Ends cuts: all of them and the partition; of one port; or between two. With `{ faults = true }` all faults end as well.
---@param a? vmctl.L2SwitchPort|string|{ faults: boolean }
---@param b? vmctl.L2SwitchPort|string
---@return true|nil, string?, string? code ECLOSED
function M.heal(switch, a, b)
  if switch._closed then return switch:_fail_closed "heal" end
  if a == nil or type(a) == "table" and not switch_port.is_port(a) then
    heal_all(switch, options.check(a, { faults = "boolean" }, "heal").faults)
    return true
  elseif b == nil then
    return switch:_resolve(a, 3):heal()
  end
  a, b = two_ports(switch, a, b, "heal")
  local missing = gone(a, b)
  if missing then return missing:heal() end
  set_cut(switch, a, b, false)
  return true
end

--- Forgets the entries of a removed port.
function M.forget(switch, port)
  switch._pairs[port] = nil
  for _, row in pairs(switch._pairs) do row[port] = nil end
end

return M
